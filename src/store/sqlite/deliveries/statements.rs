//! Every statement about deliveries. Like those of plans they are set-based.
//!
//! `SQLite` knows nothing of how many rows a state has, so what looks a line up says by which index.

use crate::store::{DeliveryState, Selection};

pub use crate::store::stored::ENDPOINT_NAMES;

/// Moves frontiers: an array of `[generation, partition, next, stamp, stamp before]`, each from where its
/// stamp is that before, or its own already. Tells which were moved.
pub const MOVE_FRONTIERS: &str = "
INSERT INTO delivery_frontiers (generation, partition, next_offset, stamp, previous)
SELECT value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3), unhex(value ->> 4)
FROM json_each(?1)
WHERE value ->> 4 IS NULL OR EXISTS (
    SELECT 1 FROM delivery_frontiers AS known
    WHERE known.generation = value ->> 0 AND known.partition = value ->> 1)
ON CONFLICT (generation, partition) DO UPDATE SET
    next_offset = excluded.next_offset, stamp = excluded.stamp, previous = excluded.previous
WHERE delivery_frontiers.stamp IN (excluded.previous, excluded.stamp)
RETURNING generation, partition";

/// Frontiers of an array of `[generation, partition]` and of the generations before these, and whether there
/// were deliveries before there were any.
pub const FRONTIERS: &str = "
SELECT f.generation, f.partition, f.next_offset, f.stamp
FROM json_each(?1) AS wanted
CROSS JOIN delivery_frontiers AS f
    ON f.partition = wanted.value ->> 1 AND f.generation BETWEEN 1 AND wanted.value ->> 0
UNION ALL
SELECT generation, partition, next_offset, stamp FROM delivery_frontiers WHERE generation = 0";

/// Which of an array of `[endpoint, event]` are recorded.
pub const LOOK_KEYS: &str = "
SELECT d.endpoint, d.event_id
FROM json_each(?1) AS wanted
CROSS JOIN deliveries AS d
    ON d.endpoint = wanted.value ->> 0 AND d.event_id = unhex(wanted.value ->> 1)";

/// In which of the lines of an array of `[endpoint, account]` something is parked.
pub const LOOK_LINES: &str = "
SELECT wanted.value ->> 0 AS endpoint, wanted.value ->> 1 AS account
FROM json_each(?1) AS wanted
WHERE EXISTS (
        SELECT 1 FROM deliveries AS p INDEXED BY deliveries_parked
        WHERE p.endpoint = wanted.value ->> 0 AND p.account = wanted.value ->> 1
          AND p.state = 'parked')
   OR EXISTS (
        SELECT 1 FROM deliveries AS w INDEXED BY deliveries_waiting
        WHERE w.endpoint = wanted.value ->> 0 AND w.account = wanted.value ->> 1
          AND w.state = 'waiting')";

/// New deliveries, recorded at `?2`. One of an ordered endpoint that is parked waits if something of
/// its line is parked. One that is recorded already only becomes delivered.
pub const RECORD: &str = "
WITH new AS MATERIALIZED (
    SELECT key AS place,
           value ->> 0 AS endpoint, unhex(value ->> 1) AS event_id, value ->> 2 AS account,
           value ->> 3 AS number, value ->> 4 AS is_ordered, value ->> 5 AS state,
           value ->> 6 AS due_at, value ->> 7 AS failures, value ->> 8 AS attempted_at,
           value ->> 9 AS duration_ms, value ->> 10 AS status, value ->> 11 AS answer,
           value ->> 12 AS attributes, value ->> 13 AS data
    FROM jsonb_each(?1)
)
INSERT INTO deliveries (
    endpoint, event_id, account, number, is_ordered, state, due_at, failures, attempts,
    attempted_at, duration_ms, status, answer, attributes, data, recorded_at)
SELECT new.endpoint, new.event_id, new.account, new.number, new.is_ordered,
       CASE WHEN new.state = 'parked' AND new.is_ordered AND (
                EXISTS (
                    SELECT 1 FROM deliveries AS p INDEXED BY deliveries_parked
                    WHERE p.endpoint = new.endpoint AND p.account = new.account
                      AND p.state = 'parked')
                OR EXISTS (
                    SELECT 1 FROM deliveries AS w INDEXED BY deliveries_waiting
                    WHERE w.endpoint = new.endpoint AND w.account = new.account
                      AND w.state = 'waiting'))
            THEN 'waiting' ELSE new.state END,
       new.due_at, new.failures, new.attempted_at IS NOT NULL,
       new.attempted_at, new.duration_ms, new.status, new.answer, new.attributes, new.data, ?2
