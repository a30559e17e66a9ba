-- no-transaction
-- deliveries_by_state does what it did.
DROP INDEX CONCURRENTLY deliveries_ended;
