-- no-transaction
-- deliveries_by_state_since does what it did. Where dropping it was cut off, it is gone already.
DROP INDEX CONCURRENTLY IF EXISTS deliveries_by_state;
