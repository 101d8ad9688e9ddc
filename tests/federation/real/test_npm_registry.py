"""Kind `npm` against the registry that this machine is set up for: all 785 official rules, and what they are."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.federation.real.pulls import pull, pulled_once, served, status, upstream
from tests.federation.real.registry import FILE, NAME, VERSION, Registry
from tests.flows.fleet import instance, live_rules
from tests.needs import lacking, need_program
from tests.published import COUNT
from tests.server import Server

LESS_THAN_THE_TARBALL = 1_000_000
CLASSIFIED = """
ATR-2026-00150 | context-exfiltration | critical | AML.T0057 | credential-in-response,mcp,high
ATR-2026-00001 | prompt-injection | high | AML.T0051,AML.T0051.000 | direct,mcp,high
ATR-2026-00021 | context-exfiltration | critical | AML.T0057,AML.T0055 | credential-exposure,mcp,high
ATR-2026-00010 | tool-poisoning | critical | AML.T0051.001,AML.T0056 | mcp-response-injection,mcp,high
ATR-2026-00139 | agent-manipulation | critical | AML.T0051 | casual-authority-redirect,mcp,high
ATR-2026-00433 | model-abuse | critical | AML.T0010,AML.T0011.000 | pickle-deserialization-rce,both,high
ATR-2026-01457 | context-exfiltration | high | AML.T0024 | system-prompt-extraction,mcp,high
ATR-2026-00235 | prompt-injection | high | AML.T0054 | persona-moral-bypass,both,high
ATR-2026-00574 | context-exfiltration | high | AML.T0051 | paraphrased-system-prompt-extraction,mcp,medium
ATR-2026-00552 | agent-manipulation | high | AML.T0051,AML.T0051.000 | goal-drift-trace,runtime,medium
ATR-2026-02401 | excessive-autonomy | critical | AML.T0053,AML.T0051 | rogue-agent-mass-connector-grant,runtime,high
ATR-2026-01005 | prompt-injection | high | AML.T0051,AML.T0054 | many-shot-conditioning,mcp,medium
"""
"""Twelve of them: id, category, severity, techniques, tags; among them a rule in another folder than its category
(00433), one with a case study's id among its techniques (01457), a deprecated one (00235)."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An instance that has pulled the package once."""
    config = upstream("npm", registry(), version=VERSION, **trusted())
    with instance(tmp_path_factory.mktemp("npm"), config=config) as running:
        after = pulled_once(running)
        if after["state"] != "ok" and after["failure"]["code"] in {"unreachable", "tls", "timeout"}:
            lacking(f"the npm registry ({after['failure']['message']})")
        yield running


def registry() -> str:
    """The registry in npm's own settings."""
    command = [need_program("npm"), "config", "get", "registry"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def trusted() -> dict[str, Any]:
    """The certificate authorities that this machine's environment names, if it does."""
    names = [os.environ[name] for name in ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE") if name in os.environ]
    return {"ca_file": names[0]} if names else {}


def test_all_official_rules_come_byte_for_byte(server: Server, published_rules: list[Path]) -> None:
    offered = {str(yaml.load(path.read_bytes(), yaml.CSafeLoader)["id"]): path for path in published_rules}
    now = status(server)
    print(f"\nfirst pull of {now['rules']} rules: {now['pullSeconds']:.2f} s")
    assert (now["state"], now["rules"], now["setAside"], now["held"]) == ("ok", COUNT, 0, 0)
    assert now["version"] == VERSION
    rules = live_rules(server)
    assert rules.keys() == offered.keys()
    assert all(rules[rule_id]["ruleContent"] == path.read_text() for rule_id, path in offered.items())
    assert {rule["source"] for rule in rules.values()} == {"atr"}


def test_they_are_classified_by_their_texts(server: Server) -> None:
    rules = live_rules(server)
    for line in CLASSIFIED.strip().splitlines():
        rule_id, *expected = line.split(" | ")
        rule = rules[rule_id]
        found = [rule[field] for field in ("category", "severity", "mitreTechniques", "tags")]
        assert found == expected, rule_id


def test_a_pull_with_nothing_new_is_no_new_version(server: Server) -> None:
    before, set_before, versions = status(server), served(server), versions_of(server)
    result = pull(server)
    assert result["outcome"] == "unchanged"
    assert result["receivedBytes"] < LESS_THAN_THE_TARBALL
    after = status(server)
    assert after["lastSuccess"] > before["lastSuccess"]
    assert after["lastChange"] == before["lastChange"]
    assert served(server) == set_before
    (version,) = versions_of(server)
    assert (version["id"], version["label"]) == (versions[0]["id"], VERSION)


def test_a_mirror_is_asked_twice_for_a_new_version_and_once_for_a_known_one(tmp_path: Path) -> None:
    """It announces a tarball on the host of the original, where nothing is asked for."""
    with Registry() as mirror, instance(tmp_path, config=upstream("npm", mirror.url)) as server:
        assert pulled_once(server)["rules"] == COUNT
        assert mirror.asked == [f"/{NAME}", f"/{NAME}/-/{FILE}"]
        assert pull(server)["outcome"] == "unchanged"
        assert mirror.asked[2:] == [f"/{NAME}"]


def versions_of(server: Server) -> list[dict[str, Any]]:
    """What the upstream has been seen to offer."""
    with server.admin as admin:
        answer = admin.get("/api/admin/upstreams/up/versions")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])
