//! The feed: which items are sent, in which batch, and what must become of each.
//!
//! An item is a function of the options and its index alone. What an item refers to (a repeated
//! number, the account an update replaces) stands in an earlier batch of the same connection, so it
//! has been persisted before it is referred to; a repeat may also stand in the same batch, where
//! either copy may come first. So sending any batch again, or the whole feed, changes no outcome.

use std::ops::Range;

use uuid::Uuid;

use crate::account::{Action, RejectionCode, Verdict};

use super::draws::Draws;
use super::mix::Mix;

/// How often an earlier item that fits is looked for before the item goes out as a fresh one.
const TRIES: usize = 32;
/// One of so many repeats is of an item of the same batch.
const REPEATS_WITHIN_BATCH: u64 = 8;
/// Accounts that one customer holds.
const ACCOUNTS_PER_CUSTOMER: u64 = 3;

/// What draws are for.
#[derive(Clone, Copy)]
enum Purpose {
    Kind,
    Flaw,
    Reference,
    Number,
    Account,
    Customer,
    OtherCustomer,
    Details,
}

/// What an item is, before it is known whether there is anything it can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fresh,
    Repeat,
    Conflict,
    Update,
    Invalid,
}

/// The one rule an invalid item is against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    UnknownCurrency,
    ClosedWithoutDate,
    ClosingDateOfActive,
    ReasonsOfActive,
    ElsewhereWithoutBic,
    ClosedBeforeOpened,
    CreateOfExisting,
    UpdateOfUnknown,
    OtherCustomersAccount,
}

impl Flaw {
    const ALL: [Self; 9] = [
        Self::UnknownCurrency,
        Self::ClosedWithoutDate,
        Self::ClosingDateOfActive,
        Self::ReasonsOfActive,
        Self::ElsewhereWithoutBic,
        Self::ClosedBeforeOpened,
        Self::CreateOfExisting,
        Self::UpdateOfUnknown,
        Self::OtherCustomersAccount,
    ];

    fn code(self) -> RejectionCode {
        match self {
            Self::UnknownCurrency => RejectionCode::A001,
            Self::ClosedWithoutDate => RejectionCode::A002,
            Self::ClosingDateOfActive => RejectionCode::A003,
            Self::ReasonsOfActive => RejectionCode::A004,
            Self::ElsewhereWithoutBic => RejectionCode::A005,
            Self::ClosedBeforeOpened => RejectionCode::A006,
            Self::CreateOfExisting => RejectionCode::A009,
            Self::UpdateOfUnknown => RejectionCode::A010,
            Self::OtherCustomersAccount => RejectionCode::A011,
        }
    }
}

/// One item: who it is about, and what must become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The communication's number.
    pub(super) number: Uuid,
    /// Number part of the account's id.
    pub(super) account: u64,
    /// Number part of the customer's id.
    pub(super) customer: u64,
    /// What is to be done.
    pub(super) action: Action,
    /// The item whose other data it carries.
    pub(super) details_of: u64,
    /// Whether it was sent before; written in another form of the same content.
    pub(super) repeated: bool,
    /// The rule it is against.
    pub(super) flaw: Option<Flaw>,
    /// Its right outcome.
    pub(super) expected: Verdict,
}

/// What a feed is like.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// How many items it has.
    pub(super) items: u64,
    /// Items of one batch; not 0.
    pub(super) batch_size: u64,
    /// Connections that send the batches in turn; not 0.
    pub(super) connections: u64,
    /// What the items are made of.
    pub(super) mix: Mix,
    /// The business unit of every account.
    pub(super) business_unit: String,
    /// The type of every account.
    pub(super) account_type: Option<String>,
}

/// All that is sent in one run.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    seed: u64,
    items: u64,
    batch_size: u64,
    connections: u64,
    /// Upper ends of invalid, repeat, conflict and update on the scale of a `u32`.
    ends: [u64; 4],
    business_unit: String,
    account_type: Option<String>,
}

impl Feed {
    /// The feed that `shape` and `seed` stand for. Two feeds share their items when both are equal, and
    /// none otherwise; the shorter one is the beginning of the longer one.
    pub(super) fn new(seed: u64, shape: Shape) -> Self {
        let Shape { items, batch_size, connections, mix, business_unit, account_type } = shape;
        let ends = mix.ends();
        let parts = [batch_size, connections].into_iter().chain(ends);
        let parts = parts.chain(business_unit.bytes().map(u64::from));
        let parts = parts.chain(account_type.iter().flat_map(|name| name.bytes()).map(u64::from));
        let seed = parts.fold(seed, |seed, part| Draws::at(seed, 0, part).next());
        Self { seed, items, batch_size, connections, ends, business_unit, account_type }
    }

    /// The type of every account.
    pub(super) fn account_type(&self) -> Option<&str> {
        self.account_type.as_deref()
    }

    /// The business unit of every account.
    pub(super) fn business_unit(&self) -> &str {
        &self.business_unit
    }

    /// How many items there are.
    pub(super) fn items(&self) -> u64 {
        self.items
    }

