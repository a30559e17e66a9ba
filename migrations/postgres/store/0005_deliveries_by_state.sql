-- no-transaction
-- What an endpoint's deliveries in a state are, by how long they have been in it: for retention, for what is
-- parked too long, and for whatever operators ask.
CREATE INDEX CONCURRENTLY deliveries_by_state
    ON deliveries (endpoint, state, coalesce(state_since, recorded_at), id);
