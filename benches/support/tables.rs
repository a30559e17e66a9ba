//! Tables for people.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use super::aims::{Aim, Bound};

/// Aims beside what was measured.
pub(crate) fn aims(aims: &[Aim]) -> Table {
    let mut table = table(&["", "aim", "measured", ""]);
    for aim in aims {
        let bound = match aim.bound {
            Bound::AtLeast => "≥",
            Bound::AtMost => "≤",
        };
        let wanted = format!("{bound} {}", rounded(aim.value));
        table.add_row([
            aim.what,
            &wanted,
            &rounded(aim.measured),
            if aim.met { "met" } else { "missed" },
        ]);
    }
    table
}

/// Three digits that count, or all before the point.
pub(crate) fn rounded(figure: f64) -> String {
    match figure {
        large if large >= 100.0 => format!("{large:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small => format!("{small:.2}"),
    }
}

/// A table whose first column is text, and every other one figures.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(header);
    for index in 1..header.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
