//! The schema of an account. [`Account`] is typed data: holding one means the schema is met.
//! Parsing collects every violation with its field instead of stopping at the first.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::schema::Problem;
use super::submission::{AccountKey, Communication};
use super::text::{
    AccountExtId, AccountNumber, BusinessEntityExtId, BusinessUnit, CommunicationNumber, CurrencyCode,
    Requester, Text,
};
use super::timestamp::Timestamp;

/// The state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountStatus {
    /// In use.
    Active,
    /// Disabled.
    Closed,
    /// Restricted.
    Suspended,
}

impl AccountStatus {
    /// The schema's values.
    pub const VALUES: &'static [&'static str] = &["ACTIVE", "CLOSED", "SUSPENDED"];

    /// The value as the schema spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Closed => "CLOSED",
            Self::Suspended => "SUSPENDED",
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "ACTIVE" => Ok(Self::Active),
            "CLOSED" => Ok(Self::Closed),
            "SUSPENDED" => Ok(Self::Suspended),
            "" => Err(Problem::Empty),
            _ => Err(Problem::NotAllowed { allowed: Self::VALUES }),
        }
    }
}

/// What is to be done with the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is new; the schema's default.
    #[default]
    Create,
    /// Its data is replaced.
    Update,
}

impl Action {
    /// The schema's values.
    pub const VALUES: &'static [&'static str] = &["CREATE", "UPDATE"];

    /// The value as the schema spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "CREATE" => Ok(Self::Create),
            "UPDATE" => Ok(Self::Update),
            _ => Err(Problem::NotAllowed { allowed: Self::VALUES }),
        }
    }
}

/// An account as the schema `AmlyzeAccountApi` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the published schema's, described there")]
pub struct Account {
    pub communication_number: CommunicationNumber,
    pub requester: Requester,
    pub business_unit: Option<BusinessUnit>,
    pub business_entity_ext_id: BusinessEntityExtId,
    pub account_ext_id: AccountExtId,
    pub account_number: AccountNumber,
    pub account_status: AccountStatus,
    pub account_type: Option<Text>,
    pub account_purpose: Option<Text>,
    pub action: Action,
    pub bank_title: Option<Text>,
    pub bic: Option<Text>,
    pub closing_date: Option<Timestamp>,
    pub currency_code: CurrencyCode,
    pub is_other_fin_inst_account: Option<bool>,
    pub opening_date: Timestamp,
    pub suspension_reasons: Option<Text>,
}

/// A violation within one item: the field, or none when the item as a whole is meant.
pub type ItemError = (Option<&'static str>, Problem);

impl Account {
    /// Reads one account from its JSON text. Unknown fields are ignored; an optional field that is
    /// null or an empty text counts as absent. Errors name every violation.
    pub fn parse(json: &str) -> Result<Self, Vec<ItemError>> {
        match serde_json::from_str::<Fields<'_>>(json) {
            Ok(fields) => fields.check(),
            Err(error) => Err(vec![(None, problem_of(&error))]),
        }
    }

    /// Reads the account that `json` begins with, and tells the length of its text; what follows is
    /// not looked at. None when there is no account that meets the schema.
    pub(super) fn parse_first(json: &str) -> Option<(Self, usize)> {
        let mut values = serde_json::Deserializer::from_str(json).into_iter::<Fields<'_>>();
        let account = values.next()?.ok()?.check().ok()?;
        Some((account, values.byte_offset()))
    }

    /// The account's identity.
    pub fn key(&self) -> AccountKey {
        AccountKey {
            business_unit: self.business_unit.clone(),
            account_ext_id: self.account_ext_id.clone(),
        }
    }

    /// What the communication is about.
    pub fn communication(&self) -> Communication {
        Communication {
            number: self.communication_number.clone(),
            account: self.key(),
            business_entity_ext_id: self.business_entity_ext_id.clone(),
            requester: self.requester.clone(),
        }
    }
}

/// Tells what the JSON parser found, without quoting the input.
pub(super) fn problem_of(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if text.starts_with("recursion limit") {
        return Problem::TooDeep;
    }
    if error.is_data() {
        return Problem::WrongType { expected: "an object" };
    }
    let reason = text.split(" at line ").next().unwrap_or("syntax error").to_owned();
    Problem::NotJson { reason, line: error.line(), column: error.column() }
}

macro_rules! fields {
    ($($field:ident => $name:literal,)+) => {
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Field { $($field,)+ }

        impl Field {
            const COUNT: usize = [$(Self::$field,)+].len();

            fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)+ }
            }

            fn of(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$field),)+ _ => None }
            }
        }
    };
}

impl Account {
    /// Whether the schema has a field of this name.
    pub fn has_field(name: &str) -> bool {
        Field::of(name).is_some()
    }
}

fields! {
    CommunicationNumber => "communicationNumber",
    Requester => "requester",
    BusinessUnit => "businessUnit",
    BusinessEntityExtId => "businessEntityExtId",
    AccountExtId => "accountExtId",
    AccountNumber => "accountNumber",
    AccountStatus => "accountStatus",
    AccountType => "accountType",
    AccountPurpose => "accountPurpose",
    Action => "action",
    BankTitle => "bankTitle",
    Bic => "bic",
    ClosingDate => "closingDate",
    CurrencyCode => "currencyCode",
    IsOtherFinInstAccount => "isOtherFinInstAccount",
    OpeningDate => "openingDate",
    SuspensionReasons => "suspensionReasons",
}

