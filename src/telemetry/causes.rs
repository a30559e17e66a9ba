//! An error in one line: what happened and why, down to the first cause.

use std::error::Error;
use std::fmt;

/// Shows an error followed by its causes, each after a colon. A cause that the text before it has
/// told already is not told again.
pub fn with_causes<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    WithCauses(error)
}

struct WithCauses<'a>(&'a (dyn Error + 'static));

impl fmt::Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        f.write_str(&told)?;
        let mut error = self.0;
        while let Some(cause) = error.source() {
            let text = cause.to_string();
            if !told.ends_with(&text) {
                write!(f, ": {text}")?;
                told = text;
            }
            error = cause;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("publishing failed")]
    struct Publishing(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("the worker stops: {0}")]
    struct Stopping(#[source] Publishing);

    #[test]
    fn every_cause_is_told_once() {
        let error = Stopping(Publishing(std::io::Error::other("the disk is full")));
        let told = "the worker stops: publishing failed: the disk is full";
        assert_eq!(with_causes(&error).to_string(), told);
    }
}
