-- The recorded frontier of each partition of the results topic: every delivery of every event before
-- next_offset is in deliveries. stamp names the recording that moved it last, previous the one before that:
-- a row moves only from the stamp its writer left there. A few rows, each updated by every recording: room
-- for many versions on a page, and vacuum at once.
CREATE TABLE delivery_frontiers (
    generation  integer NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    stamp       uuid NOT NULL,
    previous    uuid,
    CONSTRAINT delivery_frontiers_partition PRIMARY KEY (generation, partition)
) WITH (
    fillfactor = 10,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000
);

-- Generation 0, which no topic has, says that deliveries were recorded here before there were frontiers.
INSERT INTO delivery_frontiers (generation, partition, next_offset, stamp)
SELECT 0, 0, 0, gen_random_uuid() WHERE EXISTS (SELECT FROM frontiers);

-- Processes that deliver, each until it has not been heard of for too long. A few rows; the one with the
-- smallest id, which is the one that began first, does what one of them is to do.
CREATE TABLE callback_processes (
    id         uuid NOT NULL,
    seen_until timestamptz NOT NULL,
    CONSTRAINT callback_processes_id PRIMARY KEY (id)
) WITH (fillfactor = 10);
