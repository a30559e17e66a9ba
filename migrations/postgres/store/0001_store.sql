-- The production store. Keys are COLLATE "C": compared by bytes, as penstock sorts them, so every
-- transaction takes its locks in one order. An absent business unit is '' so that it takes part in
-- keys; no unit has an empty name. There are no identity columns: ON CONFLICT DO NOTHING would burn
-- a sequence value for every row it skips, and nothing here needs a surrogate key.

-- The ledger: every accepted communication, for ever. The number is its only index: at hundreds of
-- millions of rows every further one costs a random page a row.
-- It only grows, so vacuum is told to keep the visibility map and freezing up with small steps.
CREATE TABLE communications (
    number                 text COLLATE "C" NOT NULL,
    log_offset             bigint NOT NULL,
    generation             integer NOT NULL,
    partition              integer NOT NULL,
    event_id               uuid NOT NULL,
    fingerprint            bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    business_unit          text NOT NULL,
    account_ext_id         text NOT NULL,
    business_entity_ext_id text NOT NULL,
    requester              text NOT NULL,
    CONSTRAINT communications_number PRIMARY KEY (number)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

-- The accounts as their last accepted submission left them. Its coordinates are the row's version,
-- which every write compares. No index on anything that changes, and room left in every page, so
-- that an update stays on its page and touches no index.
-- Times are to the microsecond; the log has them as they were sent.
CREATE TABLE accounts (
    business_unit             text COLLATE "C" NOT NULL,
    account_ext_id            text COLLATE "C" NOT NULL,
    log_offset                bigint NOT NULL,
    generation                integer NOT NULL,
    partition                 integer NOT NULL,
    business_entity_ext_id    text NOT NULL,
    communication_number      text NOT NULL,
    requester                 text NOT NULL,
    action                    text NOT NULL,
    account_number            text NOT NULL,
    account_status            text NOT NULL,
    account_type              text,
    account_purpose           text,
    bank_title                text,
    bic                       text,
    currency_code             text NOT NULL,
    is_other_fin_inst_account boolean,
    opening_date              timestamptz NOT NULL,
    closing_date              timestamptz,
    suspension_reasons        text,
    CONSTRAINT accounts_key PRIMARY KEY (business_unit, account_ext_id)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

-- What was not accepted, by its place on the log. verdict is a rejection code, or DEAD_LETTER for what
-- the store could not take; only the former has an event. noted_at orders a number's rejections.
CREATE TABLE rejections (
    generation             integer NOT NULL,
    partition              integer NOT NULL,
    log_offset             bigint NOT NULL,
    noted_at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    number                 text COLLATE "C" NOT NULL,
    verdict                text NOT NULL,
    event_id               uuid,
    business_unit          text NOT NULL,
    account_ext_id         text NOT NULL,
    business_entity_ext_id text NOT NULL,
    requester              text NOT NULL,
    CONSTRAINT rejections_coordinates PRIMARY KEY (generation, partition, log_offset)
);

CREATE INDEX rejections_by_number ON rejections (number, noted_at);

-- The applied frontier of each partition of the submitted topic: the first offset not applied. A few
-- rows, each updated by every batch: room for many versions on a page, and vacuum at once.
CREATE TABLE frontiers (
    generation  integer NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    CONSTRAINT frontiers_partition PRIMARY KEY (generation, partition)
) WITH (
    fillfactor = 10,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000
);
