"""Pulls end to end, from a folder of rules: what is served, held, recorded and remembered."""

from datetime import timedelta
from typing import Any

import pytest

from app.federation.errors import (
    NothingToPull,
    PendingChangesMoved,
    PullsFrozen,
    UnknownChange,
    UnknownUpstream,
)
from app.federation.service import Federation
from app.federation.upstream import BundleUpstream
from app.http.paging import Page
from app.http.timestamps import from_text
from app.rules.store import rules_with_id
from tests.clock import NOW, NOW_TEXT
from tests.database import put_rule
from tests.example_rules import rule_text
from tests.federation.harness import IDS, FederationHarness

pytestmark = pytest.mark.anyio
TITLE = "Asks for the tool registry's signing key"


def text(rule_id: str, title: str = "Another title", **options: Any) -> str:
    return rule_text(rule_id, title=title, **options)


async def pulled_ten(harness: FederationHarness) -> None:
    """All ten rules are in service."""
    harness.rules().offer(IDS)
    result = await harness.pull()
    assert (result.outcome, result.added) == ("changed", 10)


async def test_a_pull_adds_changes_and_withdraws(harness: FederationHarness) -> None:
    await pulled_ten(harness)
    harness.rules().remove(IDS[0])
    harness.rules().write(IDS[1], text(IDS[1]))
    harness.rules().write("ATR-2026-00099")
    result = await harness.pull()
    assert (result.outcome, result.added, result.changed, result.withdrawn) == ("changed", 1, 1, 1)
    served = await harness.served()
    assert IDS[0] not in served
    assert served[IDS[1]] == "Another title"
    assert served["ATR-2026-00099"] == TITLE
    assert harness.published == [
        "pull of atr: 10 added, 0 changed, 0 withdrawn",
        "pull of atr: 1 added, 1 changed, 1 withdrawn",
    ]


async def test_a_pull_with_nothing_new_publishes_and_audits_nothing(harness: FederationHarness) -> None:
    await pulled_ten(harness)
    result = await harness.pull()
    assert result.outcome == "unchanged"
    assert len(harness.published) == 1
    (entry,) = await harness.audited("upstream.pull")
    assert entry["added"] == 10
    assert entry["rules"] == {"added": IDS}
    status = await harness.status()
    assert (status.state, status.rules) == ("ok", 10)
    assert (status.stale_seconds or 0) < 10
    assert from_text(status.last_success or "") >= NOW + timedelta(minutes=2)
    assert from_text(status.last_change or "") < NOW + timedelta(minutes=2)


async def test_a_file_that_was_only_touched_is_no_change(harness: FederationHarness) -> None:
    await pulled_ten(harness)
    harness.rules().write(IDS[0])
    harness.rules().write(IDS[0], rule_text(IDS[0]))
    result = await harness.pull()
    assert result.outcome == "unchanged"
    assert await harness.count("upstream_version") == 1


async def test_rules_know_where_they_come_from(harness: FederationHarness) -> None:
    await pulled_ten(harness)
    harness.rules().write(IDS[1], text(IDS[1]))
    await harness.pull()
    rows = await harness.storage.read(
        lambda db: db.execute(
            "SELECT rule_id, source, version, first_seen < changed_at FROM rule ORDER BY rule_id LIMIT 2"
        ).fetchall()
    )
    # What did not change is at the new version too: it has this very text.
    assert rows == [(IDS[0], "atr", 2, 0), (IDS[1], "atr", 2, 1)]
    versions = await harness.federation.list_versions("atr", Page(10, None))
    assert [(v.id, v.total, v.in_use) for v in versions] == [(2, 10, True), (1, 10, False)]


