"""Whole histories of one upstream on a real database: no sequence of answers and decisions breaks a promise.

The oracle is what was offered, what an admin decided, and counting.
"""

import shutil
import tempfile
from datetime import timedelta
from functools import cache
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.access.principal import Actor
from app.federation import store, versions_store
from app.federation.apply import apply_answer, record_failure
from app.federation.offer import AcceptedItem, RejectedItem
from app.federation.review import approve, reject
from app.federation.sources.collected import Collected, Failure, Item, Source
from app.federation.upstream import DirectoryUpstream, Policy
from app.rules.inspect import Inspection, inspect_text
from app.rules.store import put_text
from app.rules.validate import Profile
from app.storage.connection import open_writer
from app.storage.migrate import migrate
from tests.clock import NOW
from tests.example_rules import rule_text

IDS = [f"ATR-2026-{number:05d}" for number in range(1, 5)]
Offered = tuple[int, Source]
"""Which of its texts a rule is offered with, and from what source."""

Rules = dict[str, tuple[str, str]]
"""`rule_id -> (digest, source)`."""

Changes = dict[str, tuple[str, str | None]]
"""`rule_id -> (change, digest)`."""

some = st.sets(st.sampled_from(IDS))
offers = st.dictionaries(
    st.sampled_from(IDS), st.tuples(st.integers(0, 2), st.sampled_from(["atr", "atr-community"])), max_size=4
)


@cache
def inspected(rule_id: str, number: int) -> tuple[str, Inspection]:
    text = rule_text(rule_id, title=f"Title {number}")
    return text, inspect_text(text, profile=Profile.PUBLISHED)


@cache
def digest(rule_id: str, number: int) -> str:
    return inspected(rule_id, number)[1].text_digest


