//! Dead letters as cases to be solved: found by what they have in common, put back on the topic they came from, or
//! left for good.
//!
//! Invariant: a command decides, and writes nothing but cases; a worker puts letters back. It publishes first and
//! notes that afterwards, so that none is lost; one that is killed in between publishes again, and whoever reads
//! those topics takes the same record twice for once.

mod groups;
mod letter;
mod redriver;
mod selection;
mod survey;

pub use groups::{Group, GroupKey, Groups};
pub use letter::{Letter, LetterPlace, Standing};
pub use redriver::Redriver;
pub use selection::LetterSelection;
pub use survey::{Survey, SurveyError};
