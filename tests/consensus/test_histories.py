"""Whole histories on a real database file: no sequence of calls breaks what consensus promises.

The oracle is simple set arithmetic: admin-issued identities count each, self-registered ones once per address, and
nobody whose keys are all revoked.
"""

import shutil
import tempfile
from collections import defaultdict
from datetime import timedelta
from functools import cache
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.access.key_store import holder_of, revoke_key
from app.access.principal import Actor
from app.consensus import feedback, review
from app.consensus.errors import Refused, UnknownProposal, UnknownRule
from app.consensus.gating import GateResult, gate_text, rename_text
from app.consensus.parsing import ParsedRule, parse_text
from app.consensus.policy import ConsensusPolicy
from app.consensus.promotion import (
    NeedsId,
    PromotionOutcome,
    advance,
    next_choice,
    put_in_service,
    return_to_pending,
    stays,
)
from app.consensus.store import due_proposals
from app.consensus.submission import Submission, SubmissionOutcome, record
from app.consensus.votes import Voter
from app.http.timestamps import to_text
from app.rules.store import COMMUNITY, yield_id
from app.storage.connection import open_writer
from app.storage.migrate import migrate
from tests.clock import NOW
from tests.consensus.harness import DRAFT, hold_foreign, key
from tests.example_rules import short_rule_text

HASHES = ["hash-1", "ATR-2026-00001"]
PEOPLE = [f"admin-{i}" for i in range(4)] + [f"self:{i}" for i in range(5)]
ADDRESS = {name: f"10.0.0.{i // 2}" for i, name in enumerate(PEOPLE)}
TEXTS = {
    "draft": DRAFT,
    "one": short_rule_text("ATR-2026-00001"),
    "one again": short_rule_text("ATR-2026-00002", title="The same detection"),
    "two": short_rule_text("ATR-2026-00001", pattern="signing.key"),
    "broken two": short_rule_text("ATR-2026-00001", pattern="signing.key", agent_source=False),
    "useless": short_rule_text("ATR-2026-00003", pattern="never there"),
}
hashes, people, texts = st.sampled_from(HASHES), st.sampled_from(PEOPLE), st.sampled_from(sorted(TEXTS))


@cache
def gated(text: str) -> GateResult:
    return gate_text(text, "standard")


@cache
def read(text: str) -> ParsedRule:
    return parse_text(text)


