SET LOCAL lock_timeout = '5s';

-- Jobs that decide a part of the log anew. request and progress are JSON, which only the replay reads. A job has a
-- runner until leased_until; nobody else may run it before.
CREATE TABLE replay_jobs (
    name          text COLLATE "C" NOT NULL,
    state         text NOT NULL,
    request       text NOT NULL,
    progress      text NOT NULL,
    policy_digest text NOT NULL,
    operator      text NOT NULL,
    reason        text NOT NULL,
    problem       text,
    created_at    timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    runner        uuid,
    leased_until  timestamptz,
    CONSTRAINT replay_jobs_name PRIMARY KEY (name)
);

-- What a job changed: how a submission had ended, and how it ends since. Never updated.
CREATE TABLE outcome_changes (
    job             text COLLATE "C" NOT NULL,
    generation      integer NOT NULL,
    partition       integer NOT NULL,
    log_offset      bigint NOT NULL,
    verdict_before  text,
    event_id_before uuid,
    verdict         text NOT NULL,
    event_id        uuid NOT NULL,
    changed_at      timestamptz NOT NULL,
    CONSTRAINT outcome_changes_place PRIMARY KEY (job, generation, partition, log_offset)
);
