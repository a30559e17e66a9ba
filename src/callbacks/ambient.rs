//! What decisions depend on beside their arguments: the time and chance. Tests bring their own.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use crate::account::Timestamp;

type Clock = dyn Fn() -> Timestamp + Send + Sync;
type Chance = dyn Fn() -> f64 + Send + Sync;

/// The time and chance; cheap to clone.
#[derive(Clone)]
pub struct Ambient {
    clock: Arc<Clock>,
    chance: Arc<Chance>,
}

impl Ambient {
    /// A clock, and a source of numbers from 0 to 1.
    pub fn new(
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        chance: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { clock: Arc::new(clock), chance: Arc::new(chance) }
    }

    /// The system's.
    pub fn system() -> Self {
        let chance = || f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        Self::new(|| Timestamp::from(SystemTime::now()), chance)
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn random(&self) -> f64 {
        (self.chance)()
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ambient").finish_non_exhaustive()
    }
}
