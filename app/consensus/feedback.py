"""What agents say of rules that they were served: one vote per identity and rule, the latest one."""

from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Principal
from app.consensus.errors import UnknownRule
from app.consensus.independence import Voter, weigh
from app.consensus.machine import Event
from app.consensus.policy import ConsensusPolicy
from app.consensus.states import SERVED
from app.consensus.store import load_case, move, retire
from app.http.timestamps import to_text
from app.rules.store import StoredRule, rule_of_pattern, rules_with_id

AUTOMATIC = "consensus"
"""How the audit log names what follows from votes alone."""


@dataclass(frozen=True, slots=True)
class Reception:
    """What a vote led to.

    `quarantined`: the rule is out of service because of such reports; `now` when this one did it. `flagged`: as
    many independent reports speak against an upstream or local rule, which only people take out of service.
    """

    quarantined: bool
    now: bool
    flagged: bool


class Tally(msgspec.Struct, frozen=True, rename="camel"):
    """The unsettled votes on one rule; `counted` are the independent ones among the false positives."""

    rule_id: str
    true_positives: int
    false_positives: int
    counted: int


def give(
    db: Database,
    asked: str,
    voter: Principal,
    is_true_positive: bool,
    now: datetime,
    policy: ConsensusPolicy,
) -> Reception:
    """Record a vote on the rule that `asked` names, by its id or its pattern hash, and act on what it adds up to.

    Raises `UnknownRule`.
    """
    rule = _rule_named(db, asked)
    key, at = _key_of(rule), to_text(now)
    before = counted_false_positives(db, key, policy)
    db.conn.execute(
        "INSERT INTO feedback (rule_id, subject, is_true_positive, address, at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET is_true_positive = excluded.is_true_positive, address = excluded.address,"
        " settled = 0, at = excluded.at",
        [key, voter.subject, is_true_positive, voter.address, at],
    )
    counted = counted_false_positives(db, key, policy)
    enough = counted >= policy.quarantine_votes
    if rule.pattern_hash is not None:
        at_once = enough and quarantine(db, rule.pattern_hash, counted, now, policy)
        return Reception(at_once or rule.state == "quarantined", at_once, False)
    if enough and before < policy.quarantine_votes:
        audit_store.append(
            db,
            at=now,
            actor=AUTOMATIC,
            action="rule.flagged",
            target=rule.rule_id,
            detail={"falsePositives": counted},
        )
    return Reception(False, False, enough)


def quarantine(db: Database, pattern_hash: str, counted: int, now: datetime, policy: ConsensusPolicy) -> bool:
    """Take the rule of a served proposal out of service; False when it is not in service."""
    case = load_case(db, pattern_hash, policy)
    if case.proposal.status not in SERVED:
        return False
    reason = f"{counted} independent false-positive reports"
    move(db, case, Event.FALSE_POSITIVES, to_text(now), reason=reason)
    retire(db, pattern_hash, "quarantined", reason, to_text(now))
    audit_store.append(
        db,
        at=now,
        actor=AUTOMATIC,
        action="proposal.quarantined",
        target=pattern_hash,
        detail={"from": case.proposal.status, "falsePositives": counted},
    )
    return True


def counted_false_positives(db: Database, key: str, policy: ConsensusPolicy) -> int:
    """How many independent identities stand by a false-positive report that nobody has settled."""
    rows = db.conn.execute(
        "SELECT f.subject, k.enrolled, k.address, f.address, k.site, k.id IS NOT NULL AND k.revoked_at IS NULL"
        " FROM feedback f LEFT JOIN key k ON k.id = (SELECT id FROM key WHERE subject = f.subject"
        " ORDER BY revoked_at IS NOT NULL, issued_at, id LIMIT 1)"
        " WHERE f.rule_id = ? AND f.is_true_positive = 0 AND f.settled = 0 ORDER BY f.at, f.rowid",
        [key],
    )
    voters = [
        Voter(subject, enrolled or "self", registered_from, voted_from, site, bool(live))
        for subject, enrolled, registered_from, voted_from, site, live in rows
    ]
    return sum(verdict.counted for verdict in weigh(voters, policy))


def proposal_key(pattern_hash: str) -> str:
    """Under what name the votes on a community rule are kept.

    Not its rule id, which it may have to give up to an upstream rule: votes on the one would then count against
    the other. No rule id or pattern hash contains a slash.
    """
    return f"community/{pattern_hash}"


def settle(db: Database, key: str) -> int:
    """Let the false-positive votes so far count no more; later ones count anew. Returns how many."""
    return db.conn.execute(
        "UPDATE feedback SET settled = 1 WHERE rule_id = ? AND is_true_positive = 0 AND settled = 0", [key]
    ).rowcount


def settle_rule(db: Database, asked: str) -> int:
    """`settle` for the rule with this id or pattern hash; raises `UnknownRule`."""
    return settle(db, _key_of(_rule_named(db, asked)))


def tallies(db: Database, policy: ConsensusPolicy) -> list[Tally]:
    """Every rule with an unsettled false-positive vote, the most contested first."""
    rows = db.conn.execute(
        "SELECT f.rule_id, coalesce(r.rule_id, f.rule_id), sum(f.is_true_positive), sum(1 - f.is_true_positive)"
        " FROM feedback f LEFT JOIN rule r ON f.rule_id = 'community/' || r.pattern_hash"
        " WHERE f.settled = 0 GROUP BY f.rule_id HAVING sum(1 - f.is_true_positive) > 0"
    ).fetchall()
    found = [
        Tally(rule_id, positives, negatives, counted_false_positives(db, key, policy))
        for key, rule_id, positives, negatives in rows
    ]
    return sorted(found, key=lambda tally: (-tally.counted, -tally.false_positives, tally.rule_id))


def _rule_named(db: Database, asked: str) -> StoredRule:
    """The rule that an agent means: one in service before one that is not, an id before a pattern hash."""
    held = sorted(rules_with_id(db, asked), key=lambda rule: rule.state not in ("active", "canary"))
    found = held[0] if held else rule_of_pattern(db, asked)
    if found is None:
        raise UnknownRule(f"No rule has the id or pattern hash {asked}.")
    return found


def _key_of(rule: StoredRule) -> str:
    return rule.rule_id if rule.pattern_hash is None else proposal_key(rule.pattern_hash)
