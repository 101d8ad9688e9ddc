"""The SQL that export, erasure and retention have in common. Table names are this program's own, never a client's."""

from sqlite_utils import Database

from app.privacy.personal_data import Rows

PURGE_BATCH = 2000
"""Rows deleted in one transaction: reports are answered between two of them."""


def rows_of_subject(db: Database, table: str, subject: str) -> Rows:
    """Return every row of a table with a `subject` column that belongs to one client, as it is stored."""
    return list(db.table(table).rows_where("subject = ?", [subject]))


def delete_rows_of_subject(db: Database, table: str, subject: str) -> int:
    """Delete these rows; return how many."""
    return db.execute(f"DELETE FROM {table} WHERE subject = ?", [subject]).rowcount


def delete_older_rows(db: Database, table: str, column: str, before: str) -> int:
    """Delete one batch of the rows whose `column`, an instant as text, is before another; return how many."""
    return db.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {column} < ? LIMIT {PURGE_BATCH})",
        [before],
    ).rowcount


def count_kept(db: Database, subject: str) -> dict[str, int]:
    """Return how many keys and audit entries of a client there are: these are never erased."""
    (keys,) = db.execute("SELECT count(*) FROM key WHERE subject = ?", [subject]).fetchone()
    (entries,) = db.execute(
        "SELECT count(*) FROM audit WHERE actor = ? OR substr(actor, 1, length(?) + 2) = ? || ' ('",
        [subject] * 3,
    ).fetchone()
    return {"keys": keys, "auditEntries": entries}
