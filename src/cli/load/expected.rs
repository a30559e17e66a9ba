//! Every answer compared with what it must be, item by item.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

use crate::account::{RejectionCode, Verdict};
use crate::events::{REQUEST_ACCEPTED, REQUEST_REJECTED};

use super::body::write_account;
use super::feed::Item;

/// Differences that are kept to be shown; all are counted.
const SHOWN: usize = 10;

/// The answer to a batch, as far as it is checked.
#[derive(Deserialize)]
struct BatchAnswer<'a> {
    #[serde(borrow)]
    results: Vec<ItemAnswer<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemAnswer<'a> {
    #[serde(borrow)]
    result_type: Cow<'a, str>,
    #[serde(borrow)]
    communication_number: Cow<'a, str>,
    #[serde(borrow)]
    account_ext_id: Cow<'a, str>,
    #[serde(borrow, default)]
    business_unit: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error_code: Option<Cow<'a, str>>,
}

impl ItemAnswer<'_> {
    /// The verdict it tells, if it is one there is.
    fn verdict(&self) -> Option<Verdict> {
        match (self.result_type.as_ref(), self.error_code.as_deref()) {
            (REQUEST_ACCEPTED, None) => Some(Verdict::Accepted),
            (REQUEST_REJECTED, Some(code)) => RejectionCode::parse(code).map(Verdict::Rejected),
            _ => None,
        }
    }
}

/// The number and the outcome of every item of an answer; nothing of one that is not the contract's.
pub(super) fn outcomes_of(answer: &[u8]) -> Vec<(Cow<'_, str>, Option<Verdict>)> {
    let results = serde_json::from_slice::<BatchAnswer<'_>>(answer).map(|answer| answer.results);
    let items = results.unwrap_or_default().into_iter();
    items.map(|item| (item.verdict(), item)).map(|(v, item)| (item.communication_number, v)).collect()
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not the contract's JSON.
    Unreadable,
    /// It has another number of results than the batch has items.
    Count {
        /// Items sent.
        expected: usize,
        /// Results received.
        got: usize,
    },
    /// A result names another number, account or business unit than the item at its place.
    Identity {
        /// The field.
        field: &'static str,
    },
    /// Another outcome.
    Outcome {
        /// The right one.
        expected: Verdict,
        /// The answered one; none when it is no outcome of the contract.
        got: Option<Verdict>,
    },
}

/// One difference and where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The batch, counted from 0.
    pub(super) batch: u64,
    /// The item within it, counted from 0; none when the whole answer is meant.
    pub(super) item: Option<usize>,
    /// What is wrong.
    pub(super) wrong: Wrong,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch {}", self.batch)?;
        if let Some(item) = self.item {
            write!(f, " item {item}")?;
        }
        match self.wrong {
            Wrong::Unreadable => f.write_str(": the answer is not the contract's JSON"),
            Wrong::Count { expected, got } => write!(f, ": {got} results for {expected} items"),
            Wrong::Identity { field } => write!(f, ": the result's {field} is not the item's"),
            Wrong::Outcome { expected, got } => {
                let got = got.map_or("no outcome of the contract", Verdict::as_str);
                write!(f, ": expected {}, answered {got}", expected.as_str())
            }
        }
    }
}

/// What the answer to an item must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// The item's outcome.
    Outcome,
    /// The item's outcome, or accepted because it is queued and not decided yet.
    OutcomeOrAccepted,
}

impl Right {
    /// What `got` must be.
    fn expected(self, item: &Item, got: Option<Verdict>) -> Verdict {
        match (self, got) {
            (Self::OutcomeOrAccepted, Some(Verdict::Accepted)) => Verdict::Accepted,
            (Self::OutcomeOrAccepted | Self::Outcome, _) => item.expected,
        }
    }
}

/// How often an outcome was expected and answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Items whose right outcome it is.
    pub(super) expected: u64,
    /// Items that were answered so.
    pub(super) answered: u64,
}

/// What came of the batches so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked {
    accepted: Count,
    rejected: [Count; RejectionCode::ALL.len()],
    repeated: u64,
    differences: u64,
    shown: Vec<Difference>,
}

