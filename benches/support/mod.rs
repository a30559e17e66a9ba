//! What the benchmarks of the real binary have in common: its processes, its load, and figures that
//! are told to people and to programs.
#![allow(dead_code, reason = "not every benchmark needs everything")]

pub(crate) mod aims;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod run;
pub(crate) mod tables;

use std::io::Write;
use std::path::Path;

use serde::Serialize;

/// Tells people something on stdout.
pub(crate) fn say(text: &str) {
    std::io::stdout().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Tells programs: writes `target/<name>.json`, and returns what was written.
pub(crate) fn write_result(name: &str, result: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(result).unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(format!("{name}.json"));
    std::fs::write(file, &json).unwrap();
    json
}

/// Half of the values are larger, half smaller.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
