-- state_since is when a delivery was parked anew or ended; NULL stands for recorded_at, so what is delivered
-- at the first attempt, most of all, has none. reason is why it was given up without a further attempt.
ALTER TABLE deliveries ADD COLUMN state_since INTEGER;
ALTER TABLE deliveries ADD COLUMN reason TEXT;

-- What an endpoint's deliveries in a state are, by how long they have been in it: for retention, for what is
-- parked too long, and for whatever operators ask.
CREATE INDEX deliveries_by_state ON deliveries (endpoint, state, coalesce(state_since, recorded_at), id);

-- What was given up, in the order of the log, in which it is delivered again.
CREATE INDEX deliveries_exhausted ON deliveries (endpoint, id) WHERE state = 'exhausted';

-- deliveries_by_state does what it did.
DROP INDEX deliveries_ended;
