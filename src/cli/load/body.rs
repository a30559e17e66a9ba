//! The JSON of a batch, written into one buffer: made-up accounts that look like real ones.

use crate::account::Action;

use super::draws::Draws;
use super::feed::{Feed, Flaw, Item};

const REQUESTER: &str = "CORE-BANKING";
/// Bytes an item takes at most; a buffer of this size per item never grows.
const ITEM_BYTES: usize = 768;

const CURRENCIES: [&str; 8] = ["EUR", "EUR", "EUR", "USD", "GBP", "CHF", "SEK", "PLN"];
const PURPOSES: [&str; 6] = [
    "Salary and household payments",
    "Savings",
    "Business current account",
    "Securities settlement",
    "Escrow for a property purchase",
    "Card repayments",
];
const REASONS: [&str; 3] = [
    "Security breach investigation in progress.",
    "Documents of the account holder have expired.",
    "Court order.",
];
/// Made-up banks with well-formed BICs.
const BANKS: [(&str, &str); 6] = [
    ("Baltic Meridian Bank", "BMERLT2XXXX"),
    ("Alpine Valley Privatbank", "ALVPLI22"),
    ("Nordhafen Landesbank", "NDHFDEFFXXX"),
    ("Danube Commercial Bank", "DNCBATWW"),
    ("Harju Cooperative Bank", "HRJCEE2X"),
    ("Lemania Trust Bank", "LMTBCHZZ80A"),
];
/// Countries whose account numbers are digits only: code and number of digits.
const COUNTRIES: [([u8; 2], u32); 6] =
    [(*b"LT", 16), (*b"LI", 17), (*b"DE", 18), (*b"AT", 16), (*b"EE", 16), (*b"CH", 17)];

/// Data of an account that says nothing about who it is.
struct Details {
    status: Status,
    opened_year: u64,
    closed_year: u64,
    elsewhere: Option<(&'static str, &'static str)>,
    draws: Draws,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Active,
    Suspended,
    Closed,
}

impl Details {
    fn new(mut draws: Draws, flaw: Option<Flaw>) -> Self {
        let opened_year = 2005 + draws.below(15);
        let closed_year = opened_year + 1 + draws.below(5);
        let usual = match draws.below(100) {
            0..=2 => Status::Closed,
            3..=5 => Status::Suspended,
            _ => Status::Active,
        };
        let status = match flaw {
            Some(Flaw::ClosedWithoutDate | Flaw::ClosedBeforeOpened) => Status::Closed,
            Some(Flaw::ClosingDateOfActive | Flaw::ReasonsOfActive) => Status::Active,
            _ => usual,
        };
        let bank = draws.pick(&BANKS);
        let elsewhere = draws.chance(10) || flaw == Some(Flaw::ElsewhereWithoutBic);
        Self { status, opened_year, closed_year, elsewhere: elsewhere.then_some(bank), draws }
    }
}

/// Appends `{"accounts":[…]}` with the items to `out`.
pub(super) fn write_batch(out: &mut Vec<u8>, feed: &Feed, items: &[Item]) {
    out.reserve(items.len() * ITEM_BYTES);
    out.extend_from_slice(b"{\"accounts\":[");
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_item(out, item, feed, feed.details(item.details_of));
    }
    out.extend_from_slice(b"]}");
}

fn write_item(out: &mut Vec<u8>, item: &Item, feed: &Feed, draws: Draws) {
    let mut details = Details::new(draws, item.flaw);
    let mut number = [0; uuid::fmt::Hyphenated::LENGTH];
    field(out, "{\"communicationNumber", item.number.hyphenated().encode_lower(&mut number));
    field(out, "\",\"requester", REQUESTER);
    field(out, "\",\"businessUnit", feed.business_unit());
    if let Some(account_type) = feed.account_type() {
        field(out, "\",\"accountType", account_type);
    }
    field(out, "\",\"businessEntityExtId", "");
    write_customer(out, item.customer);
    field(out, "\",\"accountExtId", "");
    write_account(out, item.account);
    field(out, "\",\"accountNumber", "");
    write_iban(out, &mut details.draws);
    if item.action == Action::Update {
        field(out, "\",\"action", item.action.as_str());
    }
    field(out, "\",\"accountPurpose", details.draws.pick(&PURPOSES));
    let currency = details.draws.pick(&CURRENCIES);
    let unknown = item.flaw == Some(Flaw::UnknownCurrency);
    field(out, "\",\"currencyCode", if unknown { "ZZZ" } else { currency });
    write_state(out, item, &mut details);
    write_elsewhere(out, item, &details);
    out.push(b'}');
}