FROM new WHERE true
ORDER BY new.place
ON CONFLICT (endpoint, event_id) DO UPDATE SET
    state = 'delivered', due_at = NULL, lease = deliveries.lease + 1,
    attempts = deliveries.attempts + 1, attempted_at = excluded.attempted_at,
    duration_ms = excluded.duration_ms, status = excluded.status, answer = excluded.answer,
    state_since = max(
        excluded.recorded_at, coalesce(deliveries.state_since, deliveries.recorded_at)), reason = NULL
WHERE excluded.state = 'delivered' AND deliveries.state <> 'delivered'";

/// Attempts that failed: an array of `[endpoint, event, time, duration, status, answer]`.
pub const INSERT_ATTEMPTS: &str = "
INSERT INTO delivery_attempts (endpoint, event_id, attempted_at, duration_ms, status, answer)
SELECT value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5
FROM json_each(?1)";

/// What is due at `?3` for the endpoint `?1`, the ones due longest first, at most `?2`.
pub const DUE: &str = "
SELECT id, endpoint, event_id, account, lease + 1 AS lease, failures, recorded_at, attributes, data
FROM deliveries INDEXED BY deliveries_due
WHERE endpoint = ?1 AND state = 'parked' AND due_at <= ?3
ORDER BY due_at, id LIMIT ?2";

/// Leases an array of ids until `?2`.
pub const LEASE: &str = "
UPDATE deliveries SET due_at = ?2, lease = deliveries.lease + 1
FROM json_each(?1) AS due
WHERE deliveries.id = due.value";

/// Ends of leases at `?2`: an array of `[endpoint, event, lease, state, due time, failures, time, duration,
/// status, answer]`. Finds the line of each, and whether one of an ordered
/// endpoint has ended in it with that.
pub const SETTLE: &str = "
UPDATE deliveries SET
    state = s.value ->> 3, due_at = s.value ->> 4, failures = s.value ->> 5,
    state_since = CASE WHEN s.value ->> 3 = 'parked' THEN state_since
                  ELSE max(?2, coalesce(state_since, recorded_at)) END,
    attempts = attempts + (s.value ->> 6 IS NOT NULL),
    attempted_at = coalesce(s.value ->> 6, attempted_at),
    duration_ms = CASE WHEN s.value ->> 6 IS NULL THEN duration_ms ELSE s.value ->> 7 END,
    status = CASE WHEN s.value ->> 6 IS NULL THEN status ELSE s.value ->> 8 END,
    answer = CASE WHEN s.value ->> 6 IS NULL THEN answer ELSE s.value ->> 9 END
FROM json_each(?1) AS s
WHERE deliveries.endpoint = s.value ->> 0 AND deliveries.event_id = unhex(s.value ->> 1)
  AND deliveries.lease = s.value ->> 2 AND deliveries.state = 'parked'
RETURNING endpoint, account, is_ordered AND state IN ('delivered', 'exhausted') AS frees_line";

/// Makes the next of the lines of an array of `[endpoint, account]` due at `?2` where nothing is parked.
pub const RELEASE: &str = "
UPDATE deliveries SET state = 'parked', due_at = ?2
WHERE id IN (
    SELECT (
        SELECT w.id FROM deliveries AS w INDEXED BY deliveries_waiting
        WHERE w.endpoint = freed.value ->> 0 AND w.account = freed.value ->> 1
          AND w.state = 'waiting'
        ORDER BY w.id LIMIT 1)
    FROM json_each(?1) AS freed
    WHERE NOT EXISTS (
        SELECT 1 FROM deliveries AS p INDEXED BY deliveries_parked
        WHERE p.endpoint = freed.value ->> 0 AND p.account = freed.value ->> 1
          AND p.state = 'parked'))";

