//! A result event read back: what it tells of which communication.

use serde::Deserialize;

use crate::account::{
    AccountExtId, AccountKey, BusinessEntityExtId, BusinessUnit, Communication, CommunicationNumber,
    Problem, RejectionCode, Requester, Verdict,
};

use super::{CloudEvent, EventData, REQUEST_ACCEPTED, event_type};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    communication_number: String,
    account_ext_id: String,
    business_unit: Option<String>,
    business_entity_ext_id: String,
    requester: String,
    error_code: Option<String>,
}

/// What an event tells; none when it is not, but for its id and its time, to the byte what penstock writes.
pub fn told_by(event: &CloudEvent) -> Option<(Communication, Verdict)> {
    let data: Data = serde_json::from_slice(&event.data).ok()?;
    let verdict = match &data.error_code {
        None if data.result_type == REQUEST_ACCEPTED => Verdict::Accepted,
        None => return None,
        Some(code) => Verdict::Rejected(RejectionCode::parse(code)?),
    };
    let communication = data.communication().ok()?;
    let subject = event.further.iter().find(|(name, _)| name == "subject").map(|(_, value)| value);
    let is_as_written = event.source == data.communication_number
        && subject.is_some_and(|subject| *subject == data.account_ext_id)
        && event.event_type.ends_with(&event_type("", verdict))
        && serde_json::to_vec(&EventData::new(&communication, verdict)).ok()? == event.data;
    is_as_written.then_some((communication, verdict))
}

impl Data {
    fn communication(&self) -> Result<Communication, Problem> {
        let unit = self.business_unit.as_deref().map(BusinessUnit::parse).transpose()?;
        Ok(Communication {
            number: CommunicationNumber::parse(&self.communication_number)?,
            account: AccountKey {
                business_unit: unit,
                account_ext_id: AccountExtId::parse(&self.account_ext_id)?,
            },
            business_entity_ext_id: BusinessEntityExtId::parse(&self.business_entity_ext_id)?,
            requester: Requester::parse(&self.requester)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::account::{EventId, Outcome, Timestamp};
    use crate::events::ResultEvent;

    fn communication() -> Communication {
        let data = Data {
            result_type: String::new(),
            communication_number: "n-1 ž".to_owned(),
            account_ext_id: "a\"1".to_owned(),
            business_unit: Some("north".to_owned()),
            business_entity_ext_id: "c".to_owned(),
            requester: "CORE".to_owned(),
            error_code: None,
        };
        data.communication().unwrap()
    }

    fn event(verdict: Verdict) -> CloudEvent {
        let outcome = Outcome { verdict, event_id: EventId(uuid::Uuid::nil()) };
        let time = Timestamp::from_unix_millis(0);
        let event = ResultEvent::new("bank.x", communication(), outcome, time);
        let headers: Vec<_> =
            event.kafka_headers().iter().map(|(name, value)| (*name, value.to_string())).collect();
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        CloudEvent::from_kafka(headers, event.data_json().unwrap()).unwrap()
    }

    #[test]
    fn what_is_told_is_read_back() {
        for verdict in [Verdict::Accepted, Verdict::Rejected(RejectionCode::O005)] {
            assert_eq!(told_by(&event(verdict)), Some((communication(), verdict)));
        }
    }

    #[test]
    fn what_was_changed_by_a_byte_is_nobodys() {
        let original = event(Verdict::Rejected(RejectionCode::A007));
        let text = String::from_utf8(original.data.to_vec()).unwrap();
        let datas = [
            text.replace("north", "south"),
            text.replace("A007", "A001"),
            text.replace("REQUEST_REJECTED", "REQUEST_ACCEPTED"),
            text.replace(',', ", "),
            text.replace('{', "{\"further\":1,"),
        ];
        for data in datas {
            assert_ne!(data, text);
            let told = told_by(&CloudEvent { data: Bytes::from(data), ..original.clone() });
            assert_ne!(told, Some((communication(), Verdict::Rejected(RejectionCode::A007))));
        }
        let other_type =
            CloudEvent { event_type: "bank.x.account.accepted".to_owned(), ..original.clone() };
        assert_eq!(told_by(&other_type), None);
        let other_source = CloudEvent { source: "n-2".to_owned(), ..original.clone() };
        assert_eq!(told_by(&other_source), None);
        assert_eq!(told_by(&CloudEvent { further: Vec::new(), ..original }), None);
    }
}
