"""Overlay entries in a real database: made, declared, settled, compared, ended."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from app.access.principal import Actor
from app.config import Config, ConfigError, load_config
from app.overlay.errors import EntryRefused, ReplacementRefused, UnknownEntry
from app.overlay.store import entries
from app.rules.inspect import inspect_text
from app.rules.validate import Profile
from tests.clock import NOW
from tests.database import put_rule
from tests.example_rules import rule_text
from tests.overlay.harness import RULE, OverlayHarness

HOUR = timedelta(hours=1)
pytestmark = pytest.mark.anyio


async def test_a_disabled_rule_stays_out_through_updates_until_the_entry_is_removed(
    harness: OverlayHarness,
) -> None:
    await harness.upstream_says(rule_text(RULE))
    made = await harness.add("disable")
    assert (made.state, made.base_moved, made.upstream) == ("active", False, "upstream:atr")
    assert await harness.served() == {}
    await harness.upstream_says(rule_text(RULE, title="Better now"))
    assert await harness.served() == {}
    assert (await harness.listed())["disable"].base_moved
    await harness.overlays.remove(made.id, "it is better now", Actor("admin", None, NOW))
    assert await harness.served() == {RULE: rule_text(RULE, title="Better now")}
    assert await harness.actions() == ["overlay.add", "overlay.remove"]
    assert len(harness.published) == 2
    with pytest.raises(UnknownEntry):
        await harness.overlays.remove(made.id, None, Actor("admin", None, NOW))


async def test_a_severity_is_served_in_the_text_and_follows_upstream(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE))
    await harness.add("severity", severity="low")
    assert await harness.served() == {RULE: rule_text(RULE, severity="low")}
    await harness.upstream_says(rule_text(RULE, title="Another"))
    assert await harness.served() == {RULE: rule_text(RULE, title="Another", severity="low")}
    await harness.upstream_says(rule_text(RULE, severity="low"))
    assert (await harness.listed())["severity"].state == "idle"
    assert await harness.overlaid() == []


async def test_a_pin_keeps_the_text_in_service_and_a_severity_goes_with_it(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE))
    await harness.add("pin")
    await harness.add("severity", severity="critical")
    await harness.upstream_says(rule_text(RULE, title="Another"))
    assert await harness.served() == {RULE: rule_text(RULE, severity="critical")}
    listed = await harness.listed()
    assert {entry.state for entry in listed.values()} == {"active"}
    assert all(entry.base_moved for entry in listed.values())


async def test_a_pin_names_a_kept_version_by_label_or_number(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE, title="One"), label="4.0.0")
    await harness.upstream_says(rule_text(RULE, title="Two"), label="4.1.0")
    await harness.upstream_says(rule_text(RULE, title="Three"), label="4.2.0")
    await harness.add("pin", version="4.0.0")
    assert await harness.served() == {RULE: rule_text(RULE, title="One")}
    await harness.add("pin", version="2")
    assert await harness.served() == {RULE: rule_text(RULE, title="Two")}
    await harness.upstream_says(rule_text(RULE, title="Four"), label="2")
    await harness.upstream_says(rule_text(RULE, title="Five"), label="2")
    await harness.add("pin", version="2")
    assert await harness.served() == {RULE: rule_text(RULE, title="Five")}, "labels first, the newest of them"
    with pytest.raises(EntryRefused, match=r"9\.9\.9"):
        await harness.add("pin", version="9.9.9")
    assert len(await harness.listed()) == 1


async def test_a_replacement_is_checked_like_an_import_and_keeps_the_id(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE))
    with pytest.raises(ReplacementRefused) as caught:
        await harness.add("replace", text=rule_text("ATR-2026-00009", severity="huge", title=""))
    assert [mistake.field for mistake in caught.value.errors] == ["title", "severity"]
    with pytest.raises(ReplacementRefused) as caught:
        await harness.add("replace", text=rule_text("ATR-2026-00009"))
    assert [mistake.field for mistake in caught.value.errors] == ["id"]
    with pytest.raises(ReplacementRefused):
        await harness.add("replace", text="- not a rule")
    assert await harness.listed() == {}
    made = await harness.add("replace", text=rule_text(RULE, pattern="(a+)+$"))
    assert made.guard_refusal is not None
    assert await harness.served() == {RULE: rule_text(RULE, pattern="(a+)+$")}


async def test_three_ways_show_who_changed_what(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE))
    made = await harness.add("replace", text=rule_text(RULE, severity="low", title="Ours"))
    await harness.upstream_says(rule_text(RULE, severity="critical", pattern="another pattern"))
    shown = await harness.overlays.show(made.id, NOW)
    assert shown.base_moved
    assert shown.base_text == rule_text(RULE)
    assert shown.our_text == rule_text(RULE, severity="low", title="Ours")
    assert shown.upstream_text == rule_text(RULE, severity="critical", pattern="another pattern")
    assert [change.path for change in shown.ours] == ["title", "severity"]
    assert [change.path for change in shown.theirs] == ["severity", "detection.conditions[0].value"]
    assert shown.conflicts == ["severity"]


async def test_a_severity_shows_what_it_makes_of_the_base(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE))
    made = await harness.add("severity", severity="low")
    await harness.upstream_says(rule_text(RULE, severity="medium"))
    shown = await harness.overlays.show(made.id, NOW)
    assert shown.our_text == rule_text(RULE, severity="low")
    assert shown.conflicts == ["severity"]
    assert [(c.before, c.after) for c in (*shown.theirs, *shown.ours)] == [
        ("high", "medium"),
        ("high", "low"),
    ]
    await harness.upstream_drops()
    shown = await harness.overlays.show(made.id, NOW)
    assert (shown.state, shown.upstream_text, shown.theirs) == ("idle", None, [])
    assert await harness.overlaid() == []


async def test_a_filter_yields_to_enable_and_to_nothing_else(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE), excluded="severity: only critical")
    await harness.add("severity", severity="low")
    assert await harness.served() == {}
    assert (await harness.listed())["severity"].state == "idle"
    await harness.add("enable")
    assert await harness.served() == {RULE: rule_text(RULE, severity="low")}
    assert {entry.state for entry in (await harness.listed()).values()} == {"active"}


async def test_an_entry_waits_for_its_rule_and_takes_the_first_text_as_base(harness: OverlayHarness) -> None:
    made = await harness.add("severity", severity="low")
    assert (made.state, made.upstream, made.base) == ("idle", None, None)
    with pytest.raises(EntryRefused, match="no text to pin"):
        await harness.add("pin")
    digest = await harness.upstream_says(rule_text(RULE))
    listed = (await harness.listed())["severity"]
    assert (listed.state, listed.base, listed.base_moved) == ("active", digest, False)
    assert await harness.served() == {RULE: rule_text(RULE, severity="low")}


async def test_opposites_are_refused_and_the_same_again_takes_the_place_of_the_old_one(
    harness: OverlayHarness,
) -> None:
    first = await harness.upstream_says(rule_text(RULE))
    await harness.add("disable")
    with pytest.raises(EntryRefused, match="says disable"):
        await harness.add("enable")
    old = await harness.add("replace", text=rule_text(RULE, title="Ours"))
    with pytest.raises(EntryRefused, match="says replace"):
        await harness.add("pin")
    second = await harness.upstream_says(rule_text(RULE, title="Theirs"))
    new = await harness.add("replace", text=rule_text(RULE, title="Ours, brought up to date"))
    assert (old.base, new.base) == (first, second)
    assert not new.base_moved
    assert len(await harness.listed()) == 2


async def test_expiry_comes_with_time_and_publishes_once(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE))
    await harness.overlays.adopt(NOW)
    await harness.add("disable", ends=HOUR)
    published = len(harness.published)
    await harness.overlays.recompute(NOW + HOUR - timedelta(seconds=1))
    assert await harness.served() == {}
    assert len(harness.published) == published
    await harness.overlays.recompute(NOW + HOUR)
    assert await harness.served() == {RULE: rule_text(RULE)}
    assert len(harness.published) == published + 1
    await harness.overlays.recompute(NOW + 2 * HOUR)
    assert len(harness.published) == published + 1
    assert (await harness.listed(NOW + HOUR))["disable"].state == "expired"
    await harness.add("enable", now=NOW + 2 * HOUR)  # what is over contradicts nothing


async def test_what_ended_while_the_server_was_down_ends_at_its_start(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE))
    await harness.add("disable", ends=HOUR)
    await harness.configured("").adopt(NOW + 2 * HOUR)
    assert await harness.served() == {RULE: rule_text(RULE)}


async def test_an_entry_holds_for_every_upstream_that_has_the_rule(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE, title="A"), name="a")
    await harness.upstream_says(rule_text(RULE, title="B"), name="b")
    await harness.add("disable")
    assert await harness.served() == {}


async def test_local_and_community_rules_are_not_touched(harness: OverlayHarness) -> None:
    text = rule_text(RULE)

    await harness.storage.write(lambda db: put_rule(db, RULE, text))
    assert (await harness.add("disable")).state == "idle"
    assert await harness.served() == {RULE: text}


def declared(action: str, more: str = "", rule_id: str = RULE) -> str:
    return f'[[overlay]]\nrule = "{rule_id}"\naction = "{action}"\nreason = "policy"\nowner = "soc"\n{more}\n'


async def test_the_configuration_declares_entries_that_nobody_else_can_change(
    harness: OverlayHarness,
) -> None:
    await harness.upstream_says(rule_text(RULE))
    by_hand = await harness.add("disable")
    await harness.configured(declared("disable") + declared("severity", 'severity = "low"')).adopt(NOW)
    listed = await harness.listed()
    assert {entry.declared for entry in listed.values()} == {"config"}
    assert listed["disable"].id != by_hand.id
    with pytest.raises(EntryRefused, match=r"\[\[overlay\]\]"):
        await harness.overlays.remove(listed["disable"].id, None, Actor("admin", None, NOW))
    with pytest.raises(EntryRefused, match=r"\[\[overlay\]\]"):
        await harness.add("severity", severity="high")
    with pytest.raises(EntryRefused, match="the configuration says disable"):
        await harness.add("enable")
    assert await harness.actions() == ["overlay.add", "overlay.declare"]
    await harness.configured("").adopt(NOW)
    assert await harness.listed() == {}
    assert await harness.served() == {RULE: rule_text(RULE)}


async def test_a_command_with_another_configuration_takes_no_entry_away(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE))
    await harness.configured(declared("disable")).adopt(NOW)
    await harness.configured("").adopt(NOW, withdraw=False)
    assert await harness.served() == {}
    await harness.configured("").adopt(NOW)
    assert await harness.served() == {RULE: rule_text(RULE)}


async def test_what_contradicts_the_configuration_gives_way_to_it(harness: OverlayHarness) -> None:
    await harness.upstream_says(rule_text(RULE))
    await harness.add("enable")
    await harness.add("severity", severity="low")
    await harness.configured(declared("disable")).adopt(NOW)
    assert {e.action: e.declared for e in (await harness.listed()).values()} == {
        "disable": "config",
        "severity": "api",
    }


async def test_the_same_configuration_again_changes_nothing(harness: OverlayHarness) -> None:
    text = harness.folder / "ours.yaml"
    text.write_text(rule_text(RULE, title="Ours"))
    config = declared("replace", f'text_file = "{text}"')
    first = await harness.upstream_says(rule_text(RULE))
    await harness.configured(config).adopt(NOW)
    await harness.upstream_says(rule_text(RULE, title="Theirs"))
    before = await harness.storage.read(entries)
    await harness.configured(config).adopt(NOW + HOUR)
    assert await harness.storage.read(entries) == before
    assert before[0].base == first
    assert await harness.actions() == ["overlay.declare"]
    text.write_text(rule_text(RULE, title="Ours, after theirs"))
    await harness.configured(config).adopt(NOW + 2 * HOUR)
    listed = (await harness.listed())["replace"]
    assert (listed.id, listed.base_moved) == (before[0].id, False)
    assert await harness.served() == {RULE: rule_text(RULE, title="Ours, after theirs")}


@pytest.mark.parametrize("content", [None, b"\xff", b"id: x\n", rule_text("ATR-2026-00002").encode()])
async def test_a_bad_text_file_is_reported_and_does_no_harm(
    harness: OverlayHarness, content: bytes | None
) -> None:
    text = harness.folder / "ours.yaml"
    if content is not None:
        text.write_bytes(content)
    await harness.upstream_says(rule_text(RULE))
    config = declared("replace", f'text_file = "{text}"') + declared("severity", 'severity = "low"')
    await harness.configured(config).adopt(NOW)
    listed = await harness.listed()
    assert (listed["replace"].state, listed["severity"].state) == ("unusable", "active")
    assert listed["replace"].problem is not None
    assert await harness.served() == {RULE: rule_text(RULE, severity="low")}


async def test_a_declared_pin_finds_its_text_when_upstream_brings_it(harness: OverlayHarness) -> None:
    config = declared("pin") + declared("pin", 'version = "4.0.0"', "ATR-2026-00002")
    await harness.configured(config).adopt(NOW)
    assert {entry.state for entry in (await harness.listed()).values()} == {"idle"}
    await harness.upstream_says(rule_text(RULE), label="4.0.0")
    await harness.upstream_says(rule_text("ATR-2026-00002"), label="4.0.0")
    await harness.overlays.recompute(NOW)
    await harness.upstream_says(rule_text(RULE, title="Another"), label="4.1.0")
    await harness.upstream_says(rule_text("ATR-2026-00002", title="Another"), label="4.1.0")
    assert await harness.served() == {i: rule_text(i) for i in (RULE, "ATR-2026-00002")}
    # Nor does a start forget what was pinned, when the version is no longer kept.
    await harness.storage.write(lambda db: db.execute("DELETE FROM upstream_rule") and None)
    await harness.configured(config).adopt(NOW + HOUR)
    assert await harness.served() == {i: rule_text(i) for i in (RULE, "ATR-2026-00002")}


async def test_only_rules_with_an_entry_are_touched(
    harness: OverlayHarness, published_rules: list[Path]
) -> None:
    for number, path in enumerate(published_rules[:40]):
        await harness.upstream_says(path.read_text(), name=f"u{number % 2}")
    facts = inspect_text(published_rules[7].read_text(), profile=Profile.PUBLISHED).facts
    assert facts is not None
    other = "low" if facts.severity != "low" else "high"
    before = await harness.served()
    await harness.add("severity", severity=other, rule_id=facts.rule_id)
    after = await harness.served()
    assert {i for i in before if before[i] != after[i]} == {facts.rule_id}
    assert await harness.overlaid() == [facts.rule_id]


def test_every_error_in_the_configuration_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        declared("disable")
        + declared("enable")
        + declared("disable", 'severity = "low"\nexpires = "soon"', "not an id")
        + declared("severity", 'severity = "huge"')
        + declared("replace", 'text_file = "relative.yaml"')
        + declared("delete")
        + '[[overlay]]\naction = "pin"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    said = "\n".join(caught.value.errors)
    for wanted in (
        f"overlay for {RULE}: disable and enable contradict each other",
        "overlay number 3: rule: ",
        "overlay number 3: severity: there is no such option",
        "overlay number 4: severity: ",
        "overlay number 5: text_file: ",
        "overlay number 6: action: 'delete' is no action",
        "overlay number 7: rule: it is missing",
        "overlay number 7: reason: it is missing",
        "overlay number 7: owner: it is missing",
    ):
        assert wanted in said


@pytest.mark.parametrize(
    ("written", "ends"),
    [
        ("2027-01-31", "2027-01-31T00:00:00.000Z"),
        ("2027-01-31T10:00:00+02:00", "2027-01-31T08:00:00.000Z"),
        ('"2027-01-31T10:00:00Z"', "2027-01-31T10:00:00.000Z"),
    ],
)
def test_toml_dates_end_an_entry(tmp_path: Path, written: str, ends: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(declared("disable", f"expires = {written}"))
    config: Config = load_config(path, {})
    assert [entry.expires_at for entry in config.overlay] == [ends]
    assert msgspec.to_builtins(config)["overlay"][0]["action"] == "disable"