class Upstream(RuleBasedStateMachine):
    @initialize(offered=offers)
    def begin(self, offered: dict[str, Offered]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="upstream-"))
        self.db = open_writer(self.folder / "t.db")
        migrate(self.db, self.folder / "t.db")
        self.now = NOW
        self.configured = DirectoryUpstream(name="atr", path="/rules")
        store.sync_rows(self.db, [self.configured])
        self.offered = offered
        self.broken: set[str] = set()
        self.told: dict[str, Offered] = {}
        """What the last answer was."""
        self.allowed: set[tuple[str, str, str]] = set()
        """`(id, digest, source)` that was offered once."""
        self.refused: Changes = {}

    def teardown(self) -> None:
        self.db.conn.close()
        shutil.rmtree(self.folder)

    def served(self) -> Rules:
        rows = self.db.conn.execute("SELECT rule_id, digest, source FROM rule WHERE state = 'active'")
        return {row[0]: (row[1], row[2]) for row in rows}

    def held(self, state: str = "held") -> Changes:
        query = "SELECT rule_id, change, digest FROM held_change WHERE state = ?"
        rows = self.db.conn.execute(query, [state])
        return {row[0]: (row[1], row[2]) for row in rows}

    def stopped(self) -> Changes:
        """The held changes that a guard was about, told apart from those held to keep a pull whole."""
        query = "SELECT rule_id, change, digest, reasons FROM held_change WHERE state = 'held'"
        about = {"withdrawn": ("empty", "shrink"), "changed": ("churn",), "added": ()}
        rows = self.db.conn.execute(query).fetchall()
        return {row[0]: (row[1], row[2]) for row in rows if any(reason in row[3] for reason in about[row[1]])}

    def by(self) -> Actor:
        return Actor("rita", None, self.now)

    @rule(
        policy=st.sampled_from(["mirror", "additive", "review"]),
        withdrawn=st.sampled_from([100, 50, 0]),
        changed=st.sampled_from([100, 50, 0]),
    )
    def configure(self, policy: Policy, withdrawn: int, changed: int) -> None:
        self.configured = DirectoryUpstream(
            name="atr",
            path="/rules",
            policy=policy,
            max_withdrawn_percent=withdrawn,
            max_changed_percent=changed,
        )

    @rule(offered=offers)
    def offer_others(self, offered: dict[str, Offered]) -> None:
        self.offered = offered

    @rule(more=offers, without=some)
    def offer_a_bit_else(self, more: dict[str, Offered], without: set[str]) -> None:
        self.offered = {i: what for i, what in {**self.offered, **more}.items() if i not in without}

    @rule(ids=some)
    def break_texts(self, ids: set[str]) -> None:
        self.broken = ids

    @rule()
    def pull(self) -> None:
        told = {i: what for i, what in self.offered.items() if i not in self.broken}
        unfit = [RejectedItem(item(i, 9), "broken", i) for i in self.offered.keys() & self.broken]
        self.answer(told, Collected("changed"), told, unfit)

    @precondition(lambda self: bool(self.told))
    @rule(more=offers, without=some)
    def pull_what_changed_since(self, more: dict[str, Offered], without: set[str]) -> None:
        told = {i: what for i, what in {**self.told, **more}.items() if i not in without - more.keys()}
        self.offered = told
        gone = tuple(sorted(without - more.keys()))
        self.answer(told, Collected("changed", is_partial=True, withdrawn=gone), more, [])

    def answer(
        self,
        told: dict[str, Offered],
        collected: Collected,
        brought: dict[str, Offered],
        unfit: list[RejectedItem],
    ) -> None:
        self.now += timedelta(minutes=1)
        self.told = told
        self.allowed |= {(i, digest(i, number), source) for i, (number, source) in told.items()}
        for rule_id, (number, _) in brought.items():
            put_text(self.db, inspected(rule_id, number)[1], inspected(rule_id, number)[0])
        before, stopped = self.served(), self.stopped()
        fit = [AcceptedItem(i, item(i, number, source)) for i, (number, source) in brought.items()]
        result = apply_answer(self.db, self.configured, collected, fit, unfit, self.now).result
        after = self.served()
        self.was_bounded(before, after)
        self.kept_what_is_broken(before, after, {u.item.name for u in unfit})
        self.refusals_stood(before, after)
        self.what_was_stopped_waited(before, after, stopped)
        assert (before != after) == (result.outcome == "changed")
        assert result.held == len(self.held())
        assert result.held or result.outcome != "held"
        if self.configured.policy == "review":
            assert before == after
        if self.configured.policy == "mirror" and not result.held:
            wanted: Rules = {i: (digest(i, number), source) for i, (number, source) in told.items()}
            wanted |= {i: before[i] for i in {u.item.name for u in unfit} & before.keys()}
            assert {i: what for i, what in after.items() if i not in self.refused} == {
                i: what for i, what in wanted.items() if i not in self.refused
            }

    def was_bounded(self, before: Rules, after: Rules) -> None:
        if not before:
            return
        gone = len(before.keys() - after.keys())
        changed = sum(before[i] != after[i] for i in before.keys() & after.keys())
        assert gone * 100 <= self.configured.max_withdrawn_percent * len(before)
        assert changed * 100 <= self.configured.max_changed_percent * len(before)
        assert after
        if self.configured.policy == "additive":
            assert not gone

    def kept_what_is_broken(self, before: Rules, after: Rules, broken: set[str]) -> None:
        for rule_id in broken & before.keys():
            assert after[rule_id] == before[rule_id]

    def refusals_stood(self, before: Rules, after: Rules) -> None:
        """Neither applied nor held again; another change of the same rule takes the place of a refusal."""
        held = self.held()
        for rule_id, refused in list(self.refused.items()):
            old, new = before.get(rule_id), after.get(rule_id)
            if old != new:
                kind = "withdrawn" if new is None else "added" if old is None else "changed"
                assert (kind, new[0] if new else None) != refused
            assert held.get(rule_id) != refused
            if old != new or rule_id in held:
                del self.refused[rule_id]

    def what_was_stopped_waited(self, before: Rules, after: Rules, stopped: Changes) -> None:
        """A pull never applies what a guard stopped before, however little of it is left."""
        for rule_id, mark in stopped.items():
            old, new = before.get(rule_id), after.get(rule_id)
            if old != new:
                kind = "withdrawn" if new is None else "added" if old is None else "changed"
                assert (kind, new[0] if new else None) != mark

    @precondition(lambda self: bool(self.held() or self.refused))
    @rule(chosen=some, everything=st.booleans())
    def approve(self, chosen: set[str], everything: bool) -> None:
        held, before = self.held(), self.served()
        changes = held if everything else {i: c for i, c in (held | self.refused).items() if i in chosen}
        named = None if everything else changes.keys()
        assert approve(self.db, self.configured, named, self.by(), None, None) == sorted(changes)
        after = self.served()
        for rule_id in before.keys() | after.keys() | changes.keys():
            if rule_id not in changes:
                assert before.get(rule_id) == after.get(rule_id)
            else:
                assert after.get(rule_id, (None,))[0] == changes[rule_id][1]
        assert self.held().keys() == held.keys() - changes.keys()
        self.refused = {i: change for i, change in self.refused.items() if i not in changes}

    @precondition(lambda self: bool(self.held()))
    @rule(chosen=some)
    def refuse(self, chosen: set[str]) -> None:
        held, before = self.held(), self.served()
        named = chosen & held.keys()
        assert reject(self.db, self.configured, named, self.by(), "no", None) == sorted(named)
        assert self.served() == before
        assert self.held().keys() == held.keys() - named
        self.refused |= {rule_id: held[rule_id] for rule_id in named}

    @rule()
    def fail(self) -> None:
        served, held = self.served(), self.held()
        record_failure(self.db, self.configured, Failure("truncated", "The answer is truncated."), self.now)
        assert (self.served(), self.held()) == (served, held)

    @rule()
    def see_nothing_new(self) -> None:
        served, held = self.served(), self.held()
        apply_answer(self.db, self.configured, Collected("unchanged"), [], [], self.now)
        assert (self.served(), self.held()) == (served, held)

    @rule(keep=st.integers(1, 3))
    def forget(self, keep: int) -> None:
        served, held = self.served(), self.held()
        versions_store.drop_unused_versions(self.db, "atr", keep)
        versions_store.drop_texts(self.db, versions_store.unused_texts(self.db))
        assert (self.served(), self.held()) == (served, held)
        assert versions_store.unused_texts(self.db) == []

    @invariant()
    def nothing_is_served_that_was_never_offered(self) -> None:
        assert {(i, *what) for i, what in self.served().items()} <= self.allowed

    @invariant()
    def refusals_are_remembered(self) -> None:
        assert self.held("refused") == self.refused

    @invariant()
    def every_text_that_is_named_is_there(self) -> None:
        assert self.db.conn.execute("PRAGMA foreign_key_check").fetchall() == []


def item(rule_id: str, number: int, source: Source = "atr") -> Item:
    return Item(rule_id, 0, 0, digest(rule_id, number), source)


TestUpstream = Upstream.TestCase
TestUpstream.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
