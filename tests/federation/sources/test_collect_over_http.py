"""Every kind that speaks HTTP collects the rules of a right upstream, and asks no more than needed the next time."""

import hashlib
from datetime import timedelta

import pytest
from msgspec.structs import replace

from app.federation.sources.collected import Collected, Memory
from app.federation.upstream import AtrRulesUpstream, LiveUpstream, NpmUpstream
from app.rules.compare import text_digest
from tests.example_rules import rule_text
from tests.federation.simulator import ATR_RULES, LIVE, PACKAGE, Simulator
from tests.federation.sources.conftest import IDS, Pull, code, texts

KINDS = [LiveUpstream, AtrRulesUpstream, NpmUpstream]
Kind = type[LiveUpstream] | type[AtrRulesUpstream] | type[NpmUpstream]


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_is_what_is_served_and_the_second_pull_is_one_small_request(
    simulator: Simulator, pull: Pull, spool: str, kind: Kind
) -> None:
    upstream = kind(name="up", url=simulator.url)
    first = pull(upstream)
    assert first.outcome == "changed"
    got = texts(first, spool)
    assert sorted(got.values()) == sorted(simulator.rules.values())
    assert {item.digest for item in first.items} == {text_digest(text) for text in simulator.rules.values()}
    assert first.received > 0
    before = len(simulator.requests)
    second = pull(upstream, first.memory)
    assert (second.outcome, second.requests, second.received) == ("unchanged", 1, 0)
    assert len(simulator.requests) == before + 1
    assert second.memory == first.memory


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_and_a_deletion_are_seen(simulator: Simulator, pull: Pull, spool: str, kind: Kind) -> None:
    upstream = kind(name="up", url=simulator.url)
    first = pull(upstream)
    simulator.rules[IDS[0]] = rule_text(IDS[0], title="Edited")
    second = pull(upstream, first.memory)
    assert "title: Edited" in "".join(texts(second, spool).values())
    del simulator.rules[IDS[0]]  # the newest one: what is left is older, and dated now
    third = pull(upstream, second.memory)
    assert third.outcome == "changed"
    assert len(third.items) == len(IDS) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_other_settings_send_no_validator_and_read_everything(
    simulator: Simulator, pull: Pull, kind: Kind
) -> None:
    upstream = kind(name="up", url=simulator.url)
    first = pull(upstream)
    again = pull(replace(upstream, max_changed_percent=31), first.memory)
    assert again.outcome == "changed"
    assert "if-none-match" not in simulator.requests[-1].headers


def test_live_says_where_a_rule_is_from_and_when(simulator: Simulator, pull: Pull) -> None:
    simulator.sources = {IDS[1]: "atr-community", IDS[2]: "somebody-else"}
    items = {item.name: item for item in pull(LiveUpstream(name="up", url=simulator.url)).items}
    assert [items[rule_id].source for rule_id in IDS[:3]] == ["atr", "atr-community", "atr"]
    assert items[IDS[0]].published_at == "2026-04-17T10:30:01.124Z"


def test_the_path_is_added_unless_it_is_there(simulator: Simulator, pull: Pull) -> None:
    for url in (simulator.url, simulator.url + "/", simulator.url + LIVE):
        assert pull(LiveUpstream(name="up", url=url)).outcome == "changed"
    assert simulator.asked(LIVE) == 3


def test_atr_rules_asks_for_yaml_and_leaves_out_what_is_in_canary(simulator: Simulator, pull: Pull) -> None:
    simulator.sources = {IDS[0]: "atr-canary"}
    collected = pull(AtrRulesUpstream(name="up", url=simulator.url))
    assert simulator.requests[-1].query == {"format": "yaml"}
    assert [aside.rule_id for aside in collected.set_aside] == [IDS[0]]
    assert len(collected.items) == len(IDS) - 1


def test_the_public_server_is_asked_for_news_and_once_a_day_for_everything(
    public: Simulator, pull: Pull, spool: str
) -> None:
    upstream = AtrRulesUpstream(name="up", url=public.url)

    def again(memory: Memory) -> Collected:
        return pull(upstream, memory, public.now)

    first = again(Memory())
    assert (first.outcome, first.is_partial, len(first.items)) == ("changed", False, len(IDS))
    public.rules["ATR-2026-00009"] = rule_text("ATR-2026-00009")
    del public.rules[IDS[0]]
    second = again(first.memory)
    # 48 hours back, because this server compares a day with a day as text, and finds nothing within one.
    assert public.requests[-1].query["since"] == "2026-04-15T10:30:01.000Z"
    assert second.is_partial
    assert "ATR-2026-00009" in texts(second, spool)
    assert second.memory.full_at == first.memory.full_at
    assert IDS[0] in second.memory.published
    public.advance(timedelta(hours=24))
    third = again(second.memory)
    assert "since" not in public.requests[-1].query
    assert (third.is_partial, len(third.items)) == (False, len(IDS))
    public.advance(timedelta(hours=1))
    assert again(third.memory).is_partial


def test_a_part_names_what_was_withdrawn(simulator: Simulator, pull: Pull) -> None:
    upstream = AtrRulesUpstream(name="up", url=simulator.url)
    simulator.fault = "no_etag"
    first = pull(upstream)
    del simulator.rules[IDS[0]]
    second = pull(upstream, first.memory)
    assert (second.is_partial, second.withdrawn) == (True, (IDS[0],))
    assert sorted(second.memory.published) == IDS[1:]
    simulator.rules = {}
    assert pull(upstream, second.memory).withdrawn == tuple(IDS)


def test_a_part_with_nothing_in_it_changes_nothing(public: Simulator, pull: Pull) -> None:
    upstream = AtrRulesUpstream(name="up", url=public.url)
    first = pull(upstream)
    public.published = dict.fromkeys(IDS, "2026-04-01T00:00:00.000Z")
    second = pull(upstream, first.memory)
    assert (second.outcome, second.items, second.memory.newest) == ("unchanged", (), first.memory.newest)


def test_npm_takes_a_version_or_a_tag(simulator: Simulator, pull: Pull) -> None:
    upstream = NpmUpstream(name="up", url=simulator.url, version="4.0.0")
    assert pull(upstream).label == "4.0.0"
    missing = pull(NpmUpstream(name="up", url=simulator.url, version="9.9.9"))
    assert code(missing) == "not-found"
    assert simulator.asked(f"/{PACKAGE}/-/{PACKAGE}-4.0.0.tgz") == 1


def test_npm_fetches_no_tarball_it_has(simulator: Simulator, pull: Pull) -> None:
    upstream = NpmUpstream(name="up", url=simulator.url)
    first = pull(upstream)
    forgetful = replace(first.memory, etag='"of another document with the same package"')
    second = pull(upstream, forgetful)
    assert (second.outcome, second.requests) == ("unchanged", 1)
    assert second.memory.etag == first.memory.etag


def test_a_digest_is_of_the_bytes_as_they_came(simulator: Simulator, pull: Pull) -> None:
    simulator.rules = {IDS[0]: "title: Zeichen für Zeichen\r\n"}
    (item,) = pull(LiveUpstream(name="up", url=simulator.url)).items
    assert item.digest == hashlib.sha256("title: Zeichen für Zeichen\r\n".encode()).hexdigest()


def test_only_what_is_configured_is_asked(simulator: Simulator, pull: Pull) -> None:
    pull(AtrRulesUpstream(name="up", url=simulator.url))
    assert [seen.path for seen in simulator.requests] == [ATR_RULES]
    assert simulator.requests[0].headers["user-agent"].startswith("threatcloud/")
    assert "authorization" not in simulator.requests[0].headers
