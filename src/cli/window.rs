//! Which part of the log is meant, in the words of the command line.

use clap::Args;

use crate::account::{Offset, Partition, Timestamp};
use crate::replay::{Bound, Window};

use super::moment::Moment;

/// Options that say which part of the log is meant.
#[derive(Args, Debug)]
pub(super) struct WindowArgs {
    /// What was appended to the log then or later: a time such as 2026-11-24T08:00:00Z, or how long ago, such as 2h
    /// or 3days [default: as far back as the log goes]
    #[arg(long, visible_alias = "from", value_name = "TIME", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// What was appended before: a time, or how long ago [default: all that is there]
    #[arg(long, visible_alias = "to", value_name = "TIME", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// What is on this partition; may be given again
    #[arg(long = "partition", value_name = "NUMBER")]
    partitions: Vec<u32>,
    /// What is at this offset or after it, of each partition that is named
    #[arg(long, value_name = "OFFSET", conflicts_with = "since", requires = "partitions")]
    from_offset: Option<u64>,
    /// What is before this offset, of each partition that is named
    #[arg(long, value_name = "OFFSET", conflicts_with = "until", requires = "partitions")]
    to_offset: Option<u64>,
}

impl WindowArgs {
    /// The window at `now`.
    pub(super) fn window(&self, now: Timestamp) -> Window {
        let bound = |offset: Option<u64>, moment: Option<Moment>| match (offset, moment) {
            (Some(offset), _) => Bound::Offset(Offset(offset)),
            (None, Some(moment)) => Bound::Time(moment.at(now)),
            (None, None) => Bound::Open,
        };
        Window {
            from: bound(self.from_offset, self.since),
            to: bound(self.to_offset, self.until),
            partitions: self.partitions.iter().copied().map(Partition).collect(),
        }
    }
}
