"""Each fault of an upstream, for each kind that speaks HTTP, is refused under its name, and no rule is taken."""

import pytest

from app.federation.sources import http
from app.federation.sources.collected import Collected
from app.federation.upstream import AtrRulesUpstream, LiveUpstream, NpmUpstream
from tests.clock import NOW
from tests.example_rules import rule_text
from tests.federation.hostile_entries import HOSTILE_ENTRIES, ID_OF_ANOTHER
from tests.federation.simulator import ELSEWHERE, RETRY_AFTER, Fault, Simulator
from tests.federation.sources.conftest import IDS, Pull, code, texts

MIB = 1024 * 1024
KEY = "tc-5b0e-very-secret"

Kind = type[LiveUpstream] | type[AtrRulesUpstream] | type[NpmUpstream]

ANY_KIND: dict[Fault, str] = {
    "truncate": "truncated",
    "truncate_json": "not-json",
    "stall": "timeout",
    "hang_up": "unreachable",
    "unasked_304": "mixed-up",
    "error_500": "status",
    "too_many": "too-fast",
    "unavailable": "status",
    "unauthorized": "unauthorized",
    "redirect_elsewhere": "redirect",
    "redirect_loop": "redirect",
    "html": "content-type",
    "wrong_type": "content-type",
    "bomb": "too-large",
    "huge": "too-large",
}
# It takes a second, and is about the body alone, which all kinds read alike.
SLOW: dict[Fault, str] = {"trickle": "timeout"}
LISTS: dict[Fault, str] = {
    "swap_etag": "mixed-up",
    "total_mismatch": "mixed-up",
    "not_ok": "shape",
    "expired_token": "replayed",
}
NPM: dict[Fault, str] = {
    "bad_integrity": "integrity",
    "sha1_only": "integrity",
    "tar_bomb": "too-large",
    "other_package": "mixed-up",
    "empty": "shape",
}
CASES = [
    *((kind, fault) for kind in (LiveUpstream, AtrRulesUpstream, NpmUpstream) for fault in ANY_KIND),
    *((kind, fault) for kind in (LiveUpstream, AtrRulesUpstream) for fault in LISTS),
    *((NpmUpstream, fault) for fault in NPM),
    *((LiveUpstream, fault) for fault in SLOW),
]


@pytest.mark.parametrize(
    ("kind", "fault"), CASES, ids=lambda case: case if isinstance(case, str) else case.__name__
)
def test_a_fault_is_a_failure_with_its_name_and_no_secret(
    simulator: Simulator,
    pull: Pull,
    monkeypatch: pytest.MonkeyPatch,
    kind: Kind,
    fault: Fault,
) -> None:
    monkeypatch.setenv("UP_KEY", KEY)
    if fault == "stall":
        monkeypatch.setattr(http, "SILENCE_SECONDS", 0.2)
    seconds = 1 if fault == "trickle" else 10
    upstream = kind(name="up", url=simulator.url, key="env:UP_KEY", max_bytes=MIB, timeout=seconds)
    simulator.fault = fault
    failed = pull(upstream)
    simulator.released.set()
    expected = (ANY_KIND | SLOW | (NPM if kind is NpmUpstream else LISTS))[fault]
    assert code(failed) == expected
    assert failed.failure is not None
    assert failed.items == ()
    assert failed.requests >= 1
    message = failed.failure.message
    assert message.endswith(".")
    assert len(message) < 200
    assert not any(word in message for word in (KEY, "token=", "sign in", "<html"))
    wait = RETRY_AFTER if fault in {"too_many", "unavailable"} else None
    assert failed.failure.retry_after == (None if wait is None else pytest.approx(wait, abs=2))
    assert failed.received < 3 * MIB


@pytest.mark.parametrize("kind", [LiveUpstream, AtrRulesUpstream, NpmUpstream])
def test_a_304_for_another_etag_is_not_believed(simulator: Simulator, pull: Pull, kind: Kind) -> None:
    upstream = kind(name="up", url=simulator.url)
    first = pull(upstream)
    simulator.fault = "swap_etag"
    assert code(pull(upstream, first.memory)) == "mixed-up"


@pytest.mark.parametrize("kind", [LiveUpstream, AtrRulesUpstream, NpmUpstream])
def test_a_redirect_on_the_same_host_is_followed(simulator: Simulator, pull: Pull, kind: Kind) -> None:
    simulator.fault = "redirect_same"
    assert pull(kind(name="up", url=simulator.url)).outcome == "changed"


