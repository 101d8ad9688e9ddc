"""The name under which this instance signs: made once, kept in the database, shared with no other."""

from __future__ import annotations

from uuid import uuid4

from sqlite_utils import Database


def issuer_of(db: Database) -> str:
    """`urn:threatcloud:<instance id>`; the id is made on first use, so `db` must be the writer's."""
    db.conn.execute("INSERT OR IGNORE INTO instance (name, value) VALUES ('id', ?)", [str(uuid4())])
    row = db.conn.execute("SELECT value FROM instance WHERE name = 'id'").fetchone()
    return f"urn:threatcloud:{row[0]}"
