//! Every statement about whole tables: rows whose ids come after `?1`, at most `?2`.

macro_rules! table {
    ($name:literal, $columns:literal) => {
        concat!("SELECT id, ", $columns, " FROM ", $name, " WHERE id > ?1 ORDER BY id LIMIT ?2")
    };
}

pub(super) const COMMUNICATIONS: &str = table!(
    "communications",
    "number, fingerprint, event_id, generation, partition, log_offset, business_unit, account_ext_id, \
     business_entity_ext_id, requester"
);

pub(super) const REJECTIONS: &str = table!(
    "rejections",
    "generation, partition, log_offset, number, verdict, event_id, business_unit, account_ext_id, \
     business_entity_ext_id, requester"
);

pub(super) const ACCOUNTS: &str = table!("accounts", "*");

pub(super) const DELIVERIES: &str =
    table!("deliveries", "endpoint, event_id, number, state, recorded_at, attributes, data");

pub(super) const OUTCOME_CHANGES: &str = table!(
    "outcome_changes",
    "job, generation, partition, log_offset, verdict_before, event_id_before, verdict, event_id"
);
