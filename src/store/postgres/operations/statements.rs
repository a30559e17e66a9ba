//! Every statement about the operators' record.

/// Enters an operation: id, command, subject, operator, host, reason, when; and its first step, unless the stage is
/// NULL: stage, step, operator, host, note, when.
pub const ENTER: &str = "
WITH entered AS (
    INSERT INTO operations (id, command, subject, operator, host, reason, asked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    RETURNING id
)
INSERT INTO operation_steps (operation, stage, step, operator, host, note, taken_at)
SELECT entered.id, $8::text, $9::text, $10::text, $11::text, $12::text, $13::timestamptz
FROM entered WHERE $8::text IS NOT NULL";

/// Enters a step of an operation: id, stage, step, operator, host, note, when.
pub const TAKE_STEP: &str = "
INSERT INTO operation_steps (operation, stage, step, operator, host, note, taken_at)
SELECT o.id, $2::text, $3::text, $4::text, $5::text, $6::text, $7::timestamptz
FROM operations AS o WHERE o.id = $1
ON CONFLICT (operation, stage) DO NOTHING";

/// Operations with their steps, one row a step.
macro_rules! with_steps {
    ($operations:literal) => {
        concat!(
            "
SELECT o.id, o.command, o.subject, o.operator, o.host, o.reason, o.asked_at, o.database_user,
       host(o.client_address) AS client_address, o.recorded_at, s.step, s.operator AS step_operator,
       s.host AS step_host, s.note, s.taken_at, s.database_user AS step_database_user,
       host(s.client_address) AS step_client_address, s.recorded_at AS step_recorded_at
FROM (",
            $operations,
            ") AS o
LEFT JOIN operation_steps AS s ON s.operation = o.id
ORDER BY o.asked_at DESC, o.id DESC"
        )
    };
}

/// An operation.
pub const OPERATION: &str = with_steps!("SELECT * FROM operations WHERE id = $1");

/// The newest operations: of the command `$1`, that the operator `$2` asked for or took a step of, asked for from
/// `$3` on and before `$4`, at most `$5`.
pub const OPERATIONS: &str = with_steps!(
    "
    SELECT * FROM operations AS asked
    WHERE asked_at >= coalesce($3::timestamptz, '-infinity') AND asked_at < coalesce($4::timestamptz, 'infinity')
      AND ($1::text IS NULL OR command = $1)
      AND ($2::text IS NULL OR $2 IN (asked.operator, left(asked.operator, -length('@' || asked.host)))
           OR EXISTS (
               SELECT FROM operation_steps AS own
               WHERE own.operation = asked.id
                 AND $2 IN (own.operator, left(own.operator, -length('@' || own.host)))))
    ORDER BY asked_at DESC, id DESC LIMIT $5"
);
