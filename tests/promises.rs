//! What the documents promise, and the tests that prove it: `docs/promises.md` quotes each promise and names its
//! tests. It quotes what stands there, names what exists, and leaves out no paragraph and no bullet.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

const PAGE: &str = "docs/promises.md";
/// Each has its promises in the section of the page that is named after it.
const DOCUMENTS: &[&str] = &["README.md", "docs/receivers.md", "docs/faults.md", "SECURITY.md"];
/// The section whose promises stand above their table.
const OWN: &str = "What must always hold";
/// The section that lists what needs no row.
const NOTHING: &str = "What promises nothing";
/// How the reason begins why a row, or a part of it, names no test.
const NOT_TESTED: &str = "not tested here: ";
/// How a table begins.
const HEAD: &[&str] = &["| promise | proved by |", "|---|---|"];
/// Begins an entry that means a whole section.
const SECTION: &str = "## ";

/// A document by the name of its table.
struct Document {
    name: String,
    text: String,
}

/// A paragraph or a bullet, on one line.
struct Block {
    /// The heading above it.
    section: String,
    text: String,
}

/// A row of a table: what is promised, and the tests or reasons beside it.
struct Row<'p> {
    promise: &'p str,
    proofs: Vec<&'p str>,
}

/// What a line of Markdown is.
enum Line<'t> {
    Heading(&'t str),
    Fence,
    Comment,
    Item(&'t str),
    Prose(&'t str),
    /// A row of a table, or empty.
    Other,
}

#[test]
fn every_promise_has_its_tests() {
    let page = read(PAGE).unwrap();
    let named = |name: &&str| Document { name: (*name).to_owned(), text: read(name).unwrap() };
    let own = Document { name: OWN.to_owned(), text: prose_of(&section(&page, OWN)) };
    let documents: Vec<_> = DOCUMENTS.iter().map(named).chain([own]).collect();
    for document in &documents {
        assert!(blocks(&document.text).len() > 5, "{}: the prose was not found", document.name);
        assert!(rows(&page, &document.name).len() > 5, "{}: the rows were not found", document.name);
    }
    let found = problems(&page, &documents, read);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A document that a made-up page is about.
const TEXT: &str = "\
# Made up

Nothing is lost,
whatever dies.

- Copies do **not** differ. They
  come in order.
- This is by the way.

```sh
not prose
```

<!-- neither
is this -->
| a | table |
|---|---|
[A link](elsewhere)

## Figures

They are large.
";

/// The page with nothing to object to.
const TABLE: &str = "\
# Promises

## made-up.md

| promise | proved by |
|---|---|
| Nothing is lost, whatever dies. | `tests/a.rs::nothing_is_lost`<br>not tested here: fire |
| Copies do **not** differ. | `tests/a.rs::copies`<br>`tests/b.rs::generic` |
| They come in order. | not tested here: nobody looks |

## What promises nothing

- `made-up.md`: This is by
- `made-up.md`: ## Figures
";

/// What is wrong with a page about the made-up document.
fn objections(page: &str, text: &str) -> Vec<String> {
    let source = |path: &str| match path {
        "tests/a.rs" => Some("fn nothing_is_lost() {}\n    async fn copies() {}".to_owned()),
        "tests/b.rs" => Some("pub(crate) async fn generic<R: Rig>() {}".to_owned()),
        _ => None,
    };
    let documents = [Document { name: "made-up.md".to_owned(), text: text.to_owned() }];
    problems(page, &documents, source)
}

/// The only problem there is when a part of the made-up page is another.
fn objection(part: &str, other: &str) -> String {
    assert!(TABLE.contains(part), "{part}");
    let found = objections(&TABLE.replace(part, other), TEXT);
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

#[test]
fn a_page_that_is_complete_is_left_alone() {
    assert_eq!(objections(TABLE, TEXT), Vec::<String>::new());
    let wrapped = TEXT.replace("Nothing is lost,\nwhatever", "Nothing\nis lost, whatever");
    assert_eq!(objections(TABLE, &wrapped), Vec::<String>::new());
}

#[test]
fn what_a_page_leaves_out_is_found() {
    let row =
        "| Nothing is lost, whatever dies. | `tests/a.rs::nothing_is_lost`<br>not tested here: fire |\n";
    let missing = objection(row, "");
    assert!(missing.starts_with("made-up.md: no row quotes \"Nothing is lost,"), "{missing}");
    assert!(missing.contains("add one with the test that proves it"), "{missing}");
    let listed = objection("- `made-up.md`: This is by\n", "");
    assert!(listed.starts_with("made-up.md: no row quotes \"This is by the way.\""), "{listed}");
    let section = objection("- `made-up.md`: ## Figures\n", "");
    assert!(section.starts_with("made-up.md: no row quotes \"They are large.\""), "{section}");
    let new = objections(TABLE, &TEXT.replace("- This", "- A new promise.\n- This"));
    assert!(new.len() == 1 && new[0].contains("\"A new promise.\""), "{new:#?}");
}

#[test]
fn what_does_not_stand_there_any_more_is_found() {
    let gone = objection("They come in order.", "They come at once.");
    assert!(gone.contains("\"They come at once.\" does not stand there"), "{gone}");
    let emphasis = objections(TABLE, &TEXT.replace("**not**", "not"));
    assert!(emphasis[0].contains("\"Copies do **not** differ.\" does not stand there"), "{emphasis:#?}");
    let changed = objections(&TABLE.replace("This is by", "This was by"), TEXT);
    assert!(changed[0].contains("no row quotes \"This is by the way.\""), "{changed:#?}");
    assert!(changed[1].contains("nothing in made-up.md begins with \"This was by\""), "{changed:#?}");
    let stale = objection(
        "- `made-up.md`: ## Figures\n",
        "- `made-up.md`: ## Figures\n- `made-up.md`: Nobody\n",
    );
    assert!(stale.contains("nothing in made-up.md begins with \"Nobody\""), "{stale}");
}

#[test]
fn what_proves_nothing_is_found() {
    let unknown = objection("tests/a.rs::copies", "tests/a.rs::copy");
    assert!(unknown.contains("tests/a.rs has no function copy"), "{unknown}");
    let nowhere = objection("tests/b.rs::generic", "tests/c.rs::generic");
    assert!(nowhere.contains("there is no file tests/c.rs"), "{nowhere}");
    let word = objection("`tests/a.rs::copies`", "by hand");
    assert!(word.contains("\"by hand\" is neither"), "{word}");
    let torn = objections(&TABLE.replace("order. | not", "order. not"), TEXT);
    assert!(torn[0].contains("\"| They come in order. not tested"), "{torn:#?}");
    let nothing = objection("not tested here: nobody looks", "not tested here: ");
    assert!(nothing.contains("is neither"), "{nothing}");
}

#[test]
fn prose_is_paragraphs_and_bullets() {
    let found: Vec<_> = blocks(TEXT).into_iter().map(|block| (block.section, block.text)).collect();
    let of = |section: &str, text: &str| (section.to_owned(), text.to_owned());
    let expected = [
        of("Made up", "Nothing is lost, whatever dies."),
        of("Made up", "Copies do **not** differ. They come in order."),
        of("Made up", "This is by the way."),
        of("Figures", "They are large."),
    ];
    assert_eq!(found, expected);
}

/// All that is wrong with the page; `source` has the text of a file, if there is one.
fn problems(page: &str, documents: &[Document], source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for document in documents {
        let rows = rows(page, &document.name);
        found.extend(misquoted(document, &rows));
        found.extend(left_out(page, document, &rows));
        let proofs = rows.iter().flat_map(|row| row.proofs.iter().map(|proof| (row.promise, *proof)));
        found.extend(proofs.filter_map(|(promise, proof)| {
            let problem = unproved(proof, &source)?;
            Some(format!("{}, \"{}\": {problem}", document.name, beginning(promise)))
        }));
    }
    found
}

/// Promises of which the document has not every word.
fn misquoted(document: &Document, rows: &[Row<'_>]) -> Vec<String> {
    let text = on_one_line(&document.text);
    let is_wrong = |row: &&Row<'_>| row.promise.is_empty() || !text.contains(row.promise);
    let problem = |row: &Row<'_>| {
        format!(
            "{}: \"{}\" does not stand there; quote what does in {PAGE}, or take the row away",
            document.name, row.promise
        )
    };
    rows.iter().filter(is_wrong).map(problem).collect()
}

/// Prose without a row that is not listed either, and what is listed and not there.
fn left_out(page: &str, document: &Document, rows: &[Row<'_>]) -> Vec<String> {
    let prose = blocks(&document.text);
    let listed = listed(page, &document.name);
    let means = |entry: &str, block: &Block| match entry.strip_prefix(SECTION) {
        Some(heading) => block.section == heading,
        None => block.text.starts_with(entry),
    };
    let is_missing = |block: &&Block| {
        let is_quoted = rows.iter().any(|row| block.text.contains(row.promise));
        !is_quoted && !listed.iter().any(|entry| means(entry, block))
    };
    let missing = prose.iter().filter(is_missing).map(|block| {
        format!(
            "{}: no row quotes \"{}\"; add one with the test that proves it, or with `{NOT_TESTED}…`, to {PAGE}, or \
             its first words to \"{NOTHING}\" there",
            document.name,
            beginning(&block.text)
        )
    });
    let is_stale = |entry: &&&str| !prose.iter().any(|block| means(entry, block));
    let stale = listed.iter().filter(is_stale).map(|entry| {
        format!("\"{NOTHING}\" of {PAGE}: nothing in {} begins with \"{entry}\"", document.name)
    });
    missing.chain(stale).collect()
}

/// Why an entry beside a promise proves nothing, if it does not.
fn unproved(proof: &str, source: impl Fn(&str) -> Option<String>) -> Option<String> {
    if proof.strip_prefix(NOT_TESTED).is_some_and(|reason| !reason.is_empty()) {
        return None;
    }
    let test = proof.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
    let Some((path, function)) = test.and_then(|test| test.split_once("::")) else {
        return Some(format!("\"{proof}\" is neither `path::function` nor `{NOT_TESTED}…`"));
    };
    let Some(program) = source(path) else { return Some(format!("there is no file {path}")) };
    let is_there = ["(", "<"].iter().any(|end| program.contains(&format!("fn {function}{end}")));
    (!is_there).then(|| format!("{path} has no function {function}"))
}

/// The rows of the tables in a section of the page. What is no row of two cells is a promise that stands nowhere.
fn rows<'p>(page: &'p str, name: &str) -> Vec<Row<'p>> {
    let is_row = |line: &&str| line.starts_with('|') && !HEAD.contains(line);
    let row = |line: &'p str| {
        let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |"));
        let (promise, proofs) = cells.and_then(|cells| cells.split_once(" | ")).unwrap_or((line, ""));
        Row { promise, proofs: proofs.split("<br>").collect() }
    };
    section(page, name).into_iter().filter(is_row).map(row).collect()
}

/// What is listed as promising nothing in a document.
fn listed<'p>(page: &'p str, name: &str) -> Vec<&'p str> {
    let begin = format!("- `{name}`: ");
    section(page, NOTHING).into_iter().filter_map(|line| line.strip_prefix(begin.as_str())).collect()
}