@pytest.mark.parametrize(
    "broken",
    [
        f"id: {IDS[0]}\ntitle: [",
        rule_text(IDS[0], severity="enormous"),
        rule_text(IDS[0]).replace("detection:", "detections:"),
        "",
    ],
)
async def test_a_broken_rule_is_set_aside_and_its_last_good_text_stays(
    harness: FederationHarness, broken: str
) -> None:
    await pulled_ten(harness)
    harness.rules().write(IDS[0], broken)
    harness.rules().write(IDS[1], text(IDS[1]))
    result = await harness.pull()
    assert (result.outcome, result.changed, result.withdrawn, result.set_aside) == ("changed", 1, 0, 1)
    served = await harness.served()
    assert (served[IDS[0]], served[IDS[1]]) == (TITLE, "Another title")
    (aside,) = await harness.federation.set_aside("atr")
    assert aside.rule_id == IDS[0]
    assert aside.reason
    harness.rules().write(IDS[0], text(IDS[0]))
    assert (await harness.pull()).set_aside == 0
    assert (await harness.served())[IDS[0]] == "Another title"


async def test_of_two_files_with_one_id_the_one_that_is_called_so_wins(harness: FederationHarness) -> None:
    harness.rules().write("x", text(IDS[0], "Squatter"), name="a.yaml")
    harness.rules().write("x", text(IDS[0], "Second"), name="b.yaml")
    harness.rules().write("x", text(IDS[0], "Second"), name="c.yaml")
    result = await harness.pull()
    assert (result.added, result.set_aside) == (1, 2)
    assert await harness.served() == {IDS[0]: "Squatter"}
    reasons = [aside.reason for aside in await harness.federation.set_aside("atr")]
    assert all("a.yaml" in reason for reason in reasons)


async def test_a_shrinking_upstream_is_held_and_a_plausible_answer_clears_that(
    harness: FederationHarness,
) -> None:
    await pulled_ten(harness)
    harness.rules().offer(IDS[:5])
    harness.rules().write("ATR-2026-00099")
    result = await harness.pull()
    assert (result.outcome, result.held, result.withdrawn) == ("held", 6, 0)
    assert len(await harness.served()) == 10
    assert (await harness.held())[IDS[9]] == ("withdrawn", ["shrink"])
    assert (await harness.held())["ATR-2026-00099"] == ("added", ["shrink"])
    assert len(harness.published) == 1
    assert (await harness.audited("upstream.pull"))[0]["reasons"] == ["shrink"]
    assert (await harness.pull()).outcome == "unchanged"
    assert (await harness.status()).held == 6
    harness.rules().offer(IDS)
    result = await harness.pull()
    assert (result.outcome, result.held) == ("unchanged", 0)
    assert (await harness.status()).held == 0


async def test_an_empty_upstream_is_held(harness: FederationHarness) -> None:
    await pulled_ten(harness)
    harness.rules().offer([])
    assert (await harness.pull()).outcome == "held"
    assert (await harness.held())[IDS[0]] == ("withdrawn", ["empty", "shrink"])
    assert len(await harness.served()) == 10


async def test_a_churning_upstream_is_held(harness: FederationHarness) -> None:
    await pulled_ten(harness)
    for rule_id in IDS[:4]:
        harness.rules().write(rule_id, text(rule_id))
    assert (await harness.pull()).outcome == "held"
    assert (await harness.held())[IDS[0]] == ("changed", ["churn"])
    assert set((await harness.served()).values()) == {TITLE}


async def test_what_is_held_keeps_its_time_while_it_stays_the_same(harness: FederationHarness) -> None:
    await pulled_ten(harness)
    harness.rules().offer(IDS[:5])
    await harness.pull()
    (first, *_), _, _ = await harness.federation.list_pending("atr", Page(10, None), "held")
    harness.rules().remove(IDS[0])
    await harness.pull()
    rows, _, total = await harness.federation.list_pending("atr", Page(10, None), "held")
    assert total == 6
    since = {row.rule_id: row.held_at for row in rows}
    assert since[first.rule_id] == first.held_at
    assert since[IDS[0]] > first.held_at


async def test_additive_withdraws_nothing(harness: FederationHarness) -> None:
    await harness.configure(harness.directory(policy="additive"))
    await pulled_ten(harness)
    harness.rules().offer(IDS[:2])
    harness.rules().write(IDS[1], text(IDS[1]))
    result = await harness.pull()
    assert (result.outcome, result.changed, result.withdrawn, result.held) == ("changed", 1, 0, 0)
    assert len(await harness.served()) == 10
    harness.rules().offer([])
    assert (await harness.pull()).outcome == "unchanged"
    assert len(await harness.served()) == 10