/// Status and dates; ends with the closing quote of a text.
fn write_state(out: &mut Vec<u8>, item: &Item, details: &mut Details) {
    // An equal instant in another form: a repeat must be recognised by its content.
    let utc = if item.repeated { "+00:00" } else { "Z" };
    field(out, "\",\"openingDate", "");
    write_time(out, details.opened_year, &mut details.draws, utc);
    let (status, closed_year) = match details.status {
        Status::Active => ("ACTIVE", None),
        Status::Suspended => ("SUSPENDED", None),
        Status::Closed => ("CLOSED", Some(details.closed_year)),
    };
    field(out, "\",\"accountStatus", status);
    let closed_year = match item.flaw {
        Some(Flaw::ClosedWithoutDate) => None,
        Some(Flaw::ClosedBeforeOpened) => Some(details.opened_year - 1),
        Some(Flaw::ClosingDateOfActive) => Some(details.closed_year),
        _ => closed_year,
    };
    if let Some(year) = closed_year {
        field(out, "\",\"closingDate", "");
        write_time(out, year, &mut details.draws, utc);
    }
    if details.status == Status::Suspended || item.flaw == Some(Flaw::ReasonsOfActive) {
        field(out, "\",\"suspensionReasons", details.draws.pick(&REASONS));
    }
    out.push(b'"');
}

/// Whether another institution keeps the account.
fn write_elsewhere(out: &mut Vec<u8>, item: &Item, details: &Details) {
    match details.elsewhere {
        Some((title, bic)) => {
            out.extend_from_slice(b",\"isOtherFinInstAccount\":true");
            field(out, ",\"bankTitle", title);
            if item.flaw != Some(Flaw::ElsewhereWithoutBic) {
                field(out, "\",\"bic", bic);
            }
            out.push(b'"');
        }
        // What is null counts as absent, so a repeat may leave it out.
        None if item.repeated => out.extend_from_slice(b",\"isOtherFinInstAccount\":false"),
        None => out.extend_from_slice(b",\"isOtherFinInstAccount\":false,\"bic\":null"),
    }
}

/// Appends `name":"value`: the caller's next piece closes the quotes.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    out.extend_from_slice(value.as_bytes());
}

/// Appends the account's id.
pub(super) fn write_account(out: &mut Vec<u8>, account: u64) {
    out.extend_from_slice(b"ACC-");
    write_hex(out, account);
}

fn write_customer(out: &mut Vec<u8>, customer: u64) {
    out.extend_from_slice(b"CUST-");
    write_hex(out, customer);
}

fn write_hex(out: &mut Vec<u8>, number: u64) {
    for shift in (0..16).rev() {
        let digit = usize::try_from(number >> (shift * 4) & 0xf).unwrap_or(0);
        out.push(b"0123456789abcdef"[digit]);
    }
}

/// An IBAN with right check digits (ISO 13616, ISO 7064 MOD 97-10).
fn write_iban(out: &mut Vec<u8>, draws: &mut Draws) {
    let (country, digits) = draws.pick(&COUNTRIES);
    let number = draws.below(10_u64.pow(digits));
    let letters = country.iter().fold(0, |sum, letter| sum * 100 + u64::from(letter - b'A' + 10));
    // The remainder of number, letters and "00" read as one decimal number.
    let remainder = (number % 97 * (1_000_000 % 97) + letters * 100) % 97;
    out.extend_from_slice(&country);
    write_digits(out, 98 - remainder, 2);
    write_digits(out, number, digits);
}

