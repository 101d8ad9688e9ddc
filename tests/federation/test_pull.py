"""The examples in docstrings, run: the pull from the question to the publication, and the simulated upstream."""

import doctest
from pathlib import Path

import httpx

from app.federation import pull
from app.federation.upstream import DirectoryUpstream
from tests.example_rules import rule_text
from tests.federation import simulator


def test_the_example_of_a_pull(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "ATR-2026-00001.yaml").write_text(rule_text("ATR-2026-00001"))
    found = doctest.testmod(pull, extraglobs={"folder": tmp_path, "DirectoryUpstream": DirectoryUpstream})
    assert (found.attempted, found.failed) == (3, 0)


def test_the_example_of_the_simulator() -> None:
    found = doctest.testmod(simulator, extraglobs={"httpx": httpx})
    assert (found.attempted, found.failed) == (3, 0)
