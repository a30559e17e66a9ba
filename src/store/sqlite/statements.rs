//! Every statement of the embedded store. They are set-based: `?1` is a JSON array with one element
//! a row, so one prepared statement serves any number of rows.
//!
//! `CROSS JOIN` keeps `SQLite` from turning a look-up by key into a scan of the table, and
//! `MATERIALIZED` from rendering a row's JSON again for each of its columns, which doubles the cost of
//! a write.

/// Ledger rows of an array of numbers.
pub const LOAD_LEDGER: &str = "
SELECT c.number, c.fingerprint, c.event_id, c.generation, c.partition, c.log_offset
FROM json_each(?1) AS wanted
CROSS JOIN communications AS c ON c.number = wanted.value";

/// Account rows of an array of `[business unit, account ext id]`.
pub const LOAD_ACCOUNTS: &str = "
SELECT a.business_unit, a.account_ext_id, a.business_entity_ext_id,
       a.generation, a.partition, a.log_offset
FROM json_each(?1) AS wanted
CROSS JOIN accounts AS a
    ON a.business_unit = wanted.value ->> 0 AND a.account_ext_id = wanted.value ->> 1";

/// Frontiers of an array of `[generation, partition, from, to]`.
pub const LOAD_FRONTIERS: &str = "
SELECT f.generation, f.partition, f.next_offset
FROM json_each(?1) AS wanted
CROSS JOIN frontiers AS f
    ON f.generation = wanted.value ->> 0 AND f.partition = wanted.value ->> 1";

/// Rejections within an array of `[generation, partition, from, to]`, `to` excluded.
pub const LOAD_REJECTIONS: &str = "
SELECT r.generation, r.partition, r.log_offset, r.verdict, r.event_id
FROM json_each(?1) AS wanted
CROSS JOIN rejections AS r
    ON r.generation = wanted.value ->> 0 AND r.partition = wanted.value ->> 1
   AND r.log_offset >= wanted.value ->> 2 AND r.log_offset < wanted.value ->> 3";

/// First frontiers: an array of `[generation, partition, next]`.
pub const INSERT_FRONTIERS: &str = "
INSERT INTO frontiers (generation, partition, next_offset)
SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1) WHERE true
ON CONFLICT DO NOTHING";

/// Frontiers moved by compare-and-set: an array of `[generation, partition, next, expected]`.
pub const MOVE_FRONTIERS: &str = "
UPDATE frontiers SET next_offset = moved.value ->> 2
FROM json_each(?1) AS moved
WHERE frontiers.generation = moved.value ->> 0 AND frontiers.partition = moved.value ->> 1
  AND frontiers.next_offset = moved.value ->> 3";

/// Claims in the ledger; a number that is taken inserts no row.
pub const INSERT_CLAIMS: &str = "
WITH rows (value) AS MATERIALIZED (SELECT value FROM jsonb_each(?1))
INSERT INTO communications (
    number, fingerprint, event_id, generation, partition, log_offset,
    business_unit, account_ext_id, business_entity_ext_id, requester)
SELECT value ->> 0, unhex(value ->> 1), unhex(value ->> 2), value ->> 3, value ->> 4, value ->> 5,
       value ->> 6, value ->> 7, value ->> 8, value ->> 9
FROM rows WHERE true
ON CONFLICT DO NOTHING";

/// New accounts; one that exists inserts no row.
pub const INSERT_ACCOUNTS: &str = "
WITH rows (value) AS MATERIALIZED (SELECT value FROM jsonb_each(?1))
INSERT INTO accounts (
    business_unit, account_ext_id, business_entity_ext_id, generation, partition, log_offset,
    communication_number, requester, action, account_number, account_status,
    account_type, account_purpose, bank_title, bic, currency_code,
    is_other_fin_inst_account, opening_date, closing_date, suspension_reasons)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
       value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10,
       value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15,
       value ->> 16, value ->> 17, value ->> 18, value ->> 19
FROM rows WHERE true
ON CONFLICT DO NOTHING";

/// Accounts replaced by compare-and-set on their version, which is elements 20 to 22.
pub const UPDATE_ACCOUNTS: &str = "
WITH new (value) AS MATERIALIZED (SELECT value FROM jsonb_each(?1))
UPDATE accounts SET
    business_entity_ext_id = new.value ->> 2,
    generation = new.value ->> 3, partition = new.value ->> 4, log_offset = new.value ->> 5,
    communication_number = new.value ->> 6, requester = new.value ->> 7, action = new.value ->> 8,
    account_number = new.value ->> 9, account_status = new.value ->> 10,
    account_type = new.value ->> 11, account_purpose = new.value ->> 12,
    bank_title = new.value ->> 13, bic = new.value ->> 14, currency_code = new.value ->> 15,
    is_other_fin_inst_account = new.value ->> 16, opening_date = new.value ->> 17,
    closing_date = new.value ->> 18, suspension_reasons = new.value ->> 19
FROM new
WHERE accounts.business_unit = new.value ->> 0 AND accounts.account_ext_id = new.value ->> 1
  AND accounts.generation = new.value ->> 20 AND accounts.partition = new.value ->> 21
  AND accounts.log_offset = new.value ->> 22";

/// Rejections taken back: an array of `[generation, partition, offset, event id]`.
pub const WITHDRAW_REJECTIONS: &str = "
DELETE FROM rejections WHERE id IN (
    SELECT r.id
    FROM json_each(?1) AS wanted
    CROSS JOIN rejections AS r
        ON r.generation = wanted.value ->> 0 AND r.partition = wanted.value ->> 1
       AND r.log_offset = wanted.value ->> 2
    WHERE r.event_id = unhex(wanted.value ->> 3))";

/// Rejections; one that is noted already inserts no row.
pub const INSERT_REJECTIONS: &str = "
WITH rows (value) AS MATERIALIZED (SELECT value FROM jsonb_each(?1))
INSERT INTO rejections (
    generation, partition, log_offset, verdict, event_id,
    number, business_unit, account_ext_id, business_entity_ext_id, requester)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, unhex(value ->> 4),
       value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9
FROM rows WHERE true
ON CONFLICT DO NOTHING";

/// Outcomes of the number `?1`: the accepted one, then the newest rejections, at most `?2`.
pub const OUTCOMES: &str = "
SELECT * FROM (
    SELECT 1 AS accepted, id, generation, partition, log_offset, 'ACCEPTED' AS verdict, event_id,
           business_unit, account_ext_id, business_entity_ext_id, requester
    FROM communications WHERE number = ?1
    UNION ALL
    SELECT 0, id, generation, partition, log_offset, verdict, event_id,
           business_unit, account_ext_id, business_entity_ext_id, requester
    FROM (SELECT * FROM rejections WHERE number = ?1 ORDER BY id DESC LIMIT ?2)
)
ORDER BY accepted DESC, id DESC LIMIT ?2";

/// A write that changes nothing of meaning, to learn whether writing works.
pub const PROBE: &str = "
INSERT INTO probes (id, count) VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1";
