//! What an audit tells: findings as they are met, the sums in the end.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::ValueEnum;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::audit::{Counts, Finding, Kind, Stage, Sums, Telling};
use crate::cli::output::{progress_spinner, shown, write_json};

/// A form of what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people: a line for each finding, then the sums.
    Table,
    /// One object, with every finding.
    Json,
    /// An object a line: each finding as it is met, the sums last.
    Ndjson,
}

/// Tells what an audit finds.
pub(super) struct Printer {
    output: Output,
    bar: ProgressBar,
    kinds: BTreeMap<Kind, u64>,
    /// Findings that have no line of their own.
    kept: Vec<FindingJson>,
    /// Why nothing more can be told.
    failed: Option<anyhow::Error>,
}

impl Printer {
    pub(super) fn new(output: Output) -> Self {
        let bar = progress_spinner("gone through");
        Self { output, bar, kinds: BTreeMap::new(), kept: Vec::new(), failed: None }
    }

    fn line(&mut self, finding: &Finding) -> anyhow::Result<()> {
        let out = &mut io::stdout().lock();
        match self.output {
            Output::Table => {
                let place = finding.at.map(|at| at.to_string()).unwrap_or_default();
                let number = finding.number.as_deref().map(shown).unwrap_or_default();
                let further = finding.further.as_deref().map(shown).unwrap_or_default();
                let kind = finding.kind.as_str();
                let parts = [kind, &number, &place, &further].into_iter().filter(|it| !it.is_empty());
                writeln!(out, "{}", parts.collect::<Vec<_>>().join("  "))?;
            }
            Output::Ndjson => write_json(out, &FindingJson::of(finding))?,
            Output::Json => self.kept.push(FindingJson::of(finding)),
        }
        Ok(())
    }

    /// Tells the sums.
    pub(super) fn end(self, counts: &Counts) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        if let Some(error) = self.failed {
            return Err(error);
        }
        let out = &mut io::stdout().lock();
        match self.output {
            Output::Table => write_table(out, counts, &self.kinds),
            Output::Json => {
                let findings = Some(self.kept);
                write_json(out, &SumsJson { balance: counts.balance(), counts, findings })
            }
            Output::Ndjson => {
                write_json(out, &SumsJson { balance: counts.balance(), counts, findings: None })
            }
        }
    }
}

impl Telling for Printer {
    fn read(&mut self, stage: Stage, count: u64) {
        self.bar.set_message(stage.as_str());
        self.bar.inc(count);
    }

    fn found(&mut self, finding: &Finding) {
        *self.kinds.entry(finding.kind).or_default() += 1;
        if self.failed.is_none() {
            let line = self.bar.clone().suspend(|| self.line(finding));
            self.failed = line.err();
        }
    }
}

#[derive(Serialize)]
struct FindingJson {
    finding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    communication_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coordinates: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    further: Option<String>,
    told: &'static str,
    remedy: &'static str,
}

impl FindingJson {
    fn of(finding: &Finding) -> Self {
        let Finding { kind, number, at, further } = finding;
        Self {
            finding: kind.as_str(),
            communication_number: number.as_deref().map(str::to_owned),
            coordinates: at.map(|at| at.to_string()),
            further: further.clone(),
            told: kind.told(),
            remedy: kind.remedy(),
        }
    }
}

#[derive(Serialize)]
struct SumsJson<'c> {
    balance: bool,
    #[serde(flatten)]
    counts: &'c Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<FindingJson>>,
}

fn write_table(
    out: &mut impl Write,
    counts: &Counts,
    kinds: &BTreeMap<Kind, u64>,
) -> anyhow::Result<()> {
    for (kind, count) in kinds {
        writeln!(out, "\n{count} × {}: {}", kind.as_str(), kind.told())?;
        writeln!(out, "  what to do: {}", kind.remedy())?;
    }
    if !kinds.is_empty() {
        writeln!(out)?;
    }
    let Counts { submitted, accepted, repeated, rejected, dead, in_flight, .. } = counts;
    let lost = counts.without_outcome();
    let without = if lost > 0 { format!(" + {lost} WITHOUT OUTCOME") } else { String::new() };
    writeln!(
        out,
        "submitted     {submitted} = {accepted} accepted + {rejected} rejected + {repeated} repeated + {dead} dead \
         + {in_flight} in flight{without}"
    )?;
    let sums = [
        ("results", &counts.results),
        ("deliveries", &counts.deliveries),
        ("dead letters", &counts.dead_letters),
    ];
    for (name, sums) in sums {
        let Sums { due, found, in_flight, not_kept } = sums;
        let lost = sums.missing();
        let without = if lost > 0 { format!(" + {lost} MISSING") } else { String::new() };
        writeln!(
            out,
            "{name:<13} {due} due = {found} found + {in_flight} in flight + {not_kept} no longer kept{without}"
        )?;
    }
    if counts.accounts > 0 {
        writeln!(out, "accounts      {} looked at", counts.accounts)?;
    }
    if counts.balance() {
        writeln!(out, "in equals out")?;
    } else {
        writeln!(out, "IN DOES NOT EQUAL OUT: {} findings", counts.findings)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(counts: &Counts, kinds: &BTreeMap<Kind, u64>) -> String {
        let mut out = Vec::new();
        write_table(&mut out, counts, kinds).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sums_are_equations() {
        let results = Sums { due: 3, found: 3, ..Sums::default() };
        let mut counts = Counts {
            submitted: 4,
            accepted: 2,
            rejected: 1,
            in_flight: 1,
            results,
            ..Counts::default()
        };
        let balanced = told(&counts, &BTreeMap::new());
        assert!(balanced.starts_with(
            "submitted     4 = 2 accepted + 1 rejected + 0 repeated + 0 dead + 1 in flight\n"
        ));
        assert!(balanced.ends_with("in equals out\n"), "{balanced}");
        (counts.results.found, counts.findings) = (2, 1);
        let broken = told(&counts, &BTreeMap::from([(Kind::ResultMissing, 1)]));
        assert!(broken.contains("1 × result_missing: "), "{broken}");
        assert!(
            broken.contains("3 due = 2 found + 0 in flight + 0 no longer kept + 1 MISSING"),
            "{broken}"
        );
        assert!(broken.ends_with("IN DOES NOT EQUAL OUT: 1 findings\n"), "{broken}");
    }
}
