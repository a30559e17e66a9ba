//! The policy that settings ask for: rules and reference lists, those in files read.

use std::collections::BTreeSet;
use std::path::Path;

use crate::account::{Classifier, CreateExisting, Policy, Reference, RejectionCode, UpdateMissing};

use super::checks::Findings;
use super::tree::{CodeEntry, CodeList, OnCreateExisting, OnUpdateMissing, RuleSettings, Settings};

/// Largest file of a list.
const MAX_FILE_BYTES: u64 = 256_000_000;

/// Makes the policy; what cannot be read is a finding.
pub(super) fn policy(settings: &Settings, findings: &mut Findings) -> Policy {
    let mut list = |key: &str, codes: &CodeList| {
        read(codes).unwrap_or_else(|what| {
            findings.add(&format!("reference.{key}"), what);
            Classifier::new()
        })
    };
    let codes_alone = |list: Classifier| list.into_keys().collect::<BTreeSet<_>>();
    let reference = &settings.reference;
    Policy {
        reference: Reference {
            account_types: list("account_types", &reference.account_types),
            business_units: list("business_units", &reference.business_units),
            business_entities: codes_alone(list("business_entities", &reference.business_entities)),
            own_bics: codes_alone(list("own_bics", &reference.own_bics)),
        },
        create_existing: match settings.rules.create_existing {
            OnCreateExisting::Reject => CreateExisting::Reject,
            OnCreateExisting::Replace => CreateExisting::Replace,
        },
        update_missing: match settings.rules.update_missing {
            OnUpdateMissing::Reject => UpdateMissing::Reject,
            OnUpdateMissing::Create => UpdateMissing::Create,
        },
        business_unit_mandatory: settings.rules.business_unit_mandatory,
        disabled: disabled(&settings.rules),
    }
}

fn disabled(rules: &RuleSettings) -> BTreeSet<RejectionCode> {
    let mut off: BTreeSet<_> =
        rules.disabled.iter().filter_map(|code| RejectionCode::parse(code)).collect();
    if !rules.bic_format {
        off.insert(RejectionCode::A013);
    }
    if !rules.iban_check_digits {
        off.insert(RejectionCode::A014);
    }
    off
}

fn read(codes: &CodeList) -> Result<Classifier, String> {
    match codes {
        CodeList::Inline(entries) => collect(entries.iter().cloned()),
        CodeList::File(source) => {
            let in_file = |what: String| format!("{}: {what}", source.file.display());
            read_file(&source.file).map_err(in_file)
        }
    }
}

fn read_file(path: &Path) -> Result<Classifier, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(format!("is larger than {} MB", MAX_FILE_BYTES / 1_000_000));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        let refused = |error: serde_json::Error| format!("is no JSON list of codes: {error}");
        return collect(serde_json::from_str::<Vec<CodeEntry>>(&text).map_err(refused)?);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    collect(lines.map(|line| match line.split_once(',') {
        None => CodeEntry::Code(line.to_owned()),
        Some((code, name)) => CodeEntry::named(code.trim(), name.trim()),
    }))
}

fn collect(entries: impl IntoIterator<Item = CodeEntry>) -> Result<Classifier, String> {
    let mut list = Classifier::new();
    for (place, entry) in entries.into_iter().enumerate() {
        let (code, name) = entry.into_parts();
        if code.is_empty() {
            return Err(format!("entry {} has an empty code", place + 1));
        }
        if list.insert(code, name).is_some() {
            return Err(format!(
                "entry {} has the code of an earlier one; take one of them out",
                place + 1
            ));
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tree::CodeFile;

    fn read_text(name: &str, text: &str) -> Result<Classifier, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        read(&CodeList::File(CodeFile { file }))
    }

    #[test]
    fn a_text_file_has_a_code_a_line_and_maybe_a_name() {
        let list = read_text("types.csv", "# ours\n\nCURRENT, Current account\nLOAN\n").unwrap();
        assert_eq!(list["CURRENT"], "Current account");
        assert_eq!(list["LOAN"], "LOAN");
    }

    #[test]
    fn a_json_file_has_codes_or_objects() {
        let list =
            read_text("types.json", r#"["LOAN", {"code": "CURRENT", "name": "Current"}]"#).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list["CURRENT"], "Current");
    }

    #[test]
    fn a_code_twice_is_refused_by_its_place() {
        let refused = read_text("types.txt", "LOAN\nLOAN\n").unwrap_err();
        assert!(refused.contains("entry 2"), "{refused}");
    }
}
