"""The embedded rules, pulled like any upstream: all of them served, as the stripped form that they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.federation.sources.package import FILE_NAME
from app.federation.upstream import PackageUpstream
from tests.federation.harness import FederationHarness

pytestmark = pytest.mark.anyio


class Bundle:
    """A package of our own with a bundle that the test changes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bundled_rules" / FILE_NAME
        self.path.parent.mkdir()
        (self.path.parent / "__init__.py").write_text("raise SystemExit('must not be imported')")

    def write(self, *rules: dict[str, Any]) -> None:
        self.path.write_text(json.dumps(rules))


def bundled(rule_id: str, title: str = "A title") -> dict[str, Any]:
    return {
        "id": rule_id,
        "title": title,
        "severity": "high",
        "description": "yes",
        "status": "experimental",
        "tags": {"category": "tool-poisoning"},
        "detection": {
            "conditions": [{"field": "content", "operator": "regex", "value": "evil"}],
            "condition": "any",
        },
    }


@pytest.fixture
async def bundle(harness: FederationHarness, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The package is the upstream `atr`."""
    monkeypatch.setenv("PYTHONPATH", str(harness.folder))
    await harness.configure(PackageUpstream(name="atr", package="bundled_rules"))
    return Bundle(harness.folder)


async def test_all_833_rules_of_pyatr_are_served(harness: FederationHarness) -> None:
    await harness.configure(PackageUpstream(name="atr", package="pyatr"))
    result = await harness.pull()
    assert (result.outcome, result.added, result.set_aside) == ("changed", 833, 0)
    assert (await harness.pull()).outcome == "unchanged"
    assert (await harness.status()).version == "0.3.1"


async def test_a_pull_adds_changes_and_withdraws(harness: FederationHarness, bundle: Bundle) -> None:
    bundle.write(bundled("ATR-1"), bundled("ATR-2"))
    await harness.pull()
    assert await harness.served() == {"ATR-1": "A title", "ATR-2": "A title"}
    bundle.write(bundled("ATR-2", "Another title"), bundled("ATR-1"), bundled("ATR-3"))
    await harness.configure(PackageUpstream(name="atr", package="bundled_rules", max_changed_percent=50))
    await harness.pull()
    assert await harness.served() == {"ATR-1": "A title", "ATR-2": "Another title", "ATR-3": "A title"}


async def test_one_bad_rule_is_set_aside_with_its_reason_and_the_rest_goes_on(
    harness: FederationHarness, bundle: Bundle
) -> None:
    bundle.write(bundled("ATR-1"), bundled("ATR-2") | {"severity": "enormous"}, bundled("ATR-1", "Twice"))
    await harness.pull()
    assert set(await harness.served()) == {"ATR-1"}
    aside = {item.rule_id: item.reason for item in await harness.federation.set_aside("atr")}
    assert "severity" in aside["ATR-2"]
    assert "only one can" in aside["ATR-1"]


@pytest.mark.parametrize("content", ["not json", '{"rules": []}', "[1, 2]", None])
async def test_a_bundle_that_cannot_be_read_keeps_the_last_good_set(
    harness: FederationHarness, bundle: Bundle, content: str | None
) -> None:
    bundle.write(bundled("ATR-1"))
    await harness.pull()
    if content is None:
        bundle.path.unlink()
    else:
        bundle.path.write_text(content)
    assert (await harness.pull()).failure is not None
    assert set(await harness.served()) == {"ATR-1"}
    assert (await harness.status()).state == "failing"


async def test_what_is_enough_for_the_package_is_not_enough_for_other_kinds(
    harness: FederationHarness, bundle: Bundle
) -> None:
    """Also when the very text is known from the package already."""
    bundle.write(bundled("ATR-1"))
    await harness.pull()
    (text,) = await harness.storage.read(lambda db: db.execute("SELECT text FROM rule_text").fetchone())
    harness.rules().write("ATR-1", text)
    await harness.configure(harness.directory())
    result = await harness.pull()
    assert (result.outcome, result.set_aside) == ("unchanged", 1)
    assert set(await harness.served()) == {"ATR-1"}
