"""The SQL of skill versions: the contents that each identity has seen a skill with."""

from sqlite_utils import Database

from app.intel.skills.analysis import SHARED
from app.privacy.personal_data import Expiry, PersonalData, Rows

KEPT = 20
"""Contents of one skill remembered for one identity; what is older goes."""


def record_version(db: Database, subject: str, package: str, digest: str, at: str) -> bool:
    """Record the contents; return True when this identity last saw the skill with other ones.

    Histories are kept apart: a host with an older version is no rug pull, and nobody can fake one for others.
    """
    row = db.conn.execute(
        "SELECT digest FROM skill_version WHERE subject = ? AND package = ? ORDER BY last_seen DESC, first_seen DESC"
        " LIMIT 1",
        [subject, package],
    ).fetchone()
    db.conn.execute(
        "INSERT INTO skill_version (subject, package, digest, first_seen, last_seen) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET last_seen = excluded.last_seen",
        [subject, package, digest, at, at],
    )
    if row is None or row[0] == digest:
        return False
    db.conn.execute(
        "DELETE FROM skill_version WHERE subject = ? AND package = ? AND digest NOT IN (SELECT digest FROM"
        " skill_version WHERE subject = ? AND package = ? ORDER BY last_seen DESC LIMIT ?)",
        [subject, package, subject, package, KEPT],
    )
    return True


def export_versions(db: Database, subject: str) -> Rows:
    """Return every skill that one identity had analysed."""
    columns = ("package", "digest", "first_seen", "last_seen")
    rows = db.conn.execute(
        "SELECT package, digest, first_seen, last_seen FROM skill_version WHERE subject = ? ORDER BY 1, 3",
        [subject],
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def erase_versions(db: Database, subject: str) -> int:
    """Delete them (the shared history belongs to nobody). Return how many rows."""
    if subject == SHARED:
        return 0
    return db.conn.execute("DELETE FROM skill_version WHERE subject = ?", [subject]).rowcount


def purge_versions(db: Database, before: str) -> int:
    """Delete what was last seen before an instant. Return how many rows."""
    return db.conn.execute("DELETE FROM skill_version WHERE last_seen < ?", [before]).rowcount


PERSONAL_DATA = PersonalData(
    export=lambda db, subject: {"skillVersions": export_versions(db, subject)},
    erase=lambda db, subject, _at: {"skillVersions": erase_versions(db, subject)},
    expiries=(
        Expiry(
            "skillVersions",
            lambda policy: policy.skills_days,
            lambda db, before, _at: purge_versions(db, before),
        ),
    ),
)
