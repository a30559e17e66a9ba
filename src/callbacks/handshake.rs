//! The handshake of the CloudEvents webhook specification: a receiver is asked whether it takes events
//! from here, and gets none before it agrees. Decisions without effects.
//!
//! The specification has the question asked when a receiver is registered or right before a delivery. A
//! consent it sets no term to, and to withdraw one a receiver refuses what is sent. So one holds for as long
//! as its endpoint is in use: a process asks when it starts, and again whenever the endpoint is opened after
//! it was shut, by an operator who resumes it or for each probe of a breaker. Whoever has refused everything
//! for that long may be somebody else by now.

use std::fmt;
use std::time::Duration;

use crate::account::Timestamp;

use super::attempt::NoAnswer;
use super::breaker::BreakerOptions;
use super::pace::{Pace, Rate};
use super::schedule::Wait;

/// Header of the question, and of every request afterwards: who sends.
pub const REQUEST_ORIGIN: &str = "webhook-request-origin";
/// Header of the question: how many requests a minute are wanted.
pub const REQUEST_RATE: &str = "webhook-request-rate";
/// Header of the answer: who may send; `*` stands for everybody.
pub const ALLOWED_ORIGIN: &str = "webhook-allowed-origin";
/// Header of the answer: how many requests a minute may come; `*` sets no limit.
pub const ALLOWED_RATE: &str = "webhook-allowed-rate";

/// The DNS name under which this installation sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderOrigin(String);

/// Why a text is no DNS name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a DNS name such as penstock.bank.example")]
pub struct OriginError;

impl SenderOrigin {
    /// Takes a DNS name: labels of 1 to 63 letters, digits and hyphens between full stops, 253 in all.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 253 && text.split('.').all(is_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(OriginError)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a receiver is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who wants to send.
    pub origin: SenderOrigin,
    /// How many requests a minute at most; none leaves it to the receiver.
    pub requests_per_minute: Option<u32>,
}

/// What a receiver answered, as far as it means something: its status does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permission {
    /// Value of [`ALLOWED_ORIGIN`].
    pub origin: Option<String>,
    /// Value of [`ALLOWED_RATE`].
    pub rate: Option<String>,
}

/// How many requests a receiver allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedRate {
    /// As many as there are.
    Any,
    /// So many a minute, at least one.
    PerMinute(u32),
}

impl fmt::Display for AllowedRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any number of requests"),
            Self::PerMinute(requests) => write!(f, "{requests} requests a minute"),
        }
    }
}

/// Why a receiver does not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It names no origin.
    #[error("its answer has no WebHook-Allowed-Origin")]
    NoOrigin,
    /// It names another origin.
    #[error("WebHook-Allowed-Origin names another origin than handshake_origin")]
    OtherOrigin,
    /// It was asked for a rate and names none.
    #[error("its answer has no WebHook-Allowed-Rate although a rate was asked for")]
    NoRate,
    /// Its rate is none.
    #[error("WebHook-Allowed-Rate is neither * nor a positive number")]
    NotARate,
}

impl Permission {
    /// What a receiver allows to whoever asked `question`.
    pub fn for_question(&self, question: &Question) -> Result<AllowedRate, Denied> {
        let origin = self.origin.as_deref().map(str::trim).ok_or(Denied::NoOrigin)?;
        if origin != "*" && !origin.eq_ignore_ascii_case(question.origin.as_str()) {
            return Err(Denied::OtherOrigin);
        }
        match self.rate.as_deref().map(str::trim) {
            None if question.requests_per_minute.is_some() => Err(Denied::NoRate),
            None | Some("*") => Ok(AllowedRate::Any),
            Some(number) => match number.parse() {
                Ok(requests) if requests > 0 => Ok(AllowedRate::PerMinute(requests)),
                _ => Err(Denied::NotARate),
            },
        }
    }
}

/// What became of a question, for whoever tells operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver agrees.
    Granted(AllowedRate),
    /// It does not.
    Denied(Denied),
    /// There was no answer.
    Failed(NoAnswer),
}

