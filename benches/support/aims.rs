//! Figures held against what they are to be, and the medians of several runs.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::median;

/// Each figure's median, in the shape that every one of `repeats` has.
pub(crate) fn medians<T: Serialize + DeserializeOwned>(repeats: &[T]) -> T {
    let values: Vec<Value> =
        repeats.iter().map(|figures| serde_json::to_value(figures).unwrap()).collect();
    serde_json::from_value(medians_of(&values.iter().collect::<Vec<_>>())).unwrap()
}

/// Of values with the same shape, the medians of their numbers in that shape.
fn medians_of(values: &[&Value]) -> Value {
    match values[0] {
        Value::Object(first) => {
            let of = |name| values.iter().map(|value| &value[name]).collect::<Vec<_>>();
            first.keys().map(|name| (name.clone(), medians_of(&of(name)))).collect()
        }
        _ => median(&values.iter().filter_map(|value| value.as_f64()).collect::<Vec<_>>()).into(),
    }
}

/// A figure beside what it is to be.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Aim {
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
    pub(crate) value: f64,
    pub(crate) measured: f64,
    pub(crate) met: bool,
}

/// From which side a figure is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    AtLeast,
    AtMost,
}

impl Aim {
    /// The aim under its name.
    pub(crate) fn named(self, what: &'static str) -> Self {
        Self { what, ..self }
    }
}

/// A figure that should not be smaller.
pub(crate) fn at_least(aim: f64, measured: f64) -> Aim {
    Aim { what: "", bound: Bound::AtLeast, value: aim, measured, met: measured >= aim }
}

/// A figure that should not be larger.
pub(crate) fn at_most(aim: f64, measured: f64) -> Aim {
    Aim { what: "", bound: Bound::AtMost, value: aim, measured, met: measured <= aim }
}
