"""Three instances in a row: A promotes, B mirrors A and overrides, C mirrors B."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.federation.real.pulls import key_file, live_polls, pull, pulled_once, served, upstream
from tests.flows.fleet import instance, live_rules, promoted, rule, shown
from tests.server import Server

PATIENT = {"limits_live_burst": 1000, "consensus_cycle_seconds": 86_400}
"""The limit for partners out of the way: these poll more often than any partner should."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The three of them."""

    a: Server
    b: Server
    c: Server

    def pull(self) -> tuple[str, str]:
        """B pulls, then C; returns the outcomes."""
        return pull(self.b)["outcome"], pull(self.c)["outcome"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Three instances that pull when they are told to; A has a dozen rules of its own."""
    folder = tmp_path_factory.mktemp("chain")
    for number in range(12):
        place = folder / "rules" / f"{number}.yaml"
        place.parent.mkdir(exist_ok=True)
        place.write_text(rule(rule_id=f"ATR-2026-{97_000 + number}"))
    with instance(folder / "a", **PATIENT) as a:
        a.cli("rule", "import", str(folder / "rules"))
        with (
            instance(folder / "b", config=above(a, folder / "b"), **PATIENT) as b,
            instance(folder / "c", config=above(b, folder / "c"), **PATIENT) as c,
        ):
            pulled_once(b)
            pulled_once(c)
            chain = Chain(a, b, c)
            chain.pull()
            assert len(live_rules(c)) == 12
            yield chain


def above(server: Server, folder: Path) -> str:
    """The configuration of an instance that mirrors this one with a partner's key."""
    folder.mkdir()
    return upstream("live", server.url, key=f"file:{key_file(folder, server.issue('partner'))}")


def test_a_community_rule_arrives_as_it_was_written_and_goes_as_it_came(chain: Chain) -> None:
    text = rule(extra="# Schlüssel, 鍵, \U0001f511\n")
    pattern_hash, rule_id = promoted(chain.a, text)
    assert chain.pull() == ("changed", "changed")
    arrived, written = live_rules(chain.c)[rule_id], live_rules(chain.a)[rule_id]
    assert arrived["source"] == written["source"] == "atr-community"
    assert arrived["ruleContent"] == written["ruleContent"]
    assert "# Schlüssel, 鍵, \U0001f511\n" in arrived["ruleContent"]
    chain.a.cli("proposal", "withdraw", pattern_hash, "--reason", "too broad")
    assert shown(chain.a, pattern_hash)["status"] == "withdrawn"
    assert chain.pull() == ("changed", "changed")
    assert rule_id not in live_rules(chain.c)


def test_what_one_disables_is_gone_below_it_and_not_above(chain: Chain) -> None:
    rule_id = "ATR-2026-97003"
    chain.b.cli("overlay", "disable", rule_id, "--reason", "false positives here")
    assert pull(chain.c)["withdrawn"] == 1
    assert rule_id not in live_rules(chain.b).keys() | live_rules(chain.c).keys()
    assert rule_id in live_rules(chain.a)


def test_nothing_new_is_a_304_all_the_way(chain: Chain) -> None:
    chain.pull()
    before = [served(server) for server in (chain.a, chain.b, chain.c)]
    start = time.time()
    assert chain.pull() == ("unchanged", "unchanged")
    for server in (chain.a, chain.b):
        assert live_polls(server, start) == [304]
    assert [served(server) for server in (chain.a, chain.b, chain.c)] == before