    /// The batches that `connection` sends, one after the other.
    pub(super) fn batches_of(&self, connection: u64) -> impl Iterator<Item = u64> + use<> {
        let batches = self.items.div_ceil(self.batch_size);
        let step = usize::try_from(self.connections).unwrap_or(usize::MAX);
        (connection..batches).step_by(step)
    }

    /// The indexes of a batch's items.
    pub(super) fn batch(&self, batch: u64) -> Range<u64> {
        let start = batch * self.batch_size;
        start..(start + self.batch_size).min(self.items)
    }

    /// The item at `index`.
    pub(super) fn item(&self, index: u64) -> Item {
        let fresh = self.fresh(index);
        match self.kind(index) {
            Kind::Fresh => fresh,
            Kind::Repeat => {
                self.repeated(index).map_or(fresh, |of| Item { repeated: true, ..self.fresh(of) })
            }
            Kind::Conflict => self.persisted(index).map_or(fresh, |of| Item {
                number: self.number(of),
                expected: Verdict::Rejected(RejectionCode::O005),
                ..fresh
            }),
            Kind::Update => self.persisted(index).map_or(fresh, |of| Item {
                account: self.account(of),
                customer: self.customer(of),
                action: Action::Update,
                ..fresh
            }),
            Kind::Invalid => self.invalid(index, fresh),
        }
    }

    fn fresh(&self, index: u64) -> Item {
        Item {
            number: self.number(index),
            account: self.account(index),
            customer: self.customer(index),
            action: Action::Create,
            details_of: index,
            repeated: false,
            flaw: None,
            expected: Verdict::Accepted,
        }
    }

    fn invalid(&self, index: u64, fresh: Item) -> Item {
        let flaw = self.draws(Purpose::Flaw, index).pick(&Flaw::ALL);
        let flawed =
            |flaw: Flaw| Item { flaw: Some(flaw), expected: Verdict::Rejected(flaw.code()), ..fresh };
        let unknown = Item { action: Action::Update, ..flawed(Flaw::UpdateOfUnknown) };
        match flaw {
            Flaw::CreateOfExisting => self.persisted(index).map_or(unknown, |of| Item {
                account: self.account(of),
                customer: self.customer(of),
                ..flawed(flaw)
            }),
            Flaw::OtherCustomersAccount => self.persisted(index).map_or(unknown, |of| Item {
                account: self.account(of),
                customer: self.draws(Purpose::OtherCustomer, index).next(),
                action: Action::Update,
                ..flawed(flaw)
            }),
            Flaw::UpdateOfUnknown => unknown,
            Flaw::UnknownCurrency
            | Flaw::ClosedWithoutDate
            | Flaw::ClosingDateOfActive
            | Flaw::ReasonsOfActive
            | Flaw::ElsewhereWithoutBic
            | Flaw::ClosedBeforeOpened => flawed(flaw),
        }
    }

    /// A fresh item that a repeat may be of.
    fn repeated(&self, index: u64) -> Option<u64> {
        let mut draws = self.draws(Purpose::Reference, index);
        if draws.below(REPEATS_WITHIN_BATCH) > 0 {
            return self.persisted(index);
        }
        let start = index - index % self.batch_size;
        let before = index - start;
        if before == 0 {
            return None;
        }
        self.first_fresh(|| start + draws.below(before))
    }

    /// A fresh item of an earlier batch of the same connection.
    fn persisted(&self, index: u64) -> Option<u64> {
        let batch = index / self.batch_size;
        let (earlier, connection) = (batch / self.connections, batch % self.connections);
        if earlier == 0 {
            return None;
        }
        let mut draws = self.draws(Purpose::Reference, index);
        self.first_fresh(|| {
            let batch = connection + draws.below(earlier) * self.connections;
            batch * self.batch_size + draws.below(self.batch_size)
        })
    }

    fn first_fresh(&self, mut candidate: impl FnMut() -> u64) -> Option<u64> {
        (0..TRIES).map(|_| candidate()).find(|&index| self.kind(index) == Kind::Fresh)
    }

    fn kind(&self, index: u64) -> Kind {
        let drawn = self.draws(Purpose::Kind, index).next() >> 32;
        match self.ends.iter().position(|&end| drawn < end) {
            Some(0) => Kind::Invalid,
            Some(1) => Kind::Repeat,
            Some(2) => Kind::Conflict,
            Some(_) => Kind::Update,
            None => Kind::Fresh,
        }
    }