/// An RFC 3339 time in `year`.
fn write_time(out: &mut Vec<u8>, year: u64, draws: &mut Draws, utc: &str) {
    let mut part = |separator: &[u8], first: u64, count: u64, width: u32| {
        write_digits(out, first + draws.below(count), width);
        out.extend_from_slice(separator);
    };
    part(b"-", year, 1, 4);
    part(b"-", 1, 12, 2);
    part(b"T", 1, 28, 2);
    part(b":", 0, 24, 2);
    part(b":", 0, 60, 2);
    part(b".", 0, 60, 2);
    part(utc.as_bytes(), 0, 1_000, 3);
}

fn write_digits(out: &mut Vec<u8>, mut number: u64, width: u32) {
    let start = out.len();
    for _ in 0..width {
        out.push(b'0' + u8::try_from(number % 10).unwrap_or(0));
        number /= 10;
    }
    out[start..].reverse();
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;

    use crate::account::{
        Account, BatchLimits, Coordinates, Fingerprint, Policy, Submission, View, decide, parse_batch,
    };
    use crate::cli::load::feed::Shape;
    use crate::cli::load::mix::{Mix, Share};

    use super::*;

    const LIMITS: BatchLimits = BatchLimits { max_items: 10_000, max_item_bytes: ITEM_BYTES };

    fn feed() -> Feed {
        let share = |text| Share::parse(text).unwrap();
        let mix = Mix {
            invalid: share("0.2"),
            repeat: share("0.2"),
            conflict: share("0.1"),
            update: share("0.2"),
        };
        let business_unit = "retail".to_owned();
        let account_type = Some("CURRENT".to_owned());
        let (items, batch_size, connections) = (4_000, 200, 2);
        Feed::new(3, Shape { items, batch_size, connections, mix, business_unit, account_type })
    }

    fn parsed() -> Vec<(Item, Account)> {
        let feed = feed();
        let items: Vec<Item> = (0..feed.items()).map(|index| feed.item(index)).collect();
        let mut out = Vec::new();
        write_batch(&mut out, &feed, &items);
        let accounts = parse_batch(&Bytes::from(out), LIMITS).unwrap();
        items.into_iter().zip(accounts.into_iter().map(|item| item.account)).collect()
    }

    #[test]
    fn every_item_meets_the_schema_and_says_who_it_is() {
        for (item, account) in parsed() {
            let mut id = Vec::new();
            write_account(&mut id, item.account);
            assert_eq!(account.account_ext_id.as_str().as_bytes(), id);
            assert_eq!(account.communication_number.as_str(), item.number.to_string());
            assert_eq!(account.action, item.action);
            assert_eq!(account.account_type.as_ref().map(|name| name.as_str()), Some("CURRENT"));
        }
    }

    #[test]
    fn a_repeat_has_the_content_of_what_it_repeats() {
        let mut contents = HashMap::new();
        let mut repeats = 0;
        for (item, account) in parsed().into_iter().filter(|(item, _)| item.flaw.is_none()) {
            let content = Fingerprint::of(&account);
            if item.repeated {
                repeats += 1;
                assert_eq!(contents.get(&item.number), Some(&content));
            } else {
                contents.entry(item.number).or_insert(content);
            }
        }
        assert!(repeats > 100);
    }

    #[test]
    fn ibans_have_right_check_digits() {
        for (_, account) in parsed() {
            let iban = account.account_number.as_str();
            let moved = format!("{}{}", &iban[4..], &iban[..4]);
            let remainder = moved.chars().fold(0, |sum, c| {
                let value = c.to_digit(36).unwrap();
                (sum * if value > 9 { 100 } else { 10 } + value) % 97
            });
            assert_eq!(remainder, 1, "{iban}");
        }
    }

    #[test]
    fn every_item_gets_its_right_outcome_however_often_all_is_sent() {
        let (items, accounts): (Vec<Item>, Vec<Account>) = parsed().into_iter().unzip();
        let sent = accounts.iter().chain(&accounts).enumerate();
        let submissions: Vec<Submission> = sent
            .map(|(at, account)| Submission::new(account.clone(), None, Coordinates::hypothetical(at)))
            .collect();
        let decision = decide(&submissions, &[], &View::default(), &Policy::default()).unwrap();
        for (item, decided) in items.iter().chain(&items).zip(decision.decided) {
            assert_eq!(decided.outcome().unwrap().verdict, item.expected, "{item:?}");
        }
    }
}
