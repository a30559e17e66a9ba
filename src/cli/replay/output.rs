//! A report as a table, as CSV and as JSON.

use std::collections::BTreeMap;
use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::output::{cell, shown, table, write_json};
use crate::replay::{Line, Report};

/// Whether a report tells what would be or what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tense {
    Would,
    Does,
}

/// Writes a report in one of its forms. `digest` tells which rules and lists it was made by.
pub(super) fn write(
    out: &mut impl Write,
    output: Output,
    report: &Report,
    digest: &str,
    tense: Tense,
) -> anyhow::Result<()> {
    match output {
        Output::Table => write_table(out, report, digest, tense),
        Output::Csv => write_csv(out, report),
        Output::Json => write_json(out, &ReportJson::of(report, digest)),
    }
}

/// A form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// One line for each change.
    Csv,
    /// One object.
    Json,
}

#[derive(Debug, Serialize)]
pub(super) struct ReportJson<'r> {
    policy_digest: &'r str,
    read: u64,
    selected: u64,
    changed: u64,
    totals: BTreeMap<&'static str, u64>,
    rows: Vec<Line>,
}

impl<'r> ReportJson<'r> {
    pub(super) fn of(report: &Report, digest: &'r str) -> Self {
        let mut totals = BTreeMap::new();
        for ((change, _), row) in &report.rows {
            *totals.entry(change.name()).or_default() += row.count;
        }
        let rows = report.lines();
        let (read, selected, changed) = (report.read, report.selected, report.changed());
        Self { policy_digest: digest, read, selected, changed, totals, rows }
    }
}

fn write_table(out: &mut impl Write, report: &Report, digest: &str, tense: Tense) -> anyhow::Result<()> {
    let mut shown = table(["change", "before", "after", "business unit", "count", "first at"]);
    for Line { change, before, after, business_unit, count, samples } in report.lines() {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        shown.add_row([
            change,
            or_dash(before),
            or_dash(after),
            business_unit.map_or_else(|| "-".to_owned(), |unit| cell(&unit)),
            count.to_string(),
            samples.first().cloned().unwrap_or_default(),
        ]);
    }
    if !report.rows.is_empty() {
        writeln!(out, "{shown}")?;
    }
    let changed = report.changed();
    let end = match tense {
        Tense::Would => "would end",
        Tense::Does => "end",
    };
    writeln!(
        out,
        "{} of {} records read are selected, {changed} {end} otherwise (rules and lists {digest})",
        report.selected, report.read
    )?;
    Ok(())
}

fn write_csv(out: &mut impl Write, report: &Report) -> anyhow::Result<()> {
    writeln!(out, "change,before,after,business_unit,count,samples")?;
    for Line { change, before, after, business_unit, count, samples } in report.lines() {
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let unit = field(&business_unit.unwrap_or_default());
        writeln!(out, "{change},{before},{after},{unit},{count},{}", samples.join(" "))?;
    }
    Ok(())
}

/// A text as a field of RFC 4180. What a spreadsheet would take for a formula is a text to it.
fn field(text: &str) -> String {
    let text = shown(text);
    let is_formula = text.starts_with(['=', '+', '-', '@']);
    let text = if is_formula { format!("'{text}") } else { text };
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{
        BusinessUnit, Generation, LogPartition, Offset, Partition, RejectionCode, Verdict,
    };
    use crate::replay::{Change, Row};

    fn report() -> Report {
        let log = LogPartition { generation: Generation(1), partition: Partition(7) };
        let row = |count| Row { count, samples: vec![log.at(Offset(42))] };
        let a007 = Verdict::Rejected(RejectionCode::A007);
        let accepted = Change::Changed { before: Some(a007), after: Verdict::Accepted };
        let unit = BusinessUnit::parse("=1,\"x\"").ok();
        let rows = [((accepted, unit), row(2)), ((Change::Unchanged(a007), None), row(3))];
        Report { read: 9, selected: 5, rows: rows.into_iter().collect() }
    }

    fn written(output: Output) -> String {
        let mut out = Vec::new();
        write(&mut out, output, &report(), "abc", Tense::Would).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_is_for_spreadsheets_and_nothing_in_it_is_a_formula() {
        let expected = "change,before,after,business_unit,count,samples\n\
                        changed,A007,accepted,\"'=1,\"\"x\"\"\",2,1/7/42\n\
                        unchanged,A007,A007,,3,1/7/42\n";
        assert_eq!(written(Output::Csv), expected);
    }

    #[test]
    fn json_has_the_totals_and_every_line() {
        let json: serde_json::Value = serde_json::from_str(&written(Output::Json)).unwrap();
        assert_eq!(json["changed"], 2);
        assert_eq!(json["totals"]["unchanged"], 3);
        assert_eq!(json["rows"][0]["after"], "accepted");
        assert_eq!(json["policy_digest"], "abc");
    }

    #[test]
    fn the_table_ends_with_what_it_comes_to() {
        let table = written(Output::Table);
        assert!(table.contains("A007") && table.contains("1/7/42"), "{table}");
        assert!(table.ends_with("2 would end otherwise (rules and lists abc)\n"), "{table}");
    }
}