class History(RuleBasedStateMachine):
    @initialize(canary_hours=st.sampled_from([0, 24]))
    def begin(self, canary_hours: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="history-"))
        self.db = open_writer(self.folder / "t.db")
        migrate(self.db, self.folder / "t.db")
        self.policy = ConsensusPolicy(canary_hours=canary_hours)
        self.now = NOW
        self.keys = {
            name: key(
                self.db,
                name,
                enrolled="self" if name.startswith("self:") else "admin",
                address=ADDRESS[name] if name.startswith("self:") else None,
            )
            for name in PEOPLE
        }
        self.revoked: set[str] = set()
        self.voters: dict[str, set[str]] = defaultdict(set)
        self.decided: set[str] = set()
        self.foreign: dict[tuple[str, str], str] = {}

    def teardown(self) -> None:
        self.db.conn.close()
        shutil.rmtree(self.folder)

    def independent(self, voters: set[str]) -> int:
        live = voters - self.revoked
        selves = {name for name in live if name.startswith("self:")}
        return len(live - selves) + len({ADDRESS[name] for name in selves})

    def statuses(self) -> dict[str, tuple[str, int, str | None]]:
        rows = self.db.conn.execute(
            "SELECT pattern_hash, status, confirmations, approved_variant FROM proposal"
        )
        return {row[0]: row[1:] for row in rows}

    def in_service(self) -> set[str]:
        return {h for h, row in self.statuses().items() if row[0] in ("canary", "promoted")}

    def by(self) -> Actor:
        return Actor("rita", None, self.now)

    @rule(minutes=st.integers(1, 1500))
    def time_goes_by(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(who=people, pattern_hash=hashes, text=texts)
    def submit(self, who: str, pattern_hash: str, text: str) -> None:
        self.submit_one(who, pattern_hash, text)

    def submit_one(self, who: str, pattern_hash: str, text: str) -> None:
        if who in self.revoked:
            return
        principal = holder_of(self.keys[who], ADDRESS[who])
        voter = Voter(
            who, principal.enrolled, principal.registered_from, principal.address, principal.site, live=True
        )
        sent = Submission(
            pattern_hash=pattern_hash,
            text=TEXTS[text],
            parsed=read(TEXTS[text]),
            voter=voter,
            key_id=principal.key_id,
            address=principal.address,
            client_id=None,
            llm_provider="p",
            llm_model="m",
            self_review_verdict="v",
        )
        before = self.statuses().get(pattern_hash)
        receipt = record(self.db, sent, to_text(self.now), self.policy)
        if who in self.voters[pattern_hash]:
            assert receipt.outcome is SubmissionOutcome.ALREADY
            assert self.statuses()[pattern_hash] == before
        self.voters[pattern_hash].add(who)
        if (
            receipt.status in ("draft", "pending", "confirmed")
            and receipt.outcome is not SubmissionOutcome.ALREADY
        ):
            assert receipt.confirmations == self.independent(self.voters[pattern_hash])

    @rule(pattern_hash=hashes, text=st.sampled_from(["one", "one again", "two"]))
    def a_fleet_submits(self, pattern_hash: str, text: str) -> None:
        for who in PEOPLE[:4]:
            self.submit_one(who, pattern_hash, text)

    @rule(who=st.sampled_from(PEOPLE[1:]))
    def revoke(self, who: str) -> None:
        revoke_key(self.db, self.keys[who].id, self.now)
        self.revoked.add(who)

    @rule(pattern_hash=hashes, text=st.sampled_from(["one", "two"]), supplied=st.booleans())
    def approve(self, pattern_hash: str, text: str, supplied: bool) -> None:
        act = review.supply_text if supplied else review.approve
        try:
            act(self.db, pattern_hash, read(TEXTS[text]).variant, TEXTS[text], self.by(), None, self.policy)
        except (Refused, UnknownProposal):
            return
        assert pattern_hash not in self.decided

    @rule(pattern_hash=hashes, verb=st.sampled_from(["reject", "withdraw"]))
    def decide_against(self, pattern_hash: str, verb: str) -> None:
        try:
            getattr(review, verb)(self.db, pattern_hash, self.by(), "no", self.policy)
        except (Refused, UnknownProposal):
            return
        self.decided.add(pattern_hash)

    @rule(pattern_hash=hashes)
    def reopen(self, pattern_hash: str) -> None:
        try:
            review.reopen(self.db, pattern_hash, self.by(), "yes", self.policy)
        except (Refused, UnknownProposal):
            return
        assert pattern_hash in self.decided
        self.decided.remove(pattern_hash)

    @precondition(lambda self: bool(self.in_service()))
    @rule(who=people, pattern_hash=hashes)
    def report_false_positive(self, who: str, pattern_hash: str) -> None:
        try:
            reception = feedback.give(
                self.db, pattern_hash, holder_of(self.keys[who], ADDRESS[who]), False, self.now, self.policy
            )
        except UnknownRule:
            return
        if reception.now:
            quarantined = {h for h, row in self.statuses().items() if row[0] == "quarantined"}
            assert len(quarantined - self.decided) == 1
            self.decided |= quarantined

    @rule(
        rule_id=st.sampled_from(["ATR-2026-00001", "ATR-2026-00002"]),
        origin=st.sampled_from(["upstream:a", "local"]),
    )
    def another_origin_brings(self, rule_id: str, origin: str) -> None:
        yield_id(self.db, rule_id, to_text(self.now))
        hold_foreign(self.db, rule_id, origin)
        query = "SELECT digest FROM rule WHERE origin = ? AND rule_id = ?"
        self.foreign[origin, rule_id] = self.db.conn.execute(query, [origin, rule_id]).fetchone()[0]

    @precondition(lambda self: bool(due_proposals(self.db)))
    @rule(crash=st.booleans())
    def cycle(self, crash: bool) -> None:
        for pattern_hash, status in due_proposals(self.db):
            if status == "canary":
                self.look_after(pattern_hash)
                continue
            choice = next_choice(self.db, pattern_hash, self.policy)
            if choice is None:
                assert (
                    return_to_pending(self.db, pattern_hash, self.now, self.policy)
                    is PromotionOutcome.RETURNED
                )
                continue
            verdict = gated(choice.text)
            if crash:
                return
            landed = put_in_service(self.db, pattern_hash, choice, verdict, self.now, self.policy)
            if isinstance(landed, NeedsId):
                verdict = rename_text(choice.text, landed.rule_id)
                landed = put_in_service(self.db, pattern_hash, choice, verdict, self.now, self.policy)
            assert landed in (PromotionOutcome.PROMOTED, PromotionOutcome.CANARIED, PromotionOutcome.FAILED)
            if landed is not PromotionOutcome.FAILED:
                self.was_earned(pattern_hash, choice.digest)

    def look_after(self, pattern_hash: str) -> None:
        if stays(self.db, pattern_hash, self.now, self.policy):
            return
        status = advance(self.db, pattern_hash, self.now, self.policy)
        if status == "quarantined":
            self.decided.add(pattern_hash)
        elif status == "promoted":
            assert self.independent(self.voters[pattern_hash]) >= self.policy.threshold

    def was_earned(self, pattern_hash: str, variant: str) -> None:
        assert pattern_hash not in self.decided
        assert self.independent(self.voters[pattern_hash]) >= self.policy.threshold
        query = "SELECT subject FROM confirmation WHERE pattern_hash = ? AND variant = ?"
        supporters = {row[0] for row in self.db.conn.execute(query, [pattern_hash, variant])}
        approved = self.statuses()[pattern_hash][2]
        assert approved == variant or self.independent(supporters) >= self.policy.content_quorum

    @invariant()
    def decisions_stand(self) -> None:
        closed = {
            h for h, row in self.statuses().items() if row[0] in ("rejected", "quarantined", "withdrawn")
        }
        assert closed == self.decided

    @invariant()
    def rules_follow_their_proposals_and_no_id_is_shared(self) -> None:
        rows = self.db.conn.execute(
            "SELECT origin, rule_id, digest, state, pattern_hash FROM rule"
        ).fetchall()
        assert {(o, i): d for o, i, d, *_ in rows if o != COMMUNITY} == self.foreign
        wanted = {h: row[0] for h, row in self.statuses().items() if row[0] in ("canary", "promoted")}
        state_of = {"canary": "canary", "promoted": "active"}
        ours = [(i, s, h) for o, i, _, s, h in rows if o == COMMUNITY and s in ("active", "canary")]
        assert {h: s for _, s, h in ours} == {h: state_of[status] for h, status in wanted.items()}
        assert {i for i, *_ in ours}.isdisjoint(i for _, i in self.foreign)

    @invariant()
    def what_is_due_is_confirmed_or_in_canary(self) -> None:
        assert {h for h, _ in due_proposals(self.db)} == {
            h for h, row in self.statuses().items() if row[0] in ("confirmed", "canary")
        }


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
