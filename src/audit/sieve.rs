//! Which numbers the window has, in a few bits each: what says something of others need not be kept. Threads add to it
//! at once; what joined them sees all of it.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;

/// Bits for each number, and bounds of all of them: 64 MB at most.
const BITS: u64 = 16;
const FEWEST_BITS: u64 = 1 << 16;
const MOST_BITS: u64 = 1 << 29;

/// A set of texts that may say of a few others that it has them.
pub(super) struct Sieve {
    words: Vec<AtomicU64>,
}

impl Sieve {
    /// One for about so many texts.
    pub(super) fn of(texts: u64) -> Self {
        let bits = texts.saturating_mul(BITS).clamp(FEWEST_BITS, MOST_BITS).next_power_of_two();
        Self { words: (0..bits / 64).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Adds a text.
    pub(super) fn put(&self, text: &str) {
        for (word, bit) in self.places(text) {
            if let Some(word) = self.words.get(word) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// False for most texts that were not added, and for none that was.
    pub(super) fn may_have(&self, text: &str) -> bool {
        let is_set = |(word, bit): (usize, u64)| {
            self.words.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
        };
        self.places(text).into_iter().all(is_set)
    }

    fn places(&self, text: &str) -> [(usize, u64); 2] {
        let hash = FixedState::default().hash_one(text.as_bytes());
        let bits = self.words.len() as u64 * 64;
        [hash, hash.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15)].map(|hash| {
            let place = hash % bits;
            (usize::try_from(place / 64).unwrap_or_default(), 1 << (place % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_there_and_most_else_is_not() {
        let sieve = Sieve::of(100_000);
        let text = |number: u32| format!("number-{number}");
        (0..100_000).for_each(|number| sieve.put(&text(number)));
        assert!((0..100_000).all(|number| sieve.may_have(&text(number))));
        let others = (100_000..200_000).filter(|number| sieve.may_have(&text(*number))).count();
        assert!(others < 5_000, "{others} of 100,000 that were not added");
    }
}
