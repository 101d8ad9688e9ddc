"""Overlay entries in a real database: made, declared, settled, compared, ended."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from sqlite_utils import Database

from app.access import audit
from app.access.principal import Actor
from app.config import Config, ConfigError, load_config
from app.federation.errors import EntryRefused, UnknownEntry
from app.http.paging import Page
from app.http.timestamps import to_text
from app.overlay.config import Overlay
from app.overlay.entries import Decision
from app.overlay.resolve import Action
from app.overlay.service import Overlays
from app.overlay.store import entries, settle
from app.overlay.views import Listed
from app.publication.store import effective_members
from app.rules.inspect import inspect_text
from app.rules.local import ImportRefused
from app.rules.store import hold_rule, put_text, withdraw
from app.rules.validate import Profile
from app.sandbox import Sandbox
from app.storage import Storage
from tests.example_rules import rule_text

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULE = "ATR-2026-00001"
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class World:
    """A database with upstreams' rules in it, and the entries on top of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = Storage(folder)
        self.sandbox = Sandbox(5.0)
        self.published: list[str] = []
        self.versions = 0
        self.overlays = self.configured("")

    async def close(self) -> None:
        await self.sandbox.close()
        await self.storage.close()

    def configured(self, text: str) -> Overlays:
        """The entries as a server with this configuration has them."""
        path = self.folder / "config.toml"
        path.write_text(text)
        declared: tuple[Overlay, ...] = load_config(path, {}).overlay
        self.overlays = Overlays(self.storage, self.sandbox, declared, self._publish)
        return self.overlays

    async def _publish(self, reason: str) -> None:
        self.published.append(reason)

    async def upstream_says(
        self, text: str, *, name: str = "atr", label: str = "", excluded: str | None = None
    ) -> str:
        """An upstream brings this text, as a pull would; returns its digest."""
        self.versions += 1
        version, at = self.versions, to_text(NOON)

        def work(db: Database) -> str:
            looked = inspect_text(text, profile=Profile.PUBLISHED)
            assert looked.facts is not None
            digest = put_text(db, looked, text)
            db.conn.execute(
                "INSERT INTO upstream_version (id, upstream, label, digest, total, first_seen, last_seen)"
                " VALUES (?, ?, ?, '', 1, ?, ?)",
                [version, name, label or str(version), at, at],
            )
            rule_id = looked.facts.rule_id
            db.conn.execute("INSERT INTO upstream_rule VALUES (?, ?, ?, 'atr')", [version, rule_id, digest])
            hold_rule(
                db,
                origin=f"upstream:{name}",
                rule_id=rule_id,
                digest=digest,
                state="active",
                at=at,
                source="atr",
                version=version,
            )
            db.conn.execute(
                "UPDATE rule SET excluded = ? WHERE origin = ? AND rule_id = ?",
                [excluded, f"upstream:{name}", rule_id],
            )
            settle(db, at)
            return digest

        return await self.storage.write(work)

    async def upstream_drops(self, rule_id: str = RULE) -> None:
        def work(db: Database) -> None:
            withdraw(db, origin="upstream:atr", rule_id=rule_id, reason="dropped", at=to_text(NOON))
            settle(db, to_text(NOON))

        await self.storage.write(work)

    async def add(
        self,
        action: Action,
        *,
        text: str | None = None,
        ends: timedelta | None = None,
        now: datetime = NOON,
        severity: str | None = None,
        version: str | None = None,
        rule_id: str = RULE,
    ) -> Listed:
        decision = Decision(
            rule_id=rule_id,
            action=action,
            owner="soc",
            reason="test",
            severity=severity,
            version=version,
            expires_at=to_text(now + ends) if ends is not None else None,
        )
        return await self.overlays.add(decision, text, Actor("admin", None, now))

    async def served(self) -> dict[str, str]:
        """`rule_id -> text` of what would be published."""

        def read(db: Database) -> dict[str, str]:
            return {
                member.rule_id: db.execute(
                    "SELECT text FROM rule_text WHERE digest = ?", [member.digest]
                ).fetchone()[0]
                for member in effective_members(db)
            }

        return await self.storage.read(read)

    async def overlaid(self) -> list[str]:
        """Rules that publication is told about."""
        rows = await self.storage.read(lambda db: db.execute("SELECT rule_id FROM overlaid").fetchall())
        return [rule_id for (rule_id,) in rows]

    async def listed(self, now: datetime = NOON) -> dict[str, Listed]:
        """Every entry by action."""
        return {entry.action: entry for entry in await self.overlays.list_entries(now, None)}

    async def actions(self) -> list[str]:
        """What the audit log says, oldest first."""
        found, _ = await self.storage.read(lambda db: audit.read(db, Page(100, None)))
        return [entry.action for entry in found][::-1]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = World(tmp_path)
    yield opened
    await opened.close()


