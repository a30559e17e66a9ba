-- Deliveries: one row for each event and endpoint. What is delivered at the first attempt is one insert
-- and is never touched again. A lease is the number of times a parked row was taken over; while it
-- lasts, due_at is its end. Times are milliseconds since the Unix epoch: they are compared.
CREATE TABLE deliveries (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint     TEXT NOT NULL,
    event_id     BLOB NOT NULL CHECK (length(event_id) = 16),
    account      TEXT NOT NULL,
    number       TEXT NOT NULL,
    is_ordered   INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('parked', 'waiting', 'delivered', 'exhausted')),
    recorded_at  INTEGER NOT NULL,
    due_at       INTEGER,
    lease        INTEGER NOT NULL DEFAULT 0,
    failures     INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    attempted_at INTEGER,
    duration_ms  INTEGER,
    status       INTEGER,
    answer       TEXT,
    attributes   TEXT NOT NULL,
    data         TEXT NOT NULL,
    UNIQUE (endpoint, event_id)
) STRICT;

-- What is due, by endpoint.
CREATE INDEX deliveries_due ON deliveries (endpoint, due_at, id) WHERE state = 'parked';

-- What holds the later events of an account back, and which of them is next. Two indexes: SQLite takes
-- a partial one only for a condition that is word for word its own.
CREATE INDEX deliveries_parked ON deliveries (endpoint, account) WHERE state = 'parked';
CREATE INDEX deliveries_waiting ON deliveries (endpoint, account, id) WHERE state = 'waiting';

-- What has ended, by age, for retention.
CREATE INDEX deliveries_ended ON deliveries (recorded_at) WHERE state IN ('delivered', 'exhausted');

-- Attempts that failed; the last attempt of a delivery stands in its row.
CREATE TABLE delivery_attempts (
    id           INTEGER PRIMARY KEY,
    endpoint     TEXT NOT NULL,
    event_id     BLOB NOT NULL,
    attempted_at INTEGER NOT NULL,
    duration_ms  INTEGER NOT NULL,
    status       INTEGER,
    answer       TEXT NOT NULL
) STRICT;

CREATE INDEX delivery_attempts_key ON delivery_attempts (endpoint, event_id);

-- What is known of an endpoint. version guards every change.
CREATE TABLE endpoints (
    name         TEXT PRIMARY KEY,
    availability TEXT NOT NULL CHECK (availability IN ('active', 'paused', 'disabled')),
    reason       TEXT NOT NULL,
    open_since   INTEGER,
    probe_at     INTEGER,
    probes       INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    version      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
