//! What may be wrong with a request against its schema, and where. Messages name the place, the
//! limit and the position; never the value, which may be personal data.

use std::fmt;

/// One thing wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The body or item cannot be read as JSON; `line` and `column` count from 1.
    NotJson {
        /// What the parser expected.
        reason: String,
        /// Line of the first byte that does not fit.
        line: usize,
        /// Column of the first byte that does not fit.
        column: usize,
    },
    /// The body is not UTF-8 from byte `at` (counted from 0) on.
    NotUtf8 {
        /// Offset of the first byte that does not fit.
        at: usize,
    },
    /// Arrays and objects are nested too deeply to be read safely.
    TooDeep,
    /// A mandatory field is not there.
    Missing,
    /// A mandatory field is null.
    Null,
    /// A mandatory field is empty.
    Empty,
    /// The JSON type is another one than the schema's.
    WrongType {
        /// The schema's type, with its article.
        expected: &'static str,
    },
    /// The value is none of the schema's.
    NotAllowed {
        /// The schema's values.
        allowed: &'static [&'static str],
    },
    /// The text is too long.
    TooLong {
        /// The limit in Unicode code points.
        max_chars: usize,
    },
    /// The text is no RFC 3339 date-time.
    NotDateTime,
    /// The text contains the character U+0000.
    NulCharacter,
    /// The key occurs more than once.
    Repeated,
    /// The batch has more items than is configured.
    TooManyItems {
        /// The configured limit.
        max_items: usize,
    },
    /// The item does not fit a record of the queue.
    ItemTooLarge {
        /// The limit in bytes.
        max_bytes: usize,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { reason, line, column } => {
                write!(f, "is not JSON: {reason} at line {line} column {column}")
            }
            Self::NotUtf8 { at } => write!(f, "is not UTF-8 at byte {at}"),
            Self::TooDeep => f.write_str("is nested deeper than 128 levels"),
            Self::Missing => f.write_str("is mandatory"),
            Self::Null => f.write_str("is mandatory, must not be null"),
            Self::Empty => f.write_str("is mandatory, must not be empty"),
            Self::WrongType { expected } => write!(f, "must be {expected}"),
            Self::NotAllowed { allowed } => write!(f, "must be one of {}", allowed.join(", ")),
            Self::TooLong { max_chars } => write!(f, "must have at most {max_chars} characters"),
            Self::NotDateTime => f.write_str(
                "must be an RFC 3339 date-time with offset, such as 2023-09-05T08:07:34.605Z",
            ),
            Self::NulCharacter => f.write_str("must not contain the character U+0000"),
            Self::Repeated => f.write_str("occurs more than once"),
            Self::TooManyItems { max_items } => write!(f, "must have at most {max_items} items"),
            Self::ItemTooLarge { max_bytes } => write!(f, "must have at most {max_bytes} bytes"),
        }
    }
}

/// Where in a request something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The body as a whole.
    Body,
    /// A field of the body.
    BodyField(&'static str),
    /// An item of the batch, counted from 0.
    Item(usize),
    /// A field of an item of the batch.
    ItemField(usize, &'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => f.write_str("body"),
            Self::BodyField(field) => f.write_str(field),
            Self::Item(index) => write!(f, "accounts[{index}]"),
            Self::ItemField(index, field) => write!(f, "accounts[{index}].{field}"),
        }
    }
}

/// One violation of the schema: `accounts[3].openingDate: is mandatory`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct SchemaError {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// Every violation of one request: all are counted, the first [`SchemaErrors::KEPT`] are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaErrors {
    kept: Vec<SchemaError>,
    total: usize,
}

impl SchemaErrors {
    /// How many violations are kept by name, so that an answer stays small.
    pub const KEPT: usize = 100;

    /// A single violation.
    pub fn one(place: Place, problem: Problem) -> Self {
        let mut errors = Self::default();
        errors.push(place, problem);
        errors
    }

    /// Notes a violation.
    pub fn push(&mut self, place: Place, problem: Problem) {
        self.total += 1;
        if self.kept.len() < Self::KEPT {
            self.kept.push(SchemaError { place, problem });
        }
    }

    /// True when nothing was wrong.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The first violations in the order of the request.
    pub fn kept(&self) -> &[SchemaError] {
        &self.kept
    }

    /// How many there are in all.
    pub fn total(&self) -> usize {
        self.total
    }
}
