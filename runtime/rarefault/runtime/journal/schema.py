"""The form of a journal: its tables, and what was added to them since journals of this form are made."""

#: Version of the form; a journal of another one is refused.
SCHEMA = 2

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE device (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, newest_ms INTEGER, forgotten_ms INTEGER
);
CREATE TABLE batch (
    seq INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, kind INTEGER NOT NULL, samples INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE snapshot (
    only INTEGER PRIMARY KEY CHECK (only = 1), seq INTEGER NOT NULL, model TEXT NOT NULL, state BLOB NOT NULL
);
CREATE TABLE outbox (
    key INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, retain INTEGER NOT NULL,
    sink TEXT NOT NULL DEFAULT 'broker'
);
CREATE TABLE alarm (
    key INTEGER PRIMARY KEY, said_ms INTEGER NOT NULL, id TEXT NOT NULL, device TEXT NOT NULL, state TEXT NOT NULL,
    since_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, model TEXT NOT NULL
);
CREATE TABLE feedback (
    key INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, device TEXT NOT NULL, alarm TEXT NOT NULL,
    answer TEXT NOT NULL, fault TEXT NOT NULL, start_ms INTEGER, end_ms INTEGER, note TEXT NOT NULL
);
CREATE TABLE rejected (
    key INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL,
    detail TEXT NOT NULL, payload BLOB NOT NULL
);
"""
#: Older journals of the same form get these when a daemon opens them ...
ADDED = """
CREATE TABLE IF NOT EXISTS origin (device INTEGER PRIMARY KEY, topic TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS alarm_id ON alarm (id);
CREATE TABLE IF NOT EXISTS edge_node (
    group_id TEXT NOT NULL, edge TEXT NOT NULL, state BLOB NOT NULL, PRIMARY KEY (group_id, edge)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS birth (
    group_id TEXT NOT NULL, edge TEXT NOT NULL, device TEXT NOT NULL, state BLOB NOT NULL,
    born INTEGER NOT NULL DEFAULT 0, expected_ms INTEGER, PRIMARY KEY (group_id, edge, device)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshot_part (part INTEGER PRIMARY KEY, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS verdict (
    key INTEGER PRIMARY KEY, made_ms INTEGER NOT NULL, model TEXT NOT NULL, verdicts INTEGER NOT NULL,
    data BLOB NOT NULL
);
"""
#: ... and these columns of a table, by its name, where they are not there.
ADDED_COLUMNS = {
    "outbox": {"sink": "TEXT NOT NULL DEFAULT 'broker'"},
    "alarm": {"detail": "TEXT NOT NULL DEFAULT ''"},
}
#: Columns of an alarm, in the order of :class:`~rarefault.runtime.journal.records.AlarmRecord`.
ALARM_COLUMNS = "said_ms, id, device, state, since_ms, end_ms, model, detail"


def statements(script: str) -> list[str]:
    """The statements of a script, which are run within one transaction."""
    return [statement for statement in script.split(";\n") if statement.strip()]