/// The next lines after the endpoint `?1` and account `?2` in which something waits, at most `?3`, by leaps from
/// one to the next, and whether it waits behind nothing.
pub const LOOK_AT_LINES: &str = "
WITH RECURSIVE lines (id, endpoint, account, place) AS (
    SELECT * FROM (
        SELECT id, endpoint, account, 1 FROM deliveries INDEXED BY deliveries_waiting
        WHERE state = 'waiting' AND (endpoint, account) > (?1, ?2)
        ORDER BY endpoint, account, id LIMIT 1)
    UNION ALL
    SELECT d.id, d.endpoint, d.account, lines.place + 1
    FROM lines
    CROSS JOIN deliveries AS d ON d.id = coalesce((
        SELECT n.id FROM deliveries AS n INDEXED BY deliveries_waiting
        WHERE n.state = 'waiting' AND n.endpoint = lines.endpoint AND n.account > lines.account
        ORDER BY n.account, n.id LIMIT 1), (
        SELECT n.id FROM deliveries AS n INDEXED BY deliveries_waiting
        WHERE n.state = 'waiting' AND n.endpoint > lines.endpoint
        ORDER BY n.endpoint, n.account, n.id LIMIT 1))
    WHERE lines.place < ?3
)
SELECT endpoint, account, place AS count, NOT EXISTS (
        SELECT 1 FROM deliveries AS p INDEXED BY deliveries_parked
        WHERE p.endpoint = lines.endpoint AND p.account = lines.account AND p.state = 'parked')
    AS is_stranded
FROM lines ORDER BY place";

/// Attempts of the deliveries that [`REMOVE`] removes.
pub const REMOVE_ATTEMPTS: &str = "
DELETE FROM delivery_attempts
WHERE id IN (
    SELECT a.id
    FROM (
        SELECT endpoint, event_id FROM deliveries
        WHERE endpoint = ?1 AND state = ?2 AND coalesce(state_since, recorded_at) < ?3
        ORDER BY coalesce(state_since, recorded_at), id LIMIT ?4
    ) AS old
    CROSS JOIN delivery_attempts AS a ON a.endpoint = old.endpoint AND a.event_id = old.event_id)";

/// Removes at most `?4` deliveries to the endpoint `?1` in the state `?2` that ended before `?3`.
pub const REMOVE: &str = "
DELETE FROM deliveries
WHERE id IN (
    SELECT id FROM deliveries
    WHERE endpoint = ?1 AND state = ?2 AND coalesce(state_since, recorded_at) < ?3
    ORDER BY coalesce(state_since, recorded_at), id LIMIT ?4)";

/// Reports the process `?1` until `?2`.
pub const REPORT: &str = "
INSERT INTO callback_processes (id, seen_until) VALUES (?1, ?2)
ON CONFLICT (id) DO UPDATE SET seen_until = excluded.seen_until";

/// Forgets the processes besides `?1` that were reported until before `?2`.
pub const FORGET_GONE: &str = "DELETE FROM callback_processes WHERE id <> ?1 AND seen_until < ?2";

/// Counts the processes, and tells whether `?1` is the first of them.
pub const ATTENDANCE: &str = "
SELECT count(*) AS processes, min(id) = ?1 AS is_first FROM callback_processes";

/// States of all endpoints.
pub const ENDPOINTS: &str = "
SELECT name, availability, reason, open_since, probe_at, probes, changed_at, version, known_since
FROM endpoints ORDER BY name";

/// Notes since when endpoints are known, `[name, since]` each, where that is not noted. With deliveries that are
/// older than any note they are known from the beginning.
pub const REGISTER: &str = "
INSERT INTO endpoints (name, availability, reason, probes, changed_at, version, known_since)
SELECT value ->> 0, 'active', '', 0, 0, 0, CASE WHEN store.is_older THEN 0 ELSE value ->> 1 END
FROM json_each(?1), (
    SELECT NOT EXISTS (SELECT 1 FROM endpoints WHERE known_since IS NOT NULL)
       AND (EXISTS (SELECT 1 FROM delivery_frontiers WHERE generation > 0)
            OR EXISTS (SELECT 1 FROM deliveries)) AS is_older) AS store
WHERE true
ON CONFLICT (name) DO UPDATE SET known_since = excluded.known_since
WHERE endpoints.known_since IS NULL";

/// Changes an endpoint's state, if its version is `?8`; writes no row otherwise.
pub const CHANGE_ENDPOINT: &str = "
INSERT INTO endpoints (
    name, availability, reason, open_since, probe_at, probes, changed_at, version)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 + 1)
ON CONFLICT (name) DO UPDATE SET
    availability = excluded.availability, reason = excluded.reason,
    open_since = excluded.open_since, probe_at = excluded.probe_at, probes = excluded.probes,
    changed_at = excluded.changed_at, version = excluded.version
WHERE endpoints.version = ?8";

/// Attempts of the delivery `?1`, `?2` that failed.
pub const FAILED_ATTEMPTS: &str = "
SELECT attempted_at, duration_ms, status, answer
FROM delivery_attempts WHERE endpoint = ?1 AND event_id = ?2
ORDER BY attempted_at, id";