    fn number(&self, index: u64) -> Uuid {
        let mut draws = self.draws(Purpose::Number, index);
        let bits = u128::from(draws.next()) << 64 | u128::from(draws.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    fn account(&self, index: u64) -> u64 {
        self.draws(Purpose::Account, index).next()
    }

    fn customer(&self, index: u64) -> u64 {
        self.draws(Purpose::Customer, index / ACCOUNTS_PER_CUSTOMER).next()
    }

    fn draws(&self, purpose: Purpose, index: u64) -> Draws {
        Draws::at(self.seed, purpose as u64, index)
    }

    /// The draws that an item's other data come from.
    pub(super) fn details(&self, index: u64) -> Draws {
        self.draws(Purpose::Details, index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::cli::load::mix::Share;

    fn share(text: &str) -> Share {
        Share::parse(text).unwrap()
    }

    fn feed(seed: u64, items: u64, batch_size: u64, connections: u64, mix: Mix) -> Feed {
        let business_unit = "retail".to_owned();
        let account_type = None;
        Feed::new(seed, Shape { items, batch_size, connections, mix, business_unit, account_type })
    }

    fn mixed() -> Feed {
        let mix = Mix {
            invalid: share("10%"),
            repeat: share("0.1"),
            conflict: share("0.1"),
            update: share("0.2"),
        };
        feed(7, 20_000, 50, 3, mix)
    }

    #[test]
    fn connections_send_every_item_once() {
        let feed = feed(1, 1_001, 10, 4, no_mix());
        let mut sent: Vec<u64> =
            (0..4).flat_map(|c| feed.batches_of(c)).flat_map(|batch| feed.batch(batch)).collect();
        sent.sort_unstable();
        assert_eq!(sent, (0..1_001).collect::<Vec<_>>());
    }

    fn no_mix() -> Mix {
        Mix {
            invalid: Share::parse("0").unwrap(),
            repeat: Share::parse("0").unwrap(),
            conflict: Share::parse("0").unwrap(),
            update: Share::parse("0").unwrap(),
        }
    }

    /// Plays the feed connection by connection against the rule of numbers and accounts.
    #[test]
    fn what_an_item_refers_to_is_persisted_before_it() {
        let feed = mixed();
        for connection in 0..3 {
            let mut numbers = HashMap::new();
            let mut accounts = HashMap::new();
            for batch in feed.batches_of(connection) {
                let items: Vec<Item> = feed.batch(batch).map(|index| feed.item(index)).collect();
                for item in &items {
                    let persisted = numbers.get(&item.number);
                    match (item.expected, item.action) {
                        (Verdict::Accepted, _) if item.repeated => {
                            let same_batch =
                                items.iter().any(|i| !i.repeated && i.number == item.number);
                            assert!(same_batch || persisted == Some(&item.details_of));
                        }
                        (Verdict::Accepted, Action::Create) => {
                            assert!(persisted.is_none() && !accounts.contains_key(&item.account));
                        }
                        (Verdict::Rejected(RejectionCode::O005), _) => {
                            assert!(persisted.is_some_and(|of| *of != item.details_of));
                        }
                        (Verdict::Accepted, Action::Update)
                        | (Verdict::Rejected(RejectionCode::A009), _) => {
                            assert_eq!(accounts.get(&item.account), Some(&item.customer));
                        }
                        (Verdict::Rejected(RejectionCode::A011), _) => {
                            assert!(accounts.get(&item.account).is_some_and(|c| *c != item.customer));
                        }
                        (Verdict::Rejected(_), _) => assert!(!accounts.contains_key(&item.account)),
                    }
                }
                for item in items.iter().filter(|item| item.expected == Verdict::Accepted) {
                    numbers.insert(item.number, item.details_of);
                    accounts.insert(item.account, item.customer);
                }
            }
        }
    }

    #[test]
    fn shares_come_out_as_asked() {
        let feed = mixed();
        let items: Vec<Item> = (0..feed.items()).map(|index| feed.item(index)).collect();
        let count = |wanted: &dyn Fn(&Item) -> bool| items.iter().filter(|item| wanted(item)).count();
        let near = |count: usize, percent: usize| (percent * 180..percent * 220).contains(&count);
        assert!(near(count(&|item| item.flaw.is_some()), 10));
        assert!(near(count(&|item| item.repeated), 10));
        let conflict = Verdict::Rejected(RejectionCode::O005);
        assert!(near(count(&|item| item.expected == conflict), 10));
        let updates = count(&|item| item.flaw.is_none() && item.action == Action::Update);
        assert!(near(updates, 20));
        let codes: HashSet<_> = items.iter().filter_map(|item| item.flaw).map(Flaw::code).collect();
        assert_eq!(codes.len(), Flaw::ALL.len());
    }

    #[test]
    fn another_seed_or_shape_sends_other_numbers() {
        let number = |feed: &Feed| feed.item(5).number;
        let one = number(&feed(1, 100, 10, 1, no_mix()));
        assert_eq!(one, number(&feed(1, 200, 10, 1, no_mix())), "a longer feed");
        assert_ne!(one, number(&feed(2, 100, 10, 1, no_mix())), "another seed");
        assert_ne!(one, number(&feed(1, 100, 20, 1, no_mix())), "other batches");
        assert_ne!(one, number(&feed(1, 100, 10, 2, no_mix())), "other connections");
        assert_ne!(
            one,
            number(&feed(1, 100, 10, 1, Mix { update: share("1%"), ..no_mix() })),
            "another mix"
        );
    }
}
