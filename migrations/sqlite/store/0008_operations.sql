-- What operators do, and who agreed to it: rows are entered, and never changed or removed. subject is JSON, which only
-- the commands read. operator and host are what the command says of itself. Times are milliseconds since 1970.
CREATE TABLE operations (
    id       BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    command  TEXT NOT NULL,
    subject  TEXT NOT NULL,
    operator TEXT NOT NULL,
    host     TEXT NOT NULL,
    reason   TEXT,
    asked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest are looked for.
CREATE INDEX operations_asked_at ON operations (asked_at, id);

-- What happened to an operation: a decision on it, its start, its end. One of each, so an approval is used once.
CREATE TABLE operation_steps (
    operation BLOB NOT NULL CHECK (length(operation) = 16),
    stage     TEXT NOT NULL,
    step      TEXT NOT NULL,
    operator  TEXT NOT NULL,
    host      TEXT NOT NULL,
    note      TEXT,
    taken_at  INTEGER NOT NULL,
    PRIMARY KEY (operation, stage)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER operations_no_update BEFORE UPDATE ON operations
BEGIN SELECT RAISE(ABORT, 'the table operations is append-only: nothing of it is changed or removed'); END;
CREATE TRIGGER operations_no_delete BEFORE DELETE ON operations
BEGIN SELECT RAISE(ABORT, 'the table operations is append-only: nothing of it is changed or removed'); END;
-- INSERT OR REPLACE removes a row without firing the trigger of a removal.
CREATE TRIGGER operations_no_replace BEFORE INSERT ON operations
WHEN EXISTS (SELECT 1 FROM operations WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the table operations is append-only: nothing of it is changed or removed'); END;

CREATE TRIGGER operation_steps_no_update BEFORE UPDATE ON operation_steps
BEGIN SELECT RAISE(ABORT, 'the table operation_steps is append-only: nothing of it is changed or removed'); END;
CREATE TRIGGER operation_steps_no_delete BEFORE DELETE ON operation_steps
BEGIN SELECT RAISE(ABORT, 'the table operation_steps is append-only: nothing of it is changed or removed'); END;
CREATE TRIGGER operation_steps_no_replace BEFORE INSERT ON operation_steps
WHEN EXISTS (SELECT 1 FROM operation_steps WHERE operation = NEW.operation AND stage = NEW.stage)
BEGIN SELECT RAISE(ABORT, 'the table operation_steps is append-only: nothing of it is changed or removed'); END;