/// The lines below a heading of the second level, up to the next of these.
fn section<'p>(page: &'p str, heading: &str) -> Vec<&'p str> {
    let is_heading = |line: &&str| line.strip_prefix(SECTION).is_some_and(|text| text == heading);
    let below = page.lines().skip_while(|line| !is_heading(line)).skip(1);
    below.take_while(|line| !line.starts_with(SECTION)).collect()
}

/// Lines without those of tables.
fn prose_of(lines: &[&str]) -> String {
    let prose: Vec<_> = lines.iter().copied().filter(|line| !line.starts_with('|')).collect();
    prose.join("\n")
}

/// Every paragraph and every bullet, but for those that are a link to begin with.
fn blocks(text: &str) -> Vec<Block> {
    let (mut blocks, mut lines) = (Vec::new(), Vec::new());
    let (mut section, mut skipped_until) = ("", None);
    for line in text.lines().chain([""]) {
        if let Some(end) = skipped_until {
            skipped_until = Some(end).filter(|end| !line.contains(*end));
            continue;
        }
        let line = line_of(line.trim());
        if let Line::Prose(text) = line {
            lines.push(text);
            continue;
        }
        if !lines.is_empty() {
            blocks.push(Block { section: section.to_owned(), text: on_one_line(&lines.join(" ")) });
            lines.clear();
        }
        match line {
            Line::Heading(text) => section = text,
            Line::Fence => skipped_until = Some("```"),
            Line::Comment => skipped_until = Some("-->"),
            Line::Item(text) => lines.push(text),
            Line::Prose(_) | Line::Other => {}
        }
    }
    blocks.retain(|block| !block.text.starts_with('['));
    blocks
}

/// What a line is that stands in no code block and no comment of several lines.
fn line_of(line: &str) -> Line<'_> {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = Some(number).filter(|rest| rest.len() < line.len());
    if let Some(text) = line.strip_prefix("- ").or_else(|| numbered?.strip_prefix(". ")) {
        return Line::Item(text);
    }
    match line {
        "" => Line::Other,
        _ if line.starts_with('|') => Line::Other,
        _ if line.starts_with("<!--") && line.contains("-->") => Line::Other,
        _ if line.starts_with("<!--") => Line::Comment,
        _ if line.starts_with("```") => Line::Fence,
        _ if line.starts_with('#') => Line::Heading(line.trim_start_matches('#').trim()),
        _ => Line::Prose(line),
    }
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As many words as are needed to find it.
fn beginning(text: &str) -> String {
    text.split_whitespace().take(10).collect::<Vec<_>>().join(" ")
}

/// The text of a file of the repository.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}
