"""Named values of this instance, in the table `instance`: its id, and what the last run counted under."""

from sqlite_utils import Database


def read_setting(db: Database, name: str) -> str | None:
    """Return the value under `name`, or None when there is none."""
    row = db.execute("SELECT value FROM instance WHERE name = ?", [name]).fetchone()
    return row[0] if row else None


def write_setting(db: Database, name: str, value: str) -> None:
    """Keep `value` under `name` in place of what was there."""
    db.execute("INSERT OR REPLACE INTO instance (name, value) VALUES (?, ?)", [name, value])


def probe_read(db: Database) -> None:
    """Prove that the database can be read."""
    db.execute("SELECT 1 FROM instance LIMIT 1").fetchone()


def probe_write(db: Database) -> None:
    """Prove that a write transaction commits, without growing anything."""
    db.execute(
        "INSERT INTO instance (name, value) VALUES ('ready', '1')"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )
