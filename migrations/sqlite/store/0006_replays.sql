-- Jobs that decide a part of the log anew. request and progress are JSON, which only the replay reads. A job has a
-- runner until leased_until_ms; nobody else may run it before. Times are milliseconds since 1970.
CREATE TABLE replay_jobs (
    id              INTEGER PRIMARY KEY,
    name            TEXT NOT NULL UNIQUE,
    state           TEXT NOT NULL,
    request         TEXT NOT NULL,
    progress        TEXT NOT NULL,
    policy_digest   TEXT NOT NULL,
    operator        TEXT NOT NULL,
    reason          TEXT NOT NULL,
    problem         TEXT,
    created_at      INTEGER NOT NULL,
    changed_at      INTEGER NOT NULL,
    runner          BLOB CHECK (length(runner) = 16),
    leased_until    INTEGER
) STRICT;

-- What a job changed: how a submission had ended, and how it ends since. Never updated.
CREATE TABLE outcome_changes (
    id              INTEGER PRIMARY KEY,
    job             TEXT NOT NULL,
    generation      INTEGER NOT NULL,
    partition       INTEGER NOT NULL,
    log_offset      INTEGER NOT NULL,
    verdict_before  TEXT,
    event_id_before BLOB CHECK (length(event_id_before) = 16),
    verdict         TEXT NOT NULL,
    event_id        BLOB NOT NULL CHECK (length(event_id) = 16),
    changed_at      INTEGER NOT NULL,
    UNIQUE (job, generation, partition, log_offset)
) STRICT;
