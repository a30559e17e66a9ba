-- no-transaction
-- What was given up, in the order of the log, in which it is delivered again. It does not grow by success.
CREATE INDEX CONCURRENTLY deliveries_exhausted ON deliveries (endpoint, id) WHERE state = 'exhausted';
