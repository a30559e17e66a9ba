-- no-transaction
-- What an endpoint's deliveries in a state are, by how long they have been in it: for retention, for what is
-- parked too long, and for whatever operators ask. It has the columns of its expression beside it: without them
-- the server goes to the table for every row that it counts.
CREATE INDEX CONCURRENTLY deliveries_by_state_since
    ON deliveries (endpoint, state, coalesce(state_since, recorded_at), id) INCLUDE (state_since, recorded_at);
