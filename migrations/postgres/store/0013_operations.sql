SET LOCAL lock_timeout = '5s';

-- What operators do, and who agreed to it: rows are entered, and never changed or removed, by nobody. subject is JSON,
-- which only the commands read. operator and host are what the command says of itself; the last three columns are
-- what the server knows, whatever is inserted.
CREATE TABLE operations (
    id             uuid NOT NULL,
    command        text NOT NULL,
    subject        text NOT NULL,
    operator       text NOT NULL,
    host           text NOT NULL,
    reason         text,
    asked_at       timestamptz NOT NULL,
    database_user  text NOT NULL DEFAULT session_user,
    client_address inet DEFAULT inet_client_addr(),
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT operations_id PRIMARY KEY (id)
);

-- The newest are looked for.
CREATE INDEX operations_asked_at ON operations (asked_at, id);

-- What happened to an operation: a decision on it, its start, its end. One of each, so an approval is used once.
CREATE TABLE operation_steps (
    operation      uuid NOT NULL,
    stage          text NOT NULL,
    step           text NOT NULL,
    operator       text NOT NULL,
    host           text NOT NULL,
    note           text,
    taken_at       timestamptz NOT NULL,
    database_user  text NOT NULL DEFAULT session_user,
    client_address inet DEFAULT inet_client_addr(),
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT operation_steps_stage PRIMARY KEY (operation, stage)
);

-- Who inserts could name other values than the defaults.
CREATE FUNCTION operations_witnessed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NEW.database_user := session_user;
    NEW.client_address := inet_client_addr();
    NEW.recorded_at := clock_timestamp();
    RETURN NEW;
END
$$;

CREATE FUNCTION operations_append_only() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'the table % is append-only: nothing of it is changed or removed', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER operations_witnessed BEFORE INSERT ON operations
    FOR EACH ROW EXECUTE FUNCTION operations_witnessed();
CREATE TRIGGER operation_steps_witnessed BEFORE INSERT ON operation_steps
    FOR EACH ROW EXECUTE FUNCTION operations_witnessed();

CREATE TRIGGER operations_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operations
    FOR EACH STATEMENT EXECUTE FUNCTION operations_append_only();
CREATE TRIGGER operation_steps_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operation_steps
    FOR EACH STATEMENT EXECUTE FUNCTION operations_append_only();

-- Also while session_replication_role is set to something else.
ALTER TABLE operations ENABLE ALWAYS TRIGGER operations_append_only;
ALTER TABLE operation_steps ENABLE ALWAYS TRIGGER operation_steps_append_only;