/// Whether a receiver has agreed, and how many requests it takes.
#[derive(Clone, Debug)]
pub(super) enum Agreement {
    /// It has, or needs not be asked. The pace is that of requests.
    Given(Pace),
    /// It is to be asked after that wait, and had been asked so often in vain.
    Open { wait: Wait, tries: u32 },
    /// It is being asked.
    Asked { tries: u32 },
}

impl Agreement {
    /// Where things stand at the start.
    pub(super) fn new(question: Option<&Question>, now: Timestamp) -> Self {
        match question {
            None => Self::Given(Pace::new(Rate::Any, now)),
            Some(_) => Self::Open { wait: Wait::new(now, Duration::ZERO), tries: 0 },
        }
    }

    /// From now on it is as if the receiver had never been asked, but for a question that is under way.
    pub(super) fn begin_anew(&mut self, question: Option<&Question>, now: Timestamp) {
        if !matches!(self, Self::Asked { .. }) {
            *self = Self::new(question, now);
        }
    }

    /// Whether to ask now; who is told so asks.
    pub(super) fn ask(&mut self, now: Timestamp) -> bool {
        match *self {
            Self::Open { wait, tries } if wait.until(now).is_none() => {
                *self = Self::Asked { tries };
                true
            }
            _ => false,
        }
    }

    /// Until when nothing may be sent; none while it may, or while the answer to the first question is
    /// awaited, for which events are worth being kept in memory.
    pub(super) fn shut_until(&self, now: Timestamp) -> Option<Timestamp> {
        match *self {
            Self::Open { wait, tries: 1.. } => Some(wait.until(now).unwrap_or(now)),
            Self::Given(_) | Self::Open { .. } | Self::Asked { .. } => None,
        }
    }

    /// Whether a request may go now from one of so many processes.
    pub(super) fn allows_request(&mut self, processes: u32, now: Timestamp) -> bool {
        match self {
            Self::Given(pace) => pace.allows(1, processes, now) == 1,
            Self::Open { .. } | Self::Asked { .. } => false,
        }
    }

    /// A request has gone.
    pub(super) fn spend_request(&mut self) {
        if let Self::Given(pace) = self {
            pace.spend(1);
        }
    }

    /// Whether the receiver has agreed.
    pub(super) fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    /// Takes an answer. Without a consent the next question is as far away as the next probe of an open
    /// breaker would be.
    pub(super) fn answered(
        &mut self,
        question: &Question,
        answered: Result<Permission, NoAnswer>,
        now: Timestamp,
        options: &BreakerOptions,
    ) -> Outcome {
        let outcome = match answered {
            Ok(permission) => match permission.for_question(question) {
                Ok(rate) => Outcome::Granted(rate),
                Err(denied) => Outcome::Denied(denied),
            },
            Err(none) => Outcome::Failed(none),
        };
        *self = match (&outcome, &*self) {
            (Outcome::Granted(AllowedRate::Any), _) => Self::Given(Pace::new(Rate::Any, now)),
            (Outcome::Granted(AllowedRate::PerMinute(requests)), _) => {
                Self::Given(Pace::new(Rate::PerMinute(*requests), now))
            }
            (_, Self::Asked { tries } | Self::Open { tries, .. }) => {
                let wait = Wait::new(now, options.interval(*tries));
                Self::Open { wait, tries: tries.saturating_add(1) }
            }
            (_, Self::Given(_)) => Self::Open { wait: Wait::new(now, Duration::ZERO), tries: 1 },
        };
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(requests_per_minute: Option<u32>) -> Question {
        let origin = SenderOrigin::parse("penstock.bank.example").unwrap();
        Question { origin, requests_per_minute }
    }

    fn permission(origin: Option<&str>, rate: Option<&str>) -> Permission {
        Permission { origin: origin.map(str::to_owned), rate: rate.map(str::to_owned) }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + millis)
    }

    const OPTIONS: BreakerOptions = BreakerOptions {
        min_failures: 3,
        failing_for: Duration::from_secs(10),
        probe_interval: Duration::from_secs(5),
        max_probe_interval: Duration::from_secs(15),
    };

