//! Random numbers by position: what is drawn depends on the seed, the purpose and the position
//! alone, so that any part of a feed can be made again without what came before it.

/// Increment of `SplitMix64`: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random numbers (`SplitMix64`).
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    /// The sequence of one position; `purpose` keeps the sequences of one position apart.
    pub(super) fn at(seed: u64, purpose: u64, position: u64) -> Self {
        Self(mix(seed ^ mix(purpose.wrapping_mul(GOLDEN) ^ mix(position.wrapping_add(GOLDEN)))))
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// The next number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: no division, and a bias nobody could measure.
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// One entry of a list that is not empty.
    pub(super) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        let index = self.below(list.len() as u64);
        list[usize::try_from(index).unwrap_or(0)]
    }

    /// True `percent` times of a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_draws_the_same_every_time() {
        let draw = |seed, purpose, position| Draws::at(seed, purpose, position).next();
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        assert_ne!(draw(1, 2, 3), draw(2, 2, 3));
        assert_ne!(draw(1, 2, 3), draw(1, 3, 3));
        assert_ne!(draw(1, 2, 3), draw(1, 2, 4));
    }

    #[test]
    fn draws_spread_over_the_whole_range() {
        let mut seen = [0_u32; 7];
        for position in 0..7_000 {
            let drawn = Draws::at(42, 0, position).below(7);
            seen[usize::try_from(drawn).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (900..1_100).contains(count)), "{seen:?}");
    }
}