impl Checked {
    /// Compares the final answer to a batch with its items.
    pub(super) fn check(
        &mut self,
        batch: u64,
        items: &[Item],
        business_unit: &str,
        right: Right,
        answer: &[u8],
    ) {
        let results = self.results(batch, items.len(), answer);
        let mut account = Vec::new();
        for (position, item) in items.iter().enumerate() {
            let result = results.get(position);
            let got = result.and_then(ItemAnswer::verdict);
            let expected = right.expected(item, got);
            self.repeated += u64::from(item.repeated);
            self.count(expected).expected += 1;
            let Some(result) = result else { continue };
            account.clear();
            write_account(&mut account, item.account);
            if let Some(field) = foreign(item, &account, business_unit, result) {
                self.differ(batch, Some(position), Wrong::Identity { field });
            }
            if let Some(verdict) = got {
                self.count(verdict).answered += 1;
            }
            if got != Some(expected) {
                self.differ(batch, Some(position), Wrong::Outcome { expected, got });
            }
        }
    }

    /// The results of an answer; none when it cannot be read.
    fn results<'a>(&mut self, batch: u64, items: usize, answer: &'a [u8]) -> Vec<ItemAnswer<'a>> {
        let Ok(BatchAnswer { results }) = serde_json::from_slice(answer) else {
            self.differ(batch, None, Wrong::Unreadable);
            return Vec::new();
        };
        if results.len() != items {
            self.differ(batch, None, Wrong::Count { expected: items, got: results.len() });
        }
        results
    }

    /// Adds what another connection has found.
    pub(super) fn merge(&mut self, other: &Self) {
        let add = |to: &mut Count, from: &Count| {
            to.expected += from.expected;
            to.answered += from.answered;
        };
        add(&mut self.accepted, &other.accepted);
        self.rejected.iter_mut().zip(&other.rejected).for_each(|(to, from)| add(to, from));
        self.repeated += other.repeated;
        self.differences += other.differences;
        let free = SHOWN.saturating_sub(self.shown.len());
        self.shown.extend(other.shown.iter().take(free));
    }

    /// Outcomes that were expected or answered, with their counts.
    pub(super) fn counts(&self) -> Vec<(Verdict, Count)> {
        let rejected = RejectionCode::ALL.iter().zip(self.rejected);
        std::iter::once((Verdict::Accepted, self.accepted))
            .chain(rejected.map(|(code, count)| (Verdict::Rejected(*code), count)))
            .filter(|(_, count)| *count != Count::default())
            .collect()
    }

    /// How many items were of a number and content that was sent before.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// How many differences there were.
    pub(super) fn differences(&self) -> u64 {
        self.differences
    }

    /// The first of them.
    pub(super) fn shown(&self) -> &[Difference] {
        &self.shown
    }

    fn count(&mut self, verdict: Verdict) -> &mut Count {
        match verdict {
            Verdict::Accepted => &mut self.accepted,
            Verdict::Rejected(code) => &mut self.rejected[code as usize],
        }
    }

    fn differ(&mut self, batch: u64, item: Option<usize>, wrong: Wrong) {
        self.differences += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(Difference { batch, item, wrong });
        }
    }
}

