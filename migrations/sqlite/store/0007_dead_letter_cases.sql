-- What operators decided of dead letters: where a letter stands on its topic, and what becomes of it. A letter that
-- is to be put back is one process's until leased_until; nobody else may put it back before. Times are milliseconds
-- since 1970.
CREATE TABLE dead_letter_cases (
    id           INTEGER PRIMARY KEY,
    generation   INTEGER NOT NULL,
    partition    INTEGER NOT NULL,
    log_offset   INTEGER NOT NULL,
    state        TEXT NOT NULL,
    operator     TEXT NOT NULL,
    reason       TEXT NOT NULL,
    problem      TEXT,
    decided_at   INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    runner       BLOB CHECK (length(runner) = 16),
    leased_until INTEGER,
    UNIQUE (generation, partition, log_offset)
) STRICT;

-- What is to be put back, in the order in which it was asked for.
CREATE INDEX dead_letter_cases_requested
    ON dead_letter_cases (decided_at, generation, partition, log_offset) WHERE state = 'requested';

-- What is somebody's.
CREATE INDEX dead_letter_cases_held
    ON dead_letter_cases (leased_until) WHERE state = 'requested' AND leased_until IS NOT NULL;