async def test_review_holds_everything_until_it_is_approved(harness: FederationHarness) -> None:
    await harness.configure(harness.directory(policy="review"))
    harness.rules().offer(IDS)
    assert (await harness.pull()).held == 10
    assert await harness.served() == {}
    approved, serial = await harness.federation.approve("atr", IDS[:2], harness.by(), "fine")
    assert (approved, serial) == (IDS[:2], 1)
    assert set(await harness.served()) == set(IDS[:2])
    assert (await harness.status()).held == 8
    (entry,) = await harness.audited("upstream.approve")
    assert entry == {"count": 2, "rules": IDS[:2], "reason": "fine"}
    assert (await harness.pull()).outcome == "unchanged"
    assert await harness.approve() == IDS[2:]
    assert len(await harness.served()) == 10


async def test_an_approved_rule_knows_its_version(harness: FederationHarness) -> None:
    await harness.configure(harness.directory(policy="review"))
    harness.rules().offer(IDS)
    await harness.pull()
    await harness.approve()
    rows = await harness.storage.read(
        lambda db: db.execute("SELECT DISTINCT source, version FROM rule").fetchall()
    )
    assert rows == [("atr", 1)]


async def test_a_held_change_shows_both_texts(harness: FederationHarness) -> None:
    await harness.configure(harness.directory(policy="review"))
    harness.rules().offer(IDS[:2])
    await harness.pull()
    shown, before, after = await harness.federation.show_pending("atr", IDS[0])
    assert (shown.change, shown.title, shown.severity, before, after) == (
        "added",
        TITLE,
        "high",
        None,
        rule_text(IDS[0]),
    )
    await harness.approve()
    harness.rules().write(IDS[0], text(IDS[0], severity="low"))
    harness.rules().remove(IDS[1])
    await harness.pull()
    shown, before, after = await harness.federation.show_pending("atr", IDS[0])
    assert (shown.change, shown.title, shown.severity) == ("changed", "Another title", "low")
    assert (before, after) == (rule_text(IDS[0]), text(IDS[0], severity="low"))
    shown, before, after = await harness.federation.show_pending("atr", IDS[1])
    assert (shown.change, shown.title, before, after) == ("withdrawn", TITLE, rule_text(IDS[1]), None)


async def test_a_refused_change_stays_refused_until_upstream_offers_another(
    harness: FederationHarness,
) -> None:
    await harness.configure(harness.directory(policy="review"))
    harness.rules().offer(IDS[:2])
    await harness.pull()
    await harness.approve()
    harness.rules().write(IDS[0], text(IDS[0], "Bad"))
    await harness.pull()
    assert await harness.refuse() == [IDS[0]]
    assert await harness.audited("upstream.refuse") == [
        {"count": 1, "rules": [IDS[0]], "reason": "not wanted"}
    ]
    harness.rules().write("ATR-2026-00099")
    await harness.pull()
    assert set(await harness.held()) == {"ATR-2026-00099"}
    (refused,), _, total = await harness.federation.list_pending("atr", Page(10, None), "refused")
    assert (refused.rule_id, refused.note, refused.decided_by, total) == (
        IDS[0],
        "not wanted",
        "rita (key 1)",
        1,
    )
    await harness.configure(harness.directory())
    await harness.pull()
    assert await harness.served() == {IDS[0]: TITLE, IDS[1]: TITLE, "ATR-2026-00099": TITLE}
    harness.rules().write(IDS[0], text(IDS[0], "Better"))
    await harness.configure(harness.directory(max_changed_percent=100))
    await harness.pull()
    assert (await harness.served())[IDS[0]] == "Better"
    assert (await harness.status()).refused == 0


async def test_a_refused_change_can_be_approved_by_name_only(harness: FederationHarness) -> None:
    await harness.configure(harness.directory(policy="review"))
    harness.rules().offer(IDS[:2])
    await harness.pull()
    await harness.refuse(IDS[0])
    assert await harness.approve() == [IDS[1]]
    assert await harness.approve(IDS[0]) == [IDS[0]]
    assert set(await harness.served()) == set(IDS[:2])


