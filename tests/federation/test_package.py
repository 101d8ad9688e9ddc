"""The embedded rules: read as data, reconciled by content, all or nothing."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.federation.package import FILE_NAME, read_package
from app.federation.pull import Federation
from app.federation.reconcile import reconcile
from app.federation.upstream import Upstream
from app.rules.inspect import inspect_text
from app.rules.store import hold_rule, put_text, rules_with_id
from app.rules.validate import Profile
from app.storage import Storage
from tests.example_rules import rule_text

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
UPSTREAM = Upstream(name="atr", kind="package", package="bundled_rules")
digests = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("12"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@given(digests, digests)
def test_reconciling_leads_from_what_is_held_to_what_is_offered(held: Any, offered: Any) -> None:
    changes = reconcile(held, offered)
    result = {rule_id: digest for rule_id, digest in held.items() if rule_id not in changes.withdrawn}
    result |= {rule_id: offered[rule_id] for rule_id in (*changes.added, *changes.changed)}
    assert result == offered
    assert bool(changes) == (held != offered)


def test_all_833_rules_of_pyatr_are_fit_to_serve_and_none_of_its_code_is_imported() -> None:
    import sys  # noqa: PLC0415

    offer = read_package("pyatr")
    assert offer.error is None
    assert len(offer.rules) == 833
    assert offer.set_aside == ()
    assert "pyatr" not in sys.modules
    texts = [rule.text for rule in offer.rules]
    assert texts[0].startswith("title: ")
    assert [rule.text for rule in read_package("pyatr").rules] == texts


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
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Bundle(tmp_path)


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    opened = Storage(tmp_path)
    yield opened
    await opened.close()


async def held(storage: Storage) -> dict[str, str]:
    rows = await storage.read(
        lambda db: db.execute("SELECT rule_id, state FROM rule WHERE origin = 'upstream:atr'").fetchall()
    )
    return dict(rows)


@pytest.mark.anyio
async def test_a_pull_adds_changes_and_withdraws(storage: Storage, bundle: Bundle) -> None:
    federation = Federation(storage, [UPSTREAM])
    bundle.write(bundled("ATR-1"), bundled("ATR-2"))
    await federation.pull_all(NOW)
    assert await held(storage) == {"ATR-1": "active", "ATR-2": "active"}
    bundle.write(bundled("ATR-2", "Another title"), bundled("ATR-3"))
    await federation.pull_all(NOW)
    assert await held(storage) == {"ATR-1": "withdrawn", "ATR-2": "active", "ATR-3": "active"}
    await Federation(storage, []).pull_all(NOW)
    assert set((await held(storage)).values()) == {"withdrawn"}


@pytest.mark.anyio
async def test_one_bad_rule_is_set_aside_with_its_reason_and_the_rest_goes_on(
    storage: Storage, bundle: Bundle
) -> None:
    bundle.write(bundled("ATR-1"), bundled("ATR-2") | {"severity": "enormous"}, bundled("ATR-1", "Twice"))
    await Federation(storage, [UPSTREAM]).pull_all(NOW)
    assert await held(storage) == {"ATR-1": "active"}
    (text,) = await storage.read(lambda db: db.execute("SELECT set_aside FROM upstream").fetchone())
    aside = {item["rule_id"]: item["reason"] for item in json.loads(text)}
    assert "severity" in aside["ATR-2"]
    assert "twice" in aside["ATR-1"]


@pytest.mark.anyio
@pytest.mark.parametrize("content", ["not json", '{"rules": []}', "[1, 2]", None])
async def test_a_bundle_that_cannot_be_read_keeps_the_last_good_set(
    storage: Storage, bundle: Bundle, content: str | None
) -> None:
    federation = Federation(storage, [UPSTREAM])
    bundle.write(bundled("ATR-1"))
    await federation.pull_all(NOW)
    if content is None:
        bundle.path.unlink()
    else:
        bundle.path.write_text(content)
    await federation.pull_all(NOW)
    assert await held(storage) == {"ATR-1": "active"}
    (error,) = await storage.read(lambda db: db.execute("SELECT error FROM upstream").fetchone())
    assert error


@pytest.mark.anyio
async def test_upstream_gets_its_id_back_from_a_community_rule(storage: Storage, bundle: Bundle) -> None:
    text = rule_text("ATR-2026-90001")

    def squat(db: Any) -> None:
        digest = put_text(db, inspect_text(text, profile=Profile.PUBLISHED), text)
        hold_rule(
            db,
            origin="community",
            rule_id="ATR-2026-90001",
            digest=digest,
            state="active",
            at="2026-11-20T00:00:00.000Z",
            pattern_hash="0123456789abcdef",
        )

    await storage.write(squat)
    bundle.write(bundled("ATR-2026-90001"))
    await Federation(storage, [UPSTREAM]).pull_all(NOW)
    rules = await storage.read(lambda db: rules_with_id(db, "ATR-2026-90001"))
    assert [rule.origin for rule in rules] == ["upstream:atr"]
    community = await storage.read(
        lambda db: db.execute("SELECT rule_id FROM rule WHERE origin = 'community'").fetchone()[0]
    )
    assert community.startswith("ATR-LOCAL-")
