-- The embedded queue: every topic in one log, and how far each consumer group has come.

-- What is fixed when the file is created, such as the partition count.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- position packs topic, partition and offset into one integer, in this order of significance. So a
-- partition is one range of row ids, reads need no second index, and an append touches one B-tree.
-- headers is the queue's own length-prefixed form: their values may be any bytes.
CREATE TABLE records (
    position       INTEGER PRIMARY KEY,
    appended_at_ms INTEGER NOT NULL,
    key            BLOB NOT NULL,
    value          BLOB NOT NULL,
    headers        BLOB NOT NULL
) STRICT;

-- next_offset is the first offset the group has not finished.
CREATE TABLE committed_offsets (
    group_name  TEXT NOT NULL,
    topic       INTEGER NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (group_name, topic, partition)
) STRICT, WITHOUT ROWID;

-- One row that is written to learn whether writing works.
CREATE TABLE probes (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL
) STRICT;
