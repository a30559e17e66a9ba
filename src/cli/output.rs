//! What commands print. Whatever a client or a receiver wrote reaches no terminal as it is: what could move a
//! cursor, change colours or turn the direction of text is shown as its code.

use std::io::{self, Write};

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::account::Timestamp;

/// Characters of a foreign text that a table has room for.
const CELL_CHARS: usize = 48;

/// Text in which nothing is left that a terminal acts on, all in one line.
pub(super) fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            c if acts_on_terminals(c) => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// Like [`shown`], cut to what a table has room for.
pub(super) fn cell(text: &str) -> String {
    let safe = shown(text);
    match safe.char_indices().nth(CELL_CHARS) {
        Some((end, _)) => format!("{}…", safe.get(..end).unwrap_or_default()),
        None => safe,
    }
}

/// Writes a value as one line of JSON, in ASCII where it matters to terminals.
pub(super) fn write_json(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    use std::fmt::Write as _;
    let mut line = String::new();
    for c in serde_json::to_string(value)?.chars() {
        // JSON has such characters in texts only, where an escape means the same.
        if acts_on_terminals(c) {
            write!(line, "\\u{:04x}", u32::from(c))?;
        } else {
            line.push(c);
        }
    }
    writeln!(out, "{line}")?;
    Ok(())
}

/// Control characters, and those that turn the direction of what follows. All have four digits in hex.
fn acts_on_terminals(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An empty table with a header.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header);
    table
}

/// A time, to the millisecond.
pub(super) fn time(time: Timestamp) -> String {
    Timestamp::from_unix_millis(time.unix_millis()).to_string()
}

/// A time that there may be.
pub(super) fn optional_time(at: Option<Timestamp>) -> String {
    at.map(time).unwrap_or_default()
}

/// A bar on standard error for so much of `unit`, if that is a terminal.
pub(super) fn progress_bar(length: u64, unit: &str) -> ProgressBar {
    let template = format!(
        "{{bar:40}} {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  {{elapsed}} (left: {{eta}})"
    );
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// A spinner on standard error, if that is a terminal, that counts what is `done`.
pub(super) fn progress_spinner(done: &str) -> ProgressBar {
    let template = format!("{{spinner}} {{msg}}  {{human_pos}} {done}  {{per_sec}}  {{elapsed}}");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::no_length().with_style(style)
}

/// Says something to whoever looks, beside the data.
pub(super) fn note(text: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{7f}\r\n\tž\u{202e}b";

    #[test]
    fn nothing_that_a_terminal_acts_on_is_shown() {
        assert_eq!(shown(HOSTILE), "a\\u{1b}[2J\\u{9b}31m\\u{7f}\\u{d}\\n\\tž\\u{202e}b");
        assert_eq!(cell(&"ž".repeat(49)), format!("{}…", "ž".repeat(48)));
        assert_eq!(cell(&"ž".repeat(48)), "ž".repeat(48));
    }

    #[test]
    fn json_means_the_same_without_what_terminals_act_on() {
        let mut line = Vec::new();
        write_json(&mut line, &[HOSTILE]).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert!(!line.trim_end().chars().any(acts_on_terminals), "{line:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&line).unwrap(), [HOSTILE]);
    }
}
