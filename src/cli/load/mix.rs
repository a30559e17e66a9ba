//! What the items of a feed are made of.

/// A share of the items, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(f64);

impl Share {
    /// Takes a fraction (`0.05`) or a percentage (`5%`).
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (digits, scale) = match text.strip_suffix('%') {
            Some(digits) => (digits, 100.0),
            None => (text, 1.0),
        };
        match digits.trim().parse::<f64>() {
            Ok(value) if (0.0..=1.0).contains(&(value / scale)) => Ok(Self(value / scale)),
            _ => {
                Err("a share is a fraction from 0 to 1, such as 0.05, or a percentage such as 5%".into())
            }
        }
    }
}

/// How many of the items are something else than a fresh account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    /// Against a rule.
    pub(super) invalid: Share,
    /// Sent before.
    pub(super) repeat: Share,
    /// An accepted number with other content.
    pub(super) conflict: Share,
    /// New data of an account that exists.
    pub(super) update: Share,
}

impl Mix {
    /// Sum of the shares.
    pub(super) fn total(&self) -> f64 {
        self.invalid.0 + self.repeat.0 + self.conflict.0 + self.update.0
    }
    /// Upper ends of invalid, repeat, conflict and update, one after the other, on the scale of a
    /// `u32`.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the sum of the shares is from 0 to 1"
    )]
    pub(super) fn ends(&self) -> [u64; 4] {
        let mut sum = 0.0;
        [self.invalid, self.repeat, self.conflict, self.update].map(|share| {
            sum += share.0;
            (sum * f64::from(u32::MAX)).round() as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fractions_or_percentages() {
        assert_eq!(Share::parse("0.05"), Share::parse("5%"));
        for bad in ["", "-0.1", "1.5", "101%", "NaN", "few"] {
            assert!(Share::parse(bad).is_err(), "{bad:?}");
        }
    }
}
