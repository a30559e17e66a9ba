SET LOCAL lock_timeout = '5s';

-- known_since is when the endpoint was first configured; NULL while no process has told so.
ALTER TABLE endpoints ADD COLUMN known_since timestamptz;
