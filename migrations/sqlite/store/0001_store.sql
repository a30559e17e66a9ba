-- The embedded store. Rowid tables with UNIQUE keys: client-given keys are random, and a table
-- clustered by them is several times slower to fill. An absent business unit is '' so that it takes
-- part in unique keys; no unit has an empty name. Times are RFC 3339 in UTC.

-- The ledger: every accepted communication, for ever. The number is its only index.
CREATE TABLE communications (
    id                     INTEGER PRIMARY KEY,
    number                 TEXT NOT NULL UNIQUE,
    fingerprint            BLOB NOT NULL CHECK (length(fingerprint) = 32),
    event_id               BLOB NOT NULL CHECK (length(event_id) = 16),
    generation             INTEGER NOT NULL,
    partition              INTEGER NOT NULL,
    log_offset             INTEGER NOT NULL,
    business_unit          TEXT NOT NULL,
    account_ext_id         TEXT NOT NULL,
    business_entity_ext_id TEXT NOT NULL,
    requester              TEXT NOT NULL
) STRICT;

-- The accounts as their last accepted submission left them. Its coordinates are the row's version,
-- which every write compares.
CREATE TABLE accounts (
    id                        INTEGER PRIMARY KEY,
    business_unit             TEXT NOT NULL,
    account_ext_id            TEXT NOT NULL,
    business_entity_ext_id    TEXT NOT NULL,
    generation                INTEGER NOT NULL,
    partition                 INTEGER NOT NULL,
    log_offset                INTEGER NOT NULL,
    communication_number      TEXT NOT NULL,
    requester                 TEXT NOT NULL,
    action                    TEXT NOT NULL,
    account_number            TEXT NOT NULL,
    account_status            TEXT NOT NULL,
    account_type              TEXT,
    account_purpose           TEXT,
    bank_title                TEXT,
    bic                       TEXT,
    currency_code             TEXT NOT NULL,
    is_other_fin_inst_account INTEGER,
    opening_date              TEXT NOT NULL,
    closing_date              TEXT,
    suspension_reasons        TEXT,
    UNIQUE (business_unit, account_ext_id)
) STRICT;

-- What was not accepted, by its place on the log. verdict is a rejection code, or DEAD_LETTER for what
-- the store could not take; only the former has an event. id grows with time: newest first is by id.
CREATE TABLE rejections (
    id                     INTEGER PRIMARY KEY,
    generation             INTEGER NOT NULL,
    partition              INTEGER NOT NULL,
    log_offset             INTEGER NOT NULL,
    number                 TEXT NOT NULL,
    verdict                TEXT NOT NULL,
    event_id               BLOB CHECK (length(event_id) = 16),
    business_unit          TEXT NOT NULL,
    account_ext_id         TEXT NOT NULL,
    business_entity_ext_id TEXT NOT NULL,
    requester              TEXT NOT NULL,
    UNIQUE (generation, partition, log_offset)
) STRICT;

CREATE INDEX rejections_by_number ON rejections (number);

-- The applied frontier of each partition of the submitted topic: the first offset not applied.
CREATE TABLE frontiers (
    generation  INTEGER NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (generation, partition)
) STRICT, WITHOUT ROWID;

-- One row that is written to learn whether writing works.
CREATE TABLE probes (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL
) STRICT;