/// The first field in which a result is about something else than the item.
fn foreign(item: &Item, account: &[u8], unit: &str, result: &ItemAnswer<'_>) -> Option<&'static str> {
    let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
    if result.communication_number != *item.number.hyphenated().encode_lower(&mut buffer) {
        Some("communicationNumber")
    } else if result.account_ext_id.as_bytes() != account {
        Some("accountExtId")
    } else if result.business_unit.as_deref() != Some(unit) {
        Some("businessUnit")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::load::feed::{Feed, Shape};
    use crate::cli::load::mix::{Mix, Share};

    fn items() -> Vec<Item> {
        let mix = Mix {
            invalid: Share::parse("50%").unwrap(),
            repeat: Share::parse("0").unwrap(),
            conflict: Share::parse("0").unwrap(),
            update: Share::parse("0").unwrap(),
        };
        let business_unit = "retail".to_owned();
        let account_type = None;
        let shape =
            Shape { items: 20, batch_size: 20, connections: 1, mix, business_unit, account_type };
        let feed = Feed::new(1, shape);
        feed.batch(0).map(|index| feed.item(index)).collect()
    }

    fn answer(items: &[Item]) -> serde_json::Value {
        let results = items.iter().map(|item| {
            let mut account = Vec::new();
            write_account(&mut account, item.account);
            let mut result = serde_json::json!({
                "resultType": REQUEST_ACCEPTED,
                "communicationNumber": item.number.to_string(),
                "accountExtId": String::from_utf8(account).unwrap(),
                "businessUnit": "retail",
                "timeElapsedMs": 3,
            });
            if let Verdict::Rejected(code) = item.expected {
                result["resultType"] = REQUEST_REJECTED.into();
                result["errorCode"] = code.code().into();
                result["errorDescription"] = code.description().into();
            }
            result
        });
        serde_json::json!({ "results": results.collect::<Vec<_>>(), "timeElapsedMs": 5 })
    }

    fn check(items: &[Item], answer: &serde_json::Value) -> Checked {
        let mut checked = Checked::default();
        checked.check(4, items, "retail", Right::Outcome, answer.to_string().as_bytes());
        checked
    }

    #[test]
    fn a_right_answer_has_no_difference() {
        let items = items();
        let checked = check(&items, &answer(&items));
        assert_eq!(checked.differences(), 0, "{:?}", checked.shown());
        assert!(checked.counts().iter().all(|(_, count)| count.expected == count.answered));
        assert_eq!(checked.counts().iter().map(|(_, count)| count.expected).sum::<u64>(), 20);
    }

    #[test]
    fn an_item_that_is_only_queued_is_answered_as_accepted() {
        let items = items();
        let place = items.iter().position(|item| item.expected != Verdict::Accepted).unwrap();
        let with = |result_type: &str, code: Option<&str>| {
            let mut answer = answer(&items);
            answer["results"][place]["resultType"] = result_type.into();
            answer["results"][place]["errorCode"] = code.into();
            let mut checked = Checked::default();
            let answer = answer.to_string();
            checked.check(4, &items, "retail", Right::OutcomeOrAccepted, answer.as_bytes());
            checked.differences()
        };
        let Verdict::Rejected(code) = items[place].expected else { panic!("it is rejected") };
        assert_eq!(with(REQUEST_ACCEPTED, None), 0);
        assert_eq!(with(REQUEST_REJECTED, Some(code.code())), 0);
        assert_eq!(with(REQUEST_REJECTED, Some("O005")), 1);
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let items = items();
        let place = items.iter().position(|item| item.expected == Verdict::Accepted).unwrap();
        let changed = |field: &str, value: &str| {
            let mut answer = answer(&items);
            answer["results"][place][field] = value.into();
            check(&items, &answer).shown().to_vec()
        };
        let at_place = |wrong| vec![Difference { batch: 4, item: Some(place), wrong }];
        for field in ["communicationNumber", "accountExtId", "businessUnit"] {
            assert_eq!(changed(field, "another"), at_place(Wrong::Identity { field }));
        }
        let expected = Verdict::Accepted;
        let outcome = |got| at_place(Wrong::Outcome { expected, got });
        assert_eq!(changed("resultType", "OK"), outcome(None));
        assert_eq!(changed("errorCode", "O005"), outcome(None));
    }

    #[test]
    fn results_out_of_order_or_missing_are_found() {
        let items = items();
        let mut swapped = answer(&items);
        swapped["results"].as_array_mut().unwrap().swap(0, 1);
        assert!(check(&items, &swapped).differences() >= 2);
        let mut short = answer(&items);
        short["results"].as_array_mut().unwrap().pop();
        assert_eq!(check(&items, &short).shown()[0].wrong, Wrong::Count { expected: 20, got: 19 });
    }

    #[test]
    fn an_answer_that_is_no_json_is_one_difference() {
        let mut checked = Checked::default();
        checked.check(0, &items(), "retail", Right::Outcome, b"<html>");
        assert_eq!(checked.differences(), 1);
    }
}
