-- The recorded frontier of each partition of the results topic: every delivery of every event before
-- next_offset is in deliveries. stamp names the recording that moved it last, previous the one before that:
-- a row moves only from the stamp its writer left there.
CREATE TABLE delivery_frontiers (
    generation  INTEGER NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    stamp       BLOB NOT NULL CHECK (length(stamp) = 16),
    previous    BLOB CHECK (length(previous) = 16),
    PRIMARY KEY (generation, partition)
) STRICT, WITHOUT ROWID;

-- Generation 0, which no topic has, says that deliveries were recorded here before there were frontiers.
INSERT INTO delivery_frontiers (generation, partition, next_offset, stamp)
SELECT 0, 0, 0, randomblob(16) WHERE EXISTS (SELECT 1 FROM frontiers);

-- Processes that deliver, each until it has not been heard of for too long. The one with the smallest id, which
-- is the one that began first, does what one of them is to do.
CREATE TABLE callback_processes (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    seen_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
