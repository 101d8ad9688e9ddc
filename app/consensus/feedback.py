"""What agents say of rules that they were served: one vote per identity and rule, the latest one."""

from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Principal
from app.consensus.errors import UnknownRule
from app.consensus.feedback_store import dismiss_votes, false_positive_voters, keep_vote, open_votes
from app.consensus.machine import SERVED, Event
from app.consensus.policy import ConsensusPolicy
from app.consensus.store import load_state, retire, transition
from app.consensus.votes import judge_independence
from app.http.timestamps import to_text
from app.rules.store import StoredRule, rule_of_pattern, rules_with_id

AUTOMATIC = "consensus"
"""How the audit log names what follows from votes alone."""


@dataclass(frozen=True, slots=True)
class FeedbackResult:
    """What a vote led to.

    `quarantined`: the rule is out of service because of such reports; `now` when this one did it. `flagged`: as
    many independent reports speak against an upstream or local rule, which only people take out of service.
    """

    quarantined: bool
    now: bool
    flagged: bool


class ContestedRule(msgspec.Struct, frozen=True, rename="camel"):
    """The open votes on one rule; `counted` are the independent ones among the false positives."""

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
) -> FeedbackResult:
    """Record a vote on the rule that `asked` names, by its id or its pattern hash, and act on what it adds up to.

    Raises `UnknownRule`.
    """
    rule = _rule_named(db, asked)
    key, at = _key_of(rule), to_text(now)
    before = counted_false_positives(db, key, policy)
    keep_vote(db, key, voter.subject, voter.address, is_true_positive, at)
    counted = counted_false_positives(db, key, policy)
    enough = counted >= policy.quarantine_votes
    if rule.pattern_hash is not None:
        at_once = enough and quarantine(db, rule.pattern_hash, counted, now, policy)
        return FeedbackResult(at_once or rule.state == "quarantined", at_once, False)
    if enough and before < policy.quarantine_votes:
        audit_store.append(
            db,
            at=now,
            actor=AUTOMATIC,
            action="rule.flagged",
            target=rule.rule_id,
            detail={"falsePositives": counted},
        )
    return FeedbackResult(False, False, enough)


def quarantine(db: Database, pattern_hash: str, counted: int, now: datetime, policy: ConsensusPolicy) -> bool:
    """Take the rule of a served proposal out of service; False when it is not in service."""
    state = load_state(db, pattern_hash, policy)
    if state.proposal.status not in SERVED:
        return False
    reason = f"{counted} independent false-positive reports"
    transition(db, state, Event.FALSE_POSITIVES, to_text(now), reason=reason)
    retire(db, pattern_hash, "quarantined", reason, to_text(now))
    audit_store.append(
        db,
        at=now,
        actor=AUTOMATIC,
        action="proposal.quarantined",
        target=pattern_hash,
        detail={"from": state.proposal.status, "falsePositives": counted},
    )
    return True


def counted_false_positives(db: Database, key: str, policy: ConsensusPolicy) -> int:
    """How many independent identities stand by a false-positive report that nobody has dismissed."""
    voters = false_positive_voters(db, key)
    return sum(verdict.counted for verdict in judge_independence(voters, policy))


def proposal_key(pattern_hash: str) -> str:
    """Under what name the votes on a community rule are kept.

    Not its rule id, which it may have to give up to an upstream rule: votes on the one would then count against
    the other. No rule id or pattern hash contains a slash.
    """
    return f"community/{pattern_hash}"


def dismiss_votes_on(db: Database, asked: str) -> int:
    """`dismiss_votes` for the rule with this id or pattern hash; raises `UnknownRule`."""
    return dismiss_votes(db, _key_of(_rule_named(db, asked)))


def contested_rules(db: Database, policy: ConsensusPolicy) -> list[ContestedRule]:
    """Every rule with an open false-positive vote, the most contested first."""
    found = [
        ContestedRule(rule_id, positives, negatives, counted_false_positives(db, key, policy))
        for key, rule_id, positives, negatives in open_votes(db)
    ]
    return sorted(found, key=lambda rule: (-rule.counted, -rule.false_positives, rule.rule_id))


def _rule_named(db: Database, asked: str) -> StoredRule:
    """Return the rule that an agent means: one in service before one that is not, an id before a pattern hash."""
    held = sorted(rules_with_id(db, asked), key=lambda rule: rule.state not in ("active", "canary"))
    found = held[0] if held else rule_of_pattern(db, asked)
    if found is None:
        raise UnknownRule(f"No rule has the id or pattern hash {asked}.")
    return found


def _key_of(rule: StoredRule) -> str:
    return rule.rule_id if rule.pattern_hash is None else proposal_key(rule.pattern_hash)
