//! Every statement about the operators' record.

/// Enters an operation: id, command, subject, operator, host, reason, when.
pub const ENTER: &str = "
INSERT INTO operations (id, command, subject, operator, host, reason, asked_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// Enters a step of an operation: id, stage, step, operator, host, note, when.
pub const TAKE_STEP: &str = "
INSERT INTO operation_steps (operation, stage, step, operator, host, note, taken_at)
SELECT o.id, ?2, ?3, ?4, ?5, ?6, ?7 FROM operations AS o
WHERE o.id = ?1 AND NOT EXISTS (SELECT 1 FROM operation_steps AS s WHERE s.operation = o.id AND s.stage = ?2)";

/// Operations with their steps, one row a step. There is no server that knows more of them.
macro_rules! with_steps {
    ($operations:literal) => {
        concat!(
            "
SELECT o.id, o.command, o.subject, o.operator, o.host, o.reason, o.asked_at,
       NULL AS database_user, NULL AS client_address, NULL AS recorded_at,
       s.step, s.operator AS step_operator, s.host AS step_host, s.note, s.taken_at,
       NULL AS step_database_user, NULL AS step_client_address, NULL AS step_recorded_at
FROM (",
            $operations,
            ") AS o
LEFT JOIN operation_steps AS s ON s.operation = o.id
ORDER BY o.asked_at DESC, o.id DESC"
        )
    };
}

/// An operation.
pub const OPERATION: &str = with_steps!("SELECT * FROM operations WHERE id = ?1");

/// The newest operations: of the command `?1`, that the operator `?2` asked for or took a step of, asked for from
/// `?3` on and before `?4`, at most `?5`.
pub const OPERATIONS: &str = with_steps!(
    "
    SELECT * FROM operations AS asked
    WHERE asked_at >= ?3 AND asked_at < ?4 AND (?1 IS NULL OR command = ?1)
      AND (?2 IS NULL OR ?2 IN (asked.operator, substr(asked.operator, 1, length(asked.operator) - length('@' || asked.host)))
           OR EXISTS (
               SELECT 1 FROM operation_steps AS own
               WHERE own.operation = asked.id
                 AND ?2 IN (own.operator, substr(own.operator, 1, length(own.operator) - length('@' || own.host)))))
    ORDER BY asked_at DESC, id DESC LIMIT ?5"
);