def test_nothing_goes_to_the_host_that_a_redirect_names(simulator: Simulator, pull: Pull) -> None:
    simulator.fault = "redirect_elsewhere"
    failed = pull(LiveUpstream(name="up", url=simulator.url))
    assert failed.requests == 1
    assert failed.failure is not None
    assert ELSEWHERE in failed.failure.message


@pytest.mark.parametrize("kind", [LiveUpstream, AtrRulesUpstream])
def test_a_hostile_entry_is_set_aside_alone_and_odd_texts_are_left_to_inspection(
    simulator: Simulator, pull: Pull, spool: str, kind: Kind
) -> None:
    simulator.fault = "hostile_entries"
    collected = pull(kind(name="up", url=simulator.url))
    assert collected.outcome == "changed"
    got = texts(collected, spool)
    assert {rule_id: got[rule_id] for rule_id in IDS} == simulator.rules
    assert got["ATR-2026-66604"] == ID_OF_ANOTHER
    assert len(got) == len(IDS) + 4
    assert [aside.rule_id for aside in collected.set_aside] == [
        f"entry {len(IDS) + number}" for number, entry in enumerate(HOSTILE_ENTRIES, 1) if number > 4
    ]


def test_only_hostile_entries_is_a_wrong_shape(
    simulator: Simulator, pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.rules = {}
    simulator.fault = "hostile_entries"
    monkeypatch.setattr("tests.federation.simulator.HOSTILE_ENTRIES", HOSTILE_ENTRIES[4:])
    assert code(pull(LiveUpstream(name="up", url=simulator.url))) == "shape"


def test_an_empty_list_is_an_answer(simulator: Simulator, pull: Pull) -> None:
    """Whether to believe it is for the guards of the pull."""
    simulator.fault = "empty"
    collected = pull(LiveUpstream(name="up", url=simulator.url))
    assert (collected.outcome, collected.items) == ("changed", ())


class TestReplay:
    """An answer older than the last one is refused, and a restamped or shrunk one is not."""

    def second(self, simulator: Simulator, pull: Pull, fault: Fault, kind: Kind = LiveUpstream) -> Collected:
        """First answer, an edit, the second answer; then `fault`."""
        upstream = kind(name="up", url=simulator.url)
        first = pull(upstream)
        simulator.rules[IDS[0]] = rule_text(IDS[0], title="Edited")
        edited = pull(upstream, first.memory)
        assert edited.outcome == "changed"
        simulator.fault = fault
        return pull(upstream, edited.memory)

    @pytest.mark.parametrize("kind", [LiveUpstream, AtrRulesUpstream])
    def test_of_an_older_serial(self, simulator: Simulator, pull: Pull, kind: Kind) -> None:
        assert code(self.second(simulator, pull, "replay", kind)) == "replayed"

    @pytest.mark.parametrize("fault", ["older_serial", "expired_token"])
    def test_beside_a_304_too(self, simulator: Simulator, pull: Pull, fault: Fault) -> None:
        assert code(self.second(simulator, pull, fault)) == "replayed"
        assert simulator.requests[-1].headers["if-none-match"]

    @pytest.mark.parametrize("fault", ["replay", "replay_freshly_dated"])
    def test_of_an_older_rule_without_any_token(self, public: Simulator, pull: Pull, fault: Fault) -> None:
        assert code(self.second(public, pull, fault)) == "replayed"

    def test_of_a_time_before_a_rule_was_added(self, public: Simulator, pull: Pull) -> None:
        upstream = LiveUpstream(name="up", url=public.url)
        first = pull(upstream)
        public.rules["ATR-2026-00009"] = rule_text("ATR-2026-00009")
        more = pull(upstream, first.memory)
        public.fault = "replay"
        assert code(pull(upstream, more.memory)) == "replayed"
        public.fault = None
        del public.rules["ATR-2026-00009"]  # now the same list is the truth, and has a new Date
        assert pull(upstream, more.memory).outcome == "changed"

    @pytest.mark.parametrize("fault", ["restamp", "shrink", "empty"])
    def test_what_a_restart_or_a_deletion_does_is_none(
        self, public: Simulator, pull: Pull, fault: Fault
    ) -> None:
        assert self.second(public, pull, fault).outcome == "changed"

    def test_is_judged_by_the_clock_that_is_passed_in(self, simulator: Simulator, pull: Pull) -> None:
        upstream = LiveUpstream(name="up", url=simulator.url)
        assert code(pull(upstream, now=NOW.replace(hour=13))) == "replayed"