async def test_decisions_name_what_there_is(harness: FederationHarness) -> None:
    await harness.configure(harness.directory(policy="review"))
    harness.rules().offer(IDS[:2])
    await harness.pull()
    with pytest.raises(UnknownChange, match="ATR-2026-00077"):
        await harness.approve(IDS[0], "ATR-2026-00077")
    assert await harness.served() == {}
    _, digest, _ = await harness.federation.list_pending("atr", Page(1, None), "held")
    harness.rules().write("ATR-2026-00099")
    await harness.pull()
    with pytest.raises(PendingChangesMoved) as moved:
        await harness.approve(digest=digest)
    assert await harness.served() == {}
    assert await harness.approve(digest=moved.value.digest) == [*IDS[:2], "ATR-2026-00099"]
    with pytest.raises(UnknownChange):
        await harness.refuse(IDS[0])
    with pytest.raises(UnknownChange):
        await harness.federation.show_pending("atr", IDS[0])
    with pytest.raises(UnknownUpstream):
        await harness.federation.approve("other", None, harness.by())
    assert await harness.approve() == []


async def test_a_failure_changes_nothing_and_is_logged_once(
    harness: FederationHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await pulled_ten(harness)
    harness.rules().path.rename(harness.folder / "elsewhere")
    first, second = await harness.pull(), await harness.pull()
    assert first.failure is not None
    assert second.failure is not None
    assert (first.outcome, first.failure.code, first.failure.failures) == ("failed", "not-found", 1)
    assert second.failure.failures == 2
    assert len(await harness.served()) == 10
    status = await harness.status()
    assert (status.state, status.rules, status.version is not None) == ("failing", 10, True)
    assert status.failure == second.failure
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == ["pull failed"]
    (harness.folder / "elsewhere").rename(harness.rules().path)
    assert (await harness.pull()).failure is None
    assert (await harness.status()).state == "ok"
    outcomes = [entry["outcome"] for entry in await harness.audited("upstream.pull")]
    assert outcomes == ["unchanged", "failed", "changed"]


async def test_a_dead_worker_is_a_failure_like_any_other(
    harness: FederationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pulled_ten(harness)
    harness.rules().write(IDS[0], text(IDS[0]))
    monkeypatch.setattr("app.federation.pull.inspect_items", _dies)
    result = await harness.pull()
    assert result.failure is not None
    assert result.failure.code == "worker"
    assert set((await harness.served()).values()) == {TITLE}
    assert not list((harness.folder / "spool").iterdir())
    monkeypatch.undo()
    assert (await harness.pull()).changed == 1


def _dies(spool: str, spans: list[tuple[int, int]], profile: str) -> None:
    """Runs in the sandbox's child."""
    import os  # noqa: PLC0415

    os._exit(1)


async def test_an_upstream_that_is_configured_no_more_is_withdrawn_and_can_come_back(
    harness: FederationHarness,
) -> None:
    await pulled_ten(harness)
    harness.rules().offer(IDS[:5])
    await harness.pull()
    await harness.configure()
    assert await harness.served() == {}
    assert await harness.count("held_change") == 0
    assert await harness.audited("upstream.removed") == [{"withdrawn": 10}]
    with pytest.raises(UnknownUpstream):
        await harness.pull()
    await harness.configure(harness.directory())
    assert (await harness.pull()).added == 5
    assert set(await harness.served()) == set(IDS[:5])


async def test_a_command_with_another_configuration_withdraws_nothing(harness: FederationHarness) -> None:
    await pulled_ten(harness)
    other = Federation(harness.storage, [harness.directory("other")], harness.folder, _nothing, _nothing)
    await other.adopt(harness.now, withdraw=False)
    assert len(await harness.served()) == 10
    assert (await harness.pull()).outcome == "unchanged"


async def _nothing(*_: str) -> None:
    return None


async def test_filters_keep_rules_out_without_a_pull_and_are_no_shrink(harness: FederationHarness) -> None:
    harness.rules().offer(IDS)
    harness.rules().write(IDS[0], text(IDS[0], severity="low"))
    await harness.pull()
    await harness.configure(harness.directory(include={"severity": ["low"]}))
    assert set(await harness.served()) == {IDS[0]}
    status = await harness.status()
    assert (status.rules, status.excluded) == (10, 9)
    assert (await harness.pull()).outcome == "unchanged"
    harness.rules().write(IDS[1], text(IDS[1], severity="low"))
    assert (await harness.pull()).changed == 1
    assert set(await harness.served()) == set(IDS[:2])
    harness.rules().write("ATR-2026-00099")
    assert (await harness.pull()).added == 1
    assert set(await harness.served()) == set(IDS[:2])
    await harness.configure(harness.directory())
    assert len(await harness.served()) == 11


async def test_an_approved_change_meets_the_filters_too(harness: FederationHarness) -> None:
    await harness.configure(harness.directory(policy="review", exclude={"severity": ["high"]}))
    harness.rules().offer(IDS[:1])
    await harness.pull()
    assert await harness.approve() == IDS[:1]
    assert await harness.served() == {}
    assert (await harness.status()).excluded == 1


async def test_two_upstreams_may_offer_one_id(harness: FederationHarness) -> None:
    await harness.configure(harness.directory(), harness.directory("other"))
    harness.rules().offer(IDS[:1])
    harness.rules("other").write(IDS[0], text(IDS[0]))
    await harness.pull()
    await harness.pull("other")
    assert await harness.served() == {IDS[0]: TITLE}
    assert await harness.served("other") == {IDS[0]: "Another title"}
    harness.rules("other").offer(["ATR-2026-00099"])
    await harness.configure(harness.directory(), harness.directory("other", max_withdrawn_percent=100))
    await harness.pull("other")
    assert await harness.served() == {IDS[0]: TITLE}


async def test_upstream_gets_its_id_back_from_a_community_rule(harness: FederationHarness) -> None:
    await harness.storage.write(
        lambda db: put_rule(
            db, IDS[0], rule_text(IDS[0]), origin="community", pattern_hash="0123456789abcdef"
        )
    )
    harness.rules().offer(IDS[:1])
    await harness.pull()
    rules = await harness.storage.read(lambda db: rules_with_id(db, IDS[0]))
    assert [rule.origin for rule in rules] == ["upstream:atr"]
    community = await harness.storage.read(
        lambda db: db.execute("SELECT rule_id FROM rule WHERE origin = 'community'").fetchone()[0]
    )
    assert community.startswith("ATR-LOCAL-")


async def test_a_rollback_holds_pulls_and_lets_approvals_through(harness: FederationHarness) -> None:
    await pulled_ten(harness)
    harness.rules().offer(IDS[:5])
    await harness.pull()
    harness.hold = "to publication 1"
    with pytest.raises(PullsFrozen, match="to publication 1"):
        await harness.pull()
    assert (await harness.status()).paused == "to publication 1"
    assert await harness.federation.due(harness.now) == []
    await harness.federation.start_if_due("atr", harness.now + timedelta(days=1))
    assert len(await harness.approve()) == 5
    assert len(await harness.served()) == 5
    harness.hold = None
    assert (await harness.status()).paused is None
    assert (await harness.pull()).outcome == "unchanged"


async def test_a_bundle_without_a_path_is_not_pulled(harness: FederationHarness) -> None:
    bundles = BundleUpstream(name="bundles", key_file="/etc/key.pem")
    await harness.configure(bundles)
    with pytest.raises(NothingToPull):
        await harness.federation.pull("bundles", harness.now)
    status = await harness.status("bundles")
    assert (status.state, status.next_pull, status.stale_after) == ("never", None, None)
    assert await harness.federation.due(harness.now) == []


async def test_versions_and_texts_that_nothing_needs_are_dropped(
    harness: FederationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.federation.versions_store.KEEP", 2)
    monkeypatch.setattr("app.federation.versions_store.STEP", 1)
    await harness.configure(harness.directory(policy="additive"))
    await pulled_ten(harness)
    harness.rules().remove(IDS[9])
    for number in range(4):
        harness.rules().write(IDS[0], text(IDS[0], f"Title {number}"))
        await harness.pull()
    versions = await harness.federation.list_versions("atr", Page(500, None))
    # The first one is kept since it has the rule that upstream dropped and that is served still.
    assert [(version.id, version.in_use) for version in versions] == [(5, True), (4, False), (1, True)]
    assert (await harness.served())[IDS[9]] == TITLE
    assert await harness.count("rule_text") == 10 + 2
    assert await harness.storage.read(lambda db: db.execute("PRAGMA foreign_key_check").fetchall()) == []
    await harness.configure(harness.directory(max_withdrawn_percent=10))
    await harness.pull()
    harness.rules().write(IDS[0], text(IDS[0], "Title 4"))
    await harness.pull()
    versions = await harness.federation.list_versions("atr", Page(500, None))
    assert [version.id for version in versions] == [6, 5]
    row = await harness.storage.read(
        lambda db: db.execute("SELECT state, version FROM rule WHERE rule_id = ?", [IDS[9]]).fetchone()
    )
    assert row == ("withdrawn", None)


async def test_a_refused_change_keeps_its_version_and_its_text(
    harness: FederationHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.federation.versions_store.KEEP", 1)
    await pulled_ten(harness)
    await harness.configure(harness.directory(policy="review"))
    harness.rules().write(IDS[0], text(IDS[0]))
    await harness.pull()
    await harness.refuse()
    harness.rules().write(IDS[0], rule_text(IDS[0]))
    for rule_id in ("ATR-2026-00098", "ATR-2026-00099"):
        harness.rules().write(rule_id)
        await harness.pull()
    versions = await harness.federation.list_versions("atr", Page(500, None))
    assert [(version.id, version.in_use) for version in versions] == [(4, True), (2, True)]
    _, _, after = await harness.federation.show_pending("atr", IDS[0])
    assert after == text(IDS[0])


@pytest.mark.parametrize("column", ["digest", "base"])
async def test_a_text_that_an_overlay_entry_names_is_kept(
    harness: FederationHarness, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    monkeypatch.setattr("app.federation.versions_store.KEEP", 1)
    await harness.configure(harness.directory(max_withdrawn_percent=100))
    await pulled_ten(harness)
    await harness.storage.write(
        lambda db: (
            db.execute(
                f"INSERT INTO overlay (id, rule_id, action, {column}, owner, reason, created_at, declared)"
                f" SELECT {column!r}, rule_id, 'pin', digest, 'rita', 'r', ?, 'api' FROM rule WHERE rule_id = ?",
                [NOW_TEXT, IDS[0]],
            ).rowcount
        )
    )
    harness.rules().offer(IDS[2:])
    await harness.pull()
    await harness.storage.write(lambda db: db.execute("DELETE FROM rule WHERE state = 'withdrawn'").rowcount)
    harness.rules().write("ATR-2026-00099")
    assert (await harness.pull()).failure is None
    assert await harness.count("rule_text") == 8 + 1 + 1


async def test_pages_of_versions_and_held_changes_go_on_where_they_ended(harness: FederationHarness) -> None:
    await harness.configure(harness.directory(policy="review"))
    harness.rules().offer(IDS)
    await harness.pull()
    rows, _, total = await harness.federation.list_pending("atr", Page(4, None), "held")
    assert (len(rows), total) == (5, 10)
    rows, _, _ = await harness.federation.list_pending("atr", Page(4, (rows[3].rule_id,)), "held")
    assert rows[0].rule_id == IDS[4]
    harness.rules().remove(IDS[0])
    await harness.pull()
    (newest, _) = await harness.federation.list_versions("atr", Page(1, None))
    (older,) = await harness.federation.list_versions("atr", Page(1, (str(newest.id),)))
    assert older.total == 10


async def test_an_upstream_that_was_not_heard_of_for_long_is_stale(harness: FederationHarness) -> None:
    assert (await harness.status()).state == "never"
    await pulled_ten(harness)
    status = await harness.federation.status("atr", harness.now + timedelta(seconds=899))
    assert (status.state, status.stale_after) == ("ok", 900)
    status = await harness.federation.status("atr", harness.now + timedelta(seconds=1000))
    assert status.state == "stale"
    assert status.stale_seconds == pytest.approx(1000, abs=10)