async def test_a_disabled_rule_stays_out_through_updates_until_the_entry_is_removed(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    made = await world.add("disable")
    assert (made.state, made.base_moved, made.upstream) == ("active", False, "upstream:atr")
    assert await world.served() == {}
    await world.upstream_says(rule_text(RULE, title="Better now"))
    assert await world.served() == {}
    assert (await world.listed())["disable"].base_moved
    await world.overlays.remove(made.id, "it is better now", Actor("admin", None, NOON))
    assert await world.served() == {RULE: rule_text(RULE, title="Better now")}
    assert await world.actions() == ["overlay.add", "overlay.remove"]
    assert len(world.published) == 2
    with pytest.raises(UnknownEntry):
        await world.overlays.remove(made.id, None, Actor("admin", None, NOON))


async def test_a_severity_is_served_in_the_text_and_follows_upstream(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    await world.add("severity", severity="low")
    assert await world.served() == {RULE: rule_text(RULE, severity="low")}
    await world.upstream_says(rule_text(RULE, title="Another"))
    assert await world.served() == {RULE: rule_text(RULE, title="Another", severity="low")}
    await world.upstream_says(rule_text(RULE, severity="low"))
    assert (await world.listed())["severity"].state == "idle"
    assert await world.overlaid() == []


async def test_a_pin_keeps_the_text_in_service_and_a_severity_goes_with_it(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    await world.add("pin")
    await world.add("severity", severity="critical")
    await world.upstream_says(rule_text(RULE, title="Another"))
    assert await world.served() == {RULE: rule_text(RULE, severity="critical")}
    listed = await world.listed()
    assert {entry.state for entry in listed.values()} == {"active"}
    assert all(entry.base_moved for entry in listed.values())


async def test_a_pin_names_a_kept_version_by_label_or_number(world: World) -> None:
    await world.upstream_says(rule_text(RULE, title="One"), label="4.0.0")
    await world.upstream_says(rule_text(RULE, title="Two"), label="4.1.0")
    await world.upstream_says(rule_text(RULE, title="Three"), label="4.2.0")
    await world.add("pin", version="4.0.0")
    assert await world.served() == {RULE: rule_text(RULE, title="One")}
    await world.add("pin", version="2")
    assert await world.served() == {RULE: rule_text(RULE, title="Two")}
    await world.upstream_says(rule_text(RULE, title="Four"), label="2")
    await world.upstream_says(rule_text(RULE, title="Five"), label="2")
    await world.add("pin", version="2")
    assert await world.served() == {RULE: rule_text(RULE, title="Five")}, "labels first, the newest of them"
    with pytest.raises(EntryRefused, match=r"9\.9\.9"):
        await world.add("pin", version="9.9.9")
    assert len(await world.listed()) == 1


async def test_a_replacement_is_checked_like_an_import_and_keeps_the_id(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    with pytest.raises(ImportRefused) as caught:
        await world.add("replace", text=rule_text("ATR-2026-00009", severity="huge", title=""))
    assert [mistake.field for mistake in caught.value.mistakes] == ["title", "severity"]
    with pytest.raises(ImportRefused) as caught:
        await world.add("replace", text=rule_text("ATR-2026-00009"))
    assert [mistake.field for mistake in caught.value.mistakes] == ["id"]
    with pytest.raises(ImportRefused):
        await world.add("replace", text="- not a rule")
    assert await world.listed() == {}
    made = await world.add("replace", text=rule_text(RULE, pattern="(a+)+$"))
    assert made.guard_refusal is not None
    assert await world.served() == {RULE: rule_text(RULE, pattern="(a+)+$")}


async def test_three_ways_show_who_changed_what(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    made = await world.add("replace", text=rule_text(RULE, severity="low", title="Ours"))
    await world.upstream_says(rule_text(RULE, severity="critical", pattern="another pattern"))
    shown = await world.overlays.show(made.id, NOON)
    assert shown.base_moved
    assert shown.base_text == rule_text(RULE)
    assert shown.our_text == rule_text(RULE, severity="low", title="Ours")
    assert shown.upstream_text == rule_text(RULE, severity="critical", pattern="another pattern")
    assert [change.path for change in shown.ours] == ["title", "severity"]
    assert [change.path for change in shown.theirs] == ["severity", "detection.conditions[0].value"]
    assert shown.conflicts == ["severity"]


async def test_a_severity_shows_what_it_makes_of_the_base(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    made = await world.add("severity", severity="low")
    await world.upstream_says(rule_text(RULE, severity="medium"))
    shown = await world.overlays.show(made.id, NOON)
    assert shown.our_text == rule_text(RULE, severity="low")
    assert shown.conflicts == ["severity"]
    assert [(c.before, c.after) for c in (*shown.theirs, *shown.ours)] == [
        ("high", "medium"),
        ("high", "low"),
    ]
    await world.upstream_drops()
    shown = await world.overlays.show(made.id, NOON)
    assert (shown.state, shown.upstream_text, shown.theirs) == ("idle", None, [])
    assert await world.overlaid() == []


async def test_a_filter_yields_to_enable_and_to_nothing_else(world: World) -> None:
    await world.upstream_says(rule_text(RULE), excluded="severity: only critical")
    await world.add("severity", severity="low")
    assert await world.served() == {}
    assert (await world.listed())["severity"].state == "idle"
    await world.add("enable")
    assert await world.served() == {RULE: rule_text(RULE, severity="low")}
    assert {entry.state for entry in (await world.listed()).values()} == {"active"}


async def test_an_entry_waits_for_its_rule_and_takes_the_first_text_as_base(world: World) -> None:
    made = await world.add("severity", severity="low")
    assert (made.state, made.upstream, made.base) == ("idle", None, None)
    with pytest.raises(EntryRefused, match="no text to pin"):
        await world.add("pin")
    digest = await world.upstream_says(rule_text(RULE))
    listed = (await world.listed())["severity"]
    assert (listed.state, listed.base, listed.base_moved) == ("active", digest, False)
    assert await world.served() == {RULE: rule_text(RULE, severity="low")}


async def test_opposites_are_refused_and_the_same_again_takes_the_place_of_the_old_one(world: World) -> None:
    first = await world.upstream_says(rule_text(RULE))
    await world.add("disable")
    with pytest.raises(EntryRefused, match="says disable"):
        await world.add("enable")
    old = await world.add("replace", text=rule_text(RULE, title="Ours"))
    with pytest.raises(EntryRefused, match="says replace"):
        await world.add("pin")
    second = await world.upstream_says(rule_text(RULE, title="Theirs"))
    new = await world.add("replace", text=rule_text(RULE, title="Ours, brought up to date"))
    assert (old.base, new.base) == (first, second)
    assert not new.base_moved
    assert len(await world.listed()) == 2


async def test_expiry_comes_with_time_and_publishes_once(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    await world.overlays.adopt(NOON)
    await world.add("disable", ends=HOUR)
    published = len(world.published)
    await world.overlays.settle(NOON + HOUR - timedelta(seconds=1))
    assert await world.served() == {}
    assert len(world.published) == published
    await world.overlays.settle(NOON + HOUR)
    assert await world.served() == {RULE: rule_text(RULE)}
    assert len(world.published) == published + 1
    await world.overlays.settle(NOON + 2 * HOUR)
    assert len(world.published) == published + 1
    assert (await world.listed(NOON + HOUR))["disable"].state == "expired"
    await world.add("enable", now=NOON + 2 * HOUR)  # what is over contradicts nothing


async def test_what_ended_while_the_server_was_down_ends_at_its_start(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    await world.add("disable", ends=HOUR)
    await world.configured("").adopt(NOON + 2 * HOUR)
    assert await world.served() == {RULE: rule_text(RULE)}


async def test_an_entry_holds_for_every_upstream_that_has_the_rule(world: World) -> None:
    await world.upstream_says(rule_text(RULE, title="A"), name="a")
    await world.upstream_says(rule_text(RULE, title="B"), name="b")
    await world.add("disable")
    assert await world.served() == {}


async def test_local_and_community_rules_are_not_touched(world: World) -> None:
    text = rule_text(RULE)

    def work(db: Database) -> None:
        digest = put_text(db, inspect_text(text, profile=Profile.PUBLISHED), text)
        hold_rule(db, origin="local", rule_id=RULE, digest=digest, state="active", at=to_text(NOON))

    await world.storage.write(work)
    assert (await world.add("disable")).state == "idle"
    assert await world.served() == {RULE: text}


def declared(action: str, more: str = "", rule_id: str = RULE) -> str:
    return f'[[overlay]]\nrule = "{rule_id}"\naction = "{action}"\nreason = "policy"\nowner = "soc"\n{more}\n'


async def test_the_configuration_declares_entries_that_nobody_else_can_change(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    by_hand = await world.add("disable")
    await world.configured(declared("disable") + declared("severity", 'severity = "low"')).adopt(NOON)
    listed = await world.listed()
    assert {entry.declared for entry in listed.values()} == {"config"}
    assert listed["disable"].id != by_hand.id
    with pytest.raises(EntryRefused, match=r"\[\[overlay\]\]"):
        await world.overlays.remove(listed["disable"].id, None, Actor("admin", None, NOON))
    with pytest.raises(EntryRefused, match=r"\[\[overlay\]\]"):
        await world.add("severity", severity="high")
    with pytest.raises(EntryRefused, match="the configuration says disable"):
        await world.add("enable")
    assert await world.actions() == ["overlay.add", "overlay.declare"]
    await world.configured("").adopt(NOON)
    assert await world.listed() == {}
    assert await world.served() == {RULE: rule_text(RULE)}


async def test_a_verb_with_another_configuration_takes_no_entry_away(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    await world.configured(declared("disable")).adopt(NOON)
    await world.configured("").adopt(NOON, withdraw=False)
    assert await world.served() == {}
    await world.configured("").adopt(NOON)
    assert await world.served() == {RULE: rule_text(RULE)}


async def test_what_contradicts_the_configuration_gives_way_to_it(world: World) -> None:
    await world.upstream_says(rule_text(RULE))
    await world.add("enable")
    await world.add("severity", severity="low")
    await world.configured(declared("disable")).adopt(NOON)
    assert {e.action: e.declared for e in (await world.listed()).values()} == {
        "disable": "config",
        "severity": "api",
    }


async def test_the_same_configuration_again_changes_nothing(world: World) -> None:
    text = world.folder / "ours.yaml"
    text.write_text(rule_text(RULE, title="Ours"))
    config = declared("replace", f'text_file = "{text}"')
    first = await world.upstream_says(rule_text(RULE))
    await world.configured(config).adopt(NOON)
    await world.upstream_says(rule_text(RULE, title="Theirs"))
    before = await world.storage.read(entries)
    await world.configured(config).adopt(NOON + HOUR)
    assert await world.storage.read(entries) == before
    assert before[0].base == first
    assert await world.actions() == ["overlay.declare"]
    text.write_text(rule_text(RULE, title="Ours, after theirs"))
    await world.configured(config).adopt(NOON + 2 * HOUR)
    listed = (await world.listed())["replace"]
    assert (listed.id, listed.base_moved) == (before[0].id, False)
    assert await world.served() == {RULE: rule_text(RULE, title="Ours, after theirs")}


@pytest.mark.parametrize("content", [None, b"\xff", b"id: x\n", rule_text("ATR-2026-00002").encode()])
async def test_a_bad_text_file_is_told_and_hinders_nothing(world: World, content: bytes | None) -> None:
    text = world.folder / "ours.yaml"
    if content is not None:
        text.write_bytes(content)
    await world.upstream_says(rule_text(RULE))
    config = declared("replace", f'text_file = "{text}"') + declared("severity", 'severity = "low"')
    await world.configured(config).adopt(NOON)
    listed = await world.listed()
    assert (listed["replace"].state, listed["severity"].state) == ("unusable", "active")
    assert listed["replace"].problem is not None
    assert await world.served() == {RULE: rule_text(RULE, severity="low")}


async def test_a_declared_pin_finds_its_text_when_upstream_brings_it(world: World) -> None:
    config = declared("pin") + declared("pin", 'version = "4.0.0"', "ATR-2026-00002")
    await world.configured(config).adopt(NOON)
    assert {entry.state for entry in (await world.listed()).values()} == {"idle"}
    await world.upstream_says(rule_text(RULE), label="4.0.0")
    await world.upstream_says(rule_text("ATR-2026-00002"), label="4.0.0")
    await world.overlays.settle(NOON)
    await world.upstream_says(rule_text(RULE, title="Another"), label="4.1.0")
    await world.upstream_says(rule_text("ATR-2026-00002", title="Another"), label="4.1.0")
    assert await world.served() == {i: rule_text(i) for i in (RULE, "ATR-2026-00002")}
    # Nor does a start forget what was pinned, when the version is no longer kept.
    await world.storage.write(lambda db: db.execute("DELETE FROM upstream_rule") and None)
    await world.configured(config).adopt(NOON + HOUR)
    assert await world.served() == {i: rule_text(i) for i in (RULE, "ATR-2026-00002")}


async def test_only_rules_with_an_entry_are_touched(world: World, published_rules: list[Path]) -> None:
    for number, path in enumerate(published_rules[:40]):
        await world.upstream_says(path.read_text(), name=f"u{number % 2}")
    facts = inspect_text(published_rules[7].read_text(), profile=Profile.PUBLISHED).facts
    assert facts is not None
    other = "low" if facts.severity != "low" else "high"
    before = await world.served()
    await world.add("severity", severity=other, rule_id=facts.rule_id)
    after = await world.served()
    assert {i for i in before if before[i] != after[i]} == {facts.rule_id}
    assert await world.overlaid() == [facts.rule_id]


def test_every_mistake_in_the_configuration_is_told(tmp_path: Path) -> None:
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
    said = "\n".join(caught.value.mistakes)
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