/// A field's JSON value, as far as the schema cares.
#[derive(Clone, Default)]
enum Value<'a> {
    #[default]
    Absent,
    Null,
    Boolean(bool),
    Text(Cow<'a, str>),
    Other,
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    // Recursing through `Value` keeps the parser's recursion limit in force.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<Value<'de>>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value::<Value<'de>>()?;
        }
        Ok(Value::Other)
    }
}

/// The known fields of one object, and which of them came more than once.
struct Fields<'a> {
    values: [Value<'a>; Field::COUNT],
    errors: Vec<ItemError>,
    /// A bit for each field that came more than once, however often.
    repeated: u32,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields { values: Default::default(), errors: Vec::new(), repeated: 0 };
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let value = map.next_value::<Value<'de>>()?;
            let Some(field) = Field::of(&key) else { continue };
            let slot = &mut fields.values[field as usize];
            if matches!(slot, Value::Absent) {
                *slot = value;
            } else if fields.repeated & (1 << field as u32) == 0 {
                fields.repeated |= 1 << field as u32;
                fields.errors.push((Some(field.name()), Problem::Repeated));
            }
        }
        Ok(fields)
    }
}

/// An object's key, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl Fields<'_> {
    fn check(mut self) -> Result<Account, Vec<ItemError>> {
        let communication_number = self.text(Field::CommunicationNumber, CommunicationNumber::parse);
        let requester = self.text(Field::Requester, Requester::parse);
        let business_unit = self.optional_text(Field::BusinessUnit, BusinessUnit::parse);
        let business_entity_ext_id = self.text(Field::BusinessEntityExtId, BusinessEntityExtId::parse);
        let account_ext_id = self.text(Field::AccountExtId, AccountExtId::parse);
        let account_number = self.text(Field::AccountNumber, AccountNumber::parse);
        let account_status = self.text(Field::AccountStatus, AccountStatus::parse);
        let account_type = self.optional_text(Field::AccountType, Text::parse);
        let account_purpose = self.optional_text(Field::AccountPurpose, Text::parse);
        let action = self.optional(Field::Action, Action::parse).unwrap_or_default();
        let bank_title = self.optional_text(Field::BankTitle, Text::parse);
        let bic = self.optional_text(Field::Bic, Text::parse);
        let closing_date = self.optional(Field::ClosingDate, Timestamp::parse);
        let currency_code = self.text(Field::CurrencyCode, CurrencyCode::parse);
        let is_other_fin_inst_account = self.boolean(Field::IsOtherFinInstAccount);
        let opening_date = self.text(Field::OpeningDate, parse_mandatory_time);
        let suspension_reasons = self.optional_text(Field::SuspensionReasons, Text::parse);
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let account = || {
            Some(Account {
                communication_number: communication_number?,
                requester: requester?,
                business_unit,
                business_entity_ext_id: business_entity_ext_id?,
                account_ext_id: account_ext_id?,
                account_number: account_number?,
                account_status: account_status?,
                account_type,
                account_purpose,
                action,
                bank_title,
                bic,
                closing_date,
                currency_code: currency_code?,
                is_other_fin_inst_account,
                opening_date: opening_date?,
                suspension_reasons,
            })
        };
        // Every mandatory field without a value has left an error above.
        account().ok_or_else(|| vec![(None, Problem::Missing)])
    }

    /// A mandatory text.
    fn text<T>(&mut self, field: Field, parse: fn(&str) -> Result<T, Problem>) -> Option<T> {
        let problem = match &self.values[field as usize] {
            Value::Text(text) => match parse(text) {
                Ok(value) => return Some(value),
                Err(problem) => problem,
            },
            Value::Absent => Problem::Missing,
            Value::Null => Problem::Null,
            Value::Boolean(_) | Value::Other => Problem::WrongType { expected: "a string" },
        };
        self.errors.push((Some(field.name()), problem));
        None
    }

    /// An optional text in which empty is a violation or not as `parse` says.
    fn optional<T>(&mut self, field: Field, parse: fn(&str) -> Result<T, Problem>) -> Option<T> {
        match self.values[field as usize] {
            Value::Absent | Value::Null => None,
            _ => self.text(field, parse),
        }
    }

    /// An optional text that counts as absent when it is empty.
    fn optional_text<T>(&mut self, field: Field, parse: fn(&str) -> Result<T, Problem>) -> Option<T> {
        match &self.values[field as usize] {
            Value::Text(text) if text.is_empty() => None,
            _ => self.optional(field, parse),
        }
    }

    fn boolean(&mut self, field: Field) -> Option<bool> {
        match self.values[field as usize] {
            Value::Boolean(value) => return Some(value),
            Value::Absent | Value::Null => {}
            Value::Text(_) | Value::Other => {
                self.errors.push((Some(field.name()), Problem::WrongType { expected: "a boolean" }));
            }
        }
        None
    }
}

fn parse_mandatory_time(text: &str) -> Result<Timestamp, Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    Timestamp::parse(text)
}
