"""The SQL of votes on served rules: one row an identity and rule, the latest vote."""

from sqlite_utils import Database

from app.consensus.votes import Voter


def keep_vote(
    db: Database, key: str, subject: str, address: str | None, is_true_positive: bool, at: str
) -> None:
    """Keep an identity's vote on the rule `key` in place of its earlier one."""
    db.conn.execute(
        "INSERT INTO feedback (rule_id, subject, is_true_positive, address, at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET is_true_positive = excluded.is_true_positive, address = excluded.address,"
        " settled = 0, at = excluded.at",
        [key, subject, is_true_positive, address, at],
    )


def false_positive_voters(db: Database, key: str) -> list[Voter]:
    """Return who stands by a false-positive report on the rule `key` that nobody has dismissed, oldest first.

    What is known of a voter is what the key says that was issued first, of those that are not revoked.
    """
    rows = db.conn.execute(
        "SELECT f.subject, k.enrolled, k.address, f.address, k.site, k.id IS NOT NULL AND k.revoked_at IS NULL"
        " FROM feedback f LEFT JOIN key k ON k.id = (SELECT id FROM key WHERE subject = f.subject"
        " ORDER BY revoked_at IS NOT NULL, issued_at, id LIMIT 1)"
        " WHERE f.rule_id = ? AND f.is_true_positive = 0 AND f.settled = 0 ORDER BY f.at, f.rowid",
        [key],
    )
    return [
        Voter(subject, enrolled or "self", registered_from, voted_from, site, bool(live))
        for subject, enrolled, registered_from, voted_from, site, live in rows
    ]


def dismiss_votes(db: Database, key: str) -> int:
    """Let the false-positive votes so far count no more; later ones count again. Return how many."""
    return db.conn.execute(
        "UPDATE feedback SET settled = 1 WHERE rule_id = ? AND is_true_positive = 0 AND settled = 0", [key]
    ).rowcount


def open_votes(db: Database) -> list[tuple[str, str, int, int]]:
    """Return `(key, rule id, true positives, false positives)` of each rule with an open false-positive vote."""
    return db.conn.execute(
        "SELECT f.rule_id, coalesce(r.rule_id, f.rule_id), sum(f.is_true_positive), sum(1 - f.is_true_positive)"
        " FROM feedback f LEFT JOIN rule r ON f.rule_id = 'community/' || r.pattern_hash"
        " WHERE f.settled = 0 GROUP BY f.rule_id HAVING sum(1 - f.is_true_positive) > 0"
    ).fetchall()
