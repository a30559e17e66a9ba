SET LOCAL lock_timeout = '5s';

-- What operators decided of dead letters: where a letter stands on its topic, and what becomes of it. A letter that
-- is to be put back is one process's until leased_until; nobody else may put it back before.
CREATE TABLE dead_letter_cases (
    generation   integer NOT NULL,
    partition    integer NOT NULL,
    log_offset   bigint NOT NULL,
    state        text NOT NULL,
    operator     text NOT NULL,
    reason       text NOT NULL,
    problem      text,
    decided_at   timestamptz NOT NULL,
    changed_at   timestamptz NOT NULL,
    runner       uuid,
    leased_until timestamptz,
    CONSTRAINT dead_letter_cases_letter PRIMARY KEY (generation, partition, log_offset)
);

-- What is to be put back, in the order in which it was asked for.
CREATE INDEX dead_letter_cases_requested
    ON dead_letter_cases (decided_at, generation, partition, log_offset) WHERE state = 'requested';

-- What is somebody's.
CREATE INDEX dead_letter_cases_held
    ON dead_letter_cases (leased_until) WHERE state = 'requested' AND leased_until IS NOT NULL;