    #[test]
    fn a_receiver_agrees_by_naming_the_origin_and_the_rate_that_was_asked_for() {
        let of = |origin, rate, asked| permission(origin, rate).for_question(&question(asked));
        let ours = Some("Penstock.Bank.Example");
        assert_eq!(of(ours, None, None), Ok(AllowedRate::Any));
        assert_eq!(of(Some("*"), Some("*"), Some(60)), Ok(AllowedRate::Any));
        assert_eq!(of(ours, Some(" 120 "), Some(600)), Ok(AllowedRate::PerMinute(120)));
        assert_eq!(of(ours, Some("7"), None), Ok(AllowedRate::PerMinute(7)), "it may say so unasked");
        assert_eq!(of(None, Some("*"), None), Err(Denied::NoOrigin));
        assert_eq!(of(Some("bank.example"), None, None), Err(Denied::OtherOrigin));
        assert_eq!(of(ours, None, Some(60)), Err(Denied::NoRate));
        for rate in ["0", "-1", "many", "", "1.5", "**"] {
            assert_eq!(of(ours, Some(rate), None), Err(Denied::NotARate), "{rate:?}");
        }
    }

    #[test]
    fn an_origin_is_a_dns_name() {
        for good in ["a", "penstock.bank.example", "x-1.example", &"a".repeat(63)] {
            assert_eq!(SenderOrigin::parse(good).unwrap().as_str(), good);
        }
        let long = vec!["a".repeat(63); 5].join(".");
        for bad in ["", ".", "a.", "-a", "a-", "https://a", "a b", "ž.example", "a:1", &long] {
            assert_eq!(SenderOrigin::parse(bad), Err(OriginError), "{bad:?}");
        }
    }

    #[test]
    fn nothing_may_be_sent_before_the_receiver_agrees_and_questions_become_rarer() {
        let mut agreement = Agreement::new(Some(&question(None)), at(0));
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..4 {
            assert!(agreement.ask(now) && !agreement.ask(now), "one question at a time");
            assert!(!agreement.allows_request(1, now));
            let outcome = agreement.answered(&question(None), Ok(Permission::default()), now, &OPTIONS);
            assert_eq!(outcome, Outcome::Denied(Denied::NoOrigin));
            let until = agreement.shut_until(now).unwrap();
            waits.push((until.unix_millis() - now.unix_millis()) / 1_000);
            now = until;
        }
        assert_eq!(waits, [5, 10, 15, 15]);
        assert!(agreement.ask(now));
        agreement.answered(&question(None), Ok(permission(Some("*"), None)), now, &OPTIONS);
        assert!(agreement.allows_request(1, now) && agreement.shut_until(now).is_none());
    }

    #[test]
    fn no_minute_has_more_requests_than_are_allowed() {
        for allowed in [1, 2, 59, 60, 61, 90, 600, 6_000] {
            let mut agreement = Agreement::new(Some(&question(None)), at(0));
            assert!(agreement.ask(at(0)));
            let granted = permission(Some("*"), Some(&allowed.to_string()));
            agreement.answered(&question(None), Ok(granted), at(0), &OPTIONS);
            let mut sent = Vec::new();
            for now in (0..300_000).step_by(20) {
                while agreement.allows_request(1, at(now)) {
                    agreement.spend_request();
                    sent.push(now);
                }
            }
            for (first, begin) in sent.iter().enumerate() {
                let minute = sent[first..].iter().take_while(|sent| **sent < begin + 60_000).count();
                assert!(minute <= allowed, "{minute} of {allowed}");
            }
            assert!(sent.len() >= allowed * 9 / 2, "{} of {allowed} a minute in five", sent.len());
        }
    }

    #[test]
    fn whoever_is_not_asked_has_agreed() {
        let mut agreement = Agreement::new(None, at(0));
        assert!(!agreement.ask(at(0)) && agreement.is_given() && agreement.allows_request(1, at(0)));
    }
}
