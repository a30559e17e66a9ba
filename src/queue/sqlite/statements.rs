//! Every statement of the embedded queue.

/// Appends records. `?1` is a JSON array of `[position, time, start, key, value, headers]`: where in
/// the blob `?2` a record starts (from 1), and how long its three parts are, which follow each other.
/// `MATERIALIZED` keeps `SQLite` from rendering a row's JSON again for each of its columns.
pub const APPEND: &str = "
WITH rows (value) AS MATERIALIZED (SELECT value FROM jsonb_each(?1))
INSERT INTO records (position, appended_at_ms, key, value, headers)
SELECT value ->> 0, value ->> 1,
       substr(?2, value ->> 2, value ->> 3),
       substr(?2, (value ->> 2) + (value ->> 3), value ->> 4),
       substr(?2, (value ->> 2) + (value ->> 3) + (value ->> 4), value ->> 5)
FROM rows";

/// Records of an array of `[first position, last position]`, range by range.
pub const READ: &str = "
SELECT r.position, r.appended_at_ms, r.key, r.value, r.headers
FROM json_each(?1) AS range
CROSS JOIN records AS r ON r.position BETWEEN range.value ->> 0 AND range.value ->> 1";

/// The first record of each range of an array of `[first position, last position]`.
pub const FIRST_OF: &str = "
SELECT r.position, r.appended_at_ms
FROM json_each(?1) AS range
CROSS JOIN records AS r ON r.position =
    (SELECT min(position) FROM records WHERE position BETWEEN range.value ->> 0 AND range.value ->> 1)";

/// The last record of each range of an array of `[first position, last position]`.
pub const LAST_OF: &str = "
SELECT r.position, r.appended_at_ms
FROM json_each(?1) AS range
CROSS JOIN records AS r ON r.position =
    (SELECT max(position) FROM records WHERE position BETWEEN range.value ->> 0 AND range.value ->> 1)";

/// What a group has committed of a topic.
pub const COMMITTED: &str = "
SELECT partition, next_offset FROM committed_offsets WHERE group_name = ?1 AND topic = ?2";

/// Commits an array of `[partition, next offset]` for a group and a topic.
pub const COMMIT_OFFSETS: &str = "
INSERT INTO committed_offsets (group_name, topic, partition, next_offset)
SELECT ?1, ?2, value ->> 0, value ->> 1 FROM json_each(?3) WHERE true
ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset";

/// A value that was fixed when the file was created.
pub const META: &str = "SELECT value FROM meta WHERE name = ?1";

/// Fixes a value.
pub const PIN_META: &str = "INSERT INTO meta (name, value) VALUES (?1, ?2)";

/// A write that changes nothing of meaning, to learn whether writing works.
pub const PROBE: &str = "
INSERT INTO probes (id, count) VALUES (1, 1) ON CONFLICT DO UPDATE SET count = count + 1";
