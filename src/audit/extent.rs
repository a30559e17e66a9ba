//! Which part of a window is audited, beside a digest that was made before.

use crate::queue::ReadRange;
use crate::replay::Span;

use super::bounds::settled;
use super::run::AuditError;

/// Which part of a window is audited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    All,
    /// The ranges that a digest is of, and nothing else.
    Of(Vec<ReadRange>),
    /// What comes after the ranges that a digest is of.
    After(Vec<ReadRange>),
}

impl Extent {
    /// That part of the spans of a window.
    pub(super) fn of(&self, spans: Vec<Span>) -> Result<Vec<Span>, AuditError> {
        match self {
            Self::All => Ok(spans),
            Self::Of(ranges) => ranges.iter().map(|range| narrowed(&spans, range)).collect(),
            Self::After(ranges) => spans.into_iter().map(|span| after(span, ranges)).collect(),
        }
    }
}

/// A range of a digest, as the log has it now.
fn narrowed(spans: &[Span], range: &ReadRange) -> Result<Span, AuditError> {
    let ReadRange { partition, from, to } = *range;
    match spans.iter().find(|span| span.partition == partition) {
        Some(span) if span.from <= from && to <= settled(span) => Ok(Span { from, to, ..*span }),
        Some(span) if to <= settled(span) => Err(AuditError::Deleted { partition, earliest: span.from }),
        Some(_) | None => Err(AuditError::NotThatLog { partition }),
    }
}

/// What of a partition comes after the ranges of a digest: all of it, if they have none of it.
fn after(span: Span, ranges: &[ReadRange]) -> Result<Span, AuditError> {
    let (partition, ends) = (span.partition, settled(&span));
    match ranges.iter().find(|range| range.partition == partition) {
        None => Ok(span),
        Some(range) if range.to < span.from => {
            Err(AuditError::Gap { partition, ended: range.to, earliest: span.from })
        }
        Some(range) if range.to <= ends => Ok(Span { from: range.to, ..span }),
        Some(range) => Err(AuditError::Ahead { partition, ended: range.to, ends }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Offset, Partition};

    fn span(partition: u32, from: u64, to: u64) -> Span {
        Span {
            partition: Partition(partition),
            from: Offset(from),
            to: Offset(to),
            settled: Offset(to - 1),
            deleted_before: None,
        }
    }

    fn range(partition: u32, from: u64, to: u64) -> ReadRange {
        ReadRange { partition: Partition(partition), from: Offset(from), to: Offset(to) }
    }

    fn of(extent: &Extent, spans: &[Span]) -> Result<Vec<(u32, u64, u64)>, String> {
        let spans = extent.of(spans.to_vec()).map_err(|error| error.to_string())?;
        Ok(spans.iter().map(|span| (span.partition.0, span.from.0, span.to.0)).collect())
    }

    #[test]
    fn a_digest_is_made_anew_of_what_it_was_of() {
        let of = |range| of(&Extent::Of(vec![range]), &[span(0, 5, 20), span(1, 0, 9)]);
        assert_eq!(of(range(0, 5, 19)), Ok(vec![(0, 5, 19)]));
        assert!(of(range(0, 4, 19)).unwrap_err().contains("begins at offset 5 by now"));
        for beyond in [range(0, 5, 20), range(2, 0, 1)] {
            assert!(of(beyond).unwrap_err().contains("is of another log"));
        }
    }

    #[test]
    fn the_next_digest_begins_where_the_one_before_ended() {
        let of = |range| of(&Extent::After(vec![range]), &[span(0, 5, 20), span(1, 0, 9)]);
        assert_eq!(of(range(0, 0, 11)), Ok(vec![(0, 11, 20), (1, 0, 9)]));
        assert_eq!(of(range(0, 0, 5)), Ok(vec![(0, 5, 20), (1, 0, 9)]));
        assert_eq!(of(range(0, 0, 19)), Ok(vec![(0, 19, 20), (1, 0, 9)]), "nothing is new");
        assert!(of(range(0, 0, 4)).unwrap_err().contains("ended at offset 4 of partition 0"));
        for beyond in [20, 21] {
            let told = of(range(0, 0, beyond)).unwrap_err();
            assert!(told.contains("what is audited ends at offset 19"), "{told}");
        }
    }
}
