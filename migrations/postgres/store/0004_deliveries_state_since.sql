SET LOCAL lock_timeout = '5s';

-- state_since is when a delivery was parked anew or ended; NULL stands for recorded_at, so what is delivered
-- at the first attempt, most of all, has none. reason is why it was given up without a further attempt.
ALTER TABLE deliveries ADD COLUMN state_since timestamptz, ADD COLUMN reason text;
