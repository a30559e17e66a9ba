-- Deliveries: one row for each event and endpoint. What is delivered at the first attempt is one insert
-- and is never touched again; only what is parked is updated, so vacuum is told to come early.
-- A lease is the number of times a parked row was taken over; while it lasts, due_at is its end.
CREATE TABLE deliveries (
    id           bigint GENERATED ALWAYS AS IDENTITY,
    endpoint     text COLLATE "C" NOT NULL,
    event_id     uuid NOT NULL,
    account      text COLLATE "C" NOT NULL,
    number       text COLLATE "C" NOT NULL,
    is_ordered   boolean NOT NULL,
    state        text NOT NULL CHECK (state IN ('parked', 'waiting', 'delivered', 'exhausted')),
    recorded_at  timestamptz NOT NULL,
    due_at       timestamptz,
    lease        integer NOT NULL DEFAULT 0,
    failures     integer NOT NULL,
    attempts     integer NOT NULL,
    attempted_at timestamptz,
    duration_ms  bigint,
    status       integer,
    answer       text,
    attributes   text NOT NULL,
    data         text NOT NULL,
    CONSTRAINT deliveries_key PRIMARY KEY (endpoint, event_id)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

-- What is due, by endpoint. Its condition names due_at so that only the search for what is due can use it:
-- a planner whose statistics are from before a backlog takes it for empty, and would look lines up in it by
-- reading all that is parked.
CREATE INDEX deliveries_due ON deliveries (endpoint, due_at, id)
    WHERE state = 'parked' AND due_at IS NOT NULL;

-- What holds the later events of an account back, and which of them is next.
CREATE INDEX deliveries_unsettled ON deliveries (endpoint, account, state, id)
    WHERE state IN ('parked', 'waiting');

-- What has ended, by age, for retention.
CREATE INDEX deliveries_ended ON deliveries (recorded_at) WHERE state IN ('delivered', 'exhausted');

-- Attempts that failed; the last attempt of a delivery stands in its row.
CREATE TABLE delivery_attempts (
    endpoint     text COLLATE "C" NOT NULL,
    event_id     uuid NOT NULL,
    attempted_at timestamptz NOT NULL,
    duration_ms  bigint NOT NULL,
    status       integer,
    answer       text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX delivery_attempts_key ON delivery_attempts (endpoint, event_id);

-- What all replicas know of an endpoint. A few rows; version guards every change.
CREATE TABLE endpoints (
    name         text COLLATE "C" NOT NULL,
    availability text NOT NULL CHECK (availability IN ('active', 'paused', 'disabled')),
    reason       text NOT NULL,
    open_since   timestamptz,
    probe_at     timestamptz,
    probes       integer NOT NULL,
    changed_at   timestamptz NOT NULL,
    version      bigint NOT NULL,
    CONSTRAINT endpoints_name PRIMARY KEY (name)
) WITH (fillfactor = 10);