/// What the deliveries to the endpoint `?1` in the state `?2` come to, counted up to `?3`.
pub const TALLY: &str = "
SELECT (
    SELECT count(*) FROM (
        SELECT 1 FROM deliveries WHERE endpoint = ?1 AND state = ?2 LIMIT ?3)) AS count, (
    SELECT coalesce(state_since, recorded_at) FROM deliveries
    WHERE ?2 IN ('parked', 'waiting') AND endpoint = ?1 AND state = ?2
    ORDER BY coalesce(state_since, recorded_at), id LIMIT 1) AS oldest_at, (
    SELECT min(due_at) FROM deliveries
    WHERE ?2 = 'parked' AND endpoint = ?1 AND state = 'parked') AS due_at";

/// A statement about selected deliveries to an endpoint, in one state: with the conditions that are set and no
/// others, so that the indexes fit those that are. `?1` is the endpoint, `?3` to `?6` are the selection's values
/// in its order, set or not.
pub fn selecting(about: &About, selection: &Selection, state: DeliveryState) -> String {
    // Word for word, as an index of one state has it.
    let state = state.as_str();
    let conditions = [
        (selection.number.is_some(), " AND number = ?3"),
        (selection.event.is_some(), " AND event_id = ?4"),
        (selection.from.is_some(), " AND coalesce(state_since, recorded_at) >= ?5"),
        (selection.to.is_some(), " AND coalesce(state_since, recorded_at) < ?6"),
    ];
    let set = conditions.into_iter().filter(|(is_set, _)| *is_set);
    let conditions: String = set.map(|(_, condition)| condition).collect();
    format!("{} WHERE endpoint = ?1 AND state = '{state}'{conditions}{}", about.before, about.after)
}

/// What stands before and after the conditions of a selection.
pub struct About {
    before: &'static str,
    after: &'static str,
}

/// The selected ones, those first that came into their state last, at most `?7`.
pub const LIST: About = About {
    before: "
SELECT id, endpoint, event_id, number, state, recorded_at, coalesce(state_since, recorded_at) AS since,
       reason, due_at, attempts, attempted_at, duration_ms, status, answer
FROM deliveries",
    after: " ORDER BY coalesce(state_since, recorded_at) DESC, id DESC LIMIT ?7",
};

/// How many are selected, counted up to `?7`.
pub const COUNT: About =
    About { before: "SELECT count(*) AS count FROM (SELECT 1 FROM deliveries", after: " LIMIT ?7)" };

/// At most `?7` that were delivered before `?10`, from after the time `?8` and the id `?9`.
pub const DELIVERED: About = About {
    before: "
SELECT id, endpoint, account, coalesce(state_since, recorded_at) AS since FROM deliveries",
    after: " AND coalesce(state_since, recorded_at) >= ?8 AND coalesce(state_since, recorded_at) < ?10
    AND (coalesce(state_since, recorded_at), id) > (?8, ?9)
    ORDER BY coalesce(state_since, recorded_at), id LIMIT ?7",
};

/// At most `?7` that were given up, from after the id `?8`.
pub const EXHAUSTED: About = About {
    before: "
SELECT id, endpoint, account, coalesce(state_since, recorded_at) AS since FROM deliveries",
    after: " AND id > ?8 ORDER BY id LIMIT ?7",
};

/// Makes an array of ids due anew at `?2`.
pub const REDELIVER: &str = "
UPDATE deliveries SET
    state = CASE WHEN is_ordered THEN 'waiting' ELSE 'parked' END,
    state_since = ?2, reason = NULL, due_at = ?2, failures = 0, lease = lease + 1
WHERE id IN (SELECT value FROM json_each(?1))";

/// Makes at most `?7` that are parked until after `?9` due at `?8`.
pub const HASTEN: About = About {
    before: "
UPDATE deliveries SET due_at = ?8, failures = 0, lease = lease + 1
WHERE id IN (SELECT id FROM deliveries",
    after: " AND due_at > ?9 LIMIT ?7)",
};

/// Gives at most `?7` up at `?8` for the reason `?10`, those parked longest first, unless they may be leased:
/// due between `?8` and `?9`.
pub const GIVE_UP: About = About {
    before: "
UPDATE deliveries SET
    state = 'exhausted', state_since = ?8, due_at = NULL, lease = lease + 1, reason = ?10
WHERE id IN (SELECT id FROM deliveries",
    after: " AND (state = 'waiting' OR due_at <= ?8 OR due_at > ?9)
    ORDER BY coalesce(state_since, recorded_at), id LIMIT ?7) RETURNING endpoint, account",
};
