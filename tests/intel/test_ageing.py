"""What goes with time, with a key, or with the client: retention, recounts, export and erasure."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from app.access.keys import revoke_key
from app.access.networks import Networks
from app.access.principal import Actor, Principal
from app.access.roles import Role
from app.consensus.independence import Voter
from app.consensus.policy import ConsensusPolicy
from app.consensus.reading import Reading
from app.consensus.submission import Submission, record
from app.http.timestamps import to_text
from app.intel.policy import IntelPolicy, RetentionPolicy
from app.intel.recount import recount
from app.intel.reports.reporter import Reporter, reporter_of
from app.intel.reports.threats import Cleaner, Event
from app.intel.service import Intel, Received
from app.intel.skills.recount import NAMES_A_CALL, VoteCounter
from app.intel.skills.store import NewReport, NewVote, count_skill, is_still_there
from app.privacy.anonymisation import Pseudonyms
from app.privacy.retention import CLASSES, purge
from app.privacy.subjects import TABLES, erase_subject, export_subject
from app.sandbox import Sandbox, SandboxError
from app.storage import Storage

from .database import NOW, enrol

NAMES = Pseudonyms(b"s" * 32)
POLICY = ConsensusPolicy()
ADMIN = Actor("admin", None, NOW)
EVIL = "45.83.64.7"


class World:
    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.sandbox = Sandbox(30.0)
        self.votes = VoteCounter(storage, self.sandbox)
        self.intel = Intel(
            storage, NAMES, IntelPolicy(keep_sealed=True), POLICY, Networks.parse(()), self.votes
        )

    async def agents(self, number: int) -> list[Reporter]:
        def work(db: Database) -> None:
            for n in range(number):
                enrol(db, f"key-agent-{n}", subject=f"agent-{n}")

        await self.storage.write(work)
        return [Reporter(f"agent-{n}", f"key-agent-{n}", "10.0.0.1", None) for n in range(number)]

    async def report_all(self, who: Reporter, now: datetime = NOW) -> None:
        """Everything that an agent can report here."""
        threat = Cleaner(NAMES, now).event(Event(attack_source=EVIL, attack_type="c2"))
        sealed = {"v": 1, "alg": "a", "kid": "k", "jwe": "e"}
        await self.intel.keep_threats("threats", Received([threat], 0, [sealed]), who, now)
        await self.intel.report_skills([NewReport("evil", "evil", "h", 90, "HIGH", [], "")], who, now)
        await self.intel.vouch_for_skills([NewVote("good", "good", None)], who, now)

    async def rows(self, table: str) -> int:
        (found,) = await self.storage.read(
            lambda db: db.conn.execute(f"SELECT count(*) FROM {table}").fetchone()
        )
        return int(found)

    async def listed(self) -> tuple[list[str], list[str], list[str]]:
        """Blacklist, whitelist, IP feed."""
        self.intel.changed()
        skills = await self.intel.skill_list.current()
        return (
            [skill.name for skill in skills if skill.is_blacklisted],
            [skill.name for skill in skills if skill.is_whitelisted],
            [entry.value for entry in await self.intel.indicator_list.current()],
        )


ALL_THREE = (["evil"], ["good"], [EVIL])
NOTHING: tuple[list[str], list[str], list[str]] = ([], [], [])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    storage = Storage(tmp_path)
    made = World(storage)
    yield made
    await made.sandbox.close()
    await storage.close()


@pytest.mark.anyio
async def test_old_data_goes_and_lists_follow(world: World) -> None:
    for who in await world.agents(3):
        await world.report_all(who)
    assert await world.listed() == ALL_THREE
    later = NOW + timedelta(days=89)
    gone = await purge(world.storage, RetentionPolicy(), POLICY, later)
    assert gone == {"sealed": 3}
    assert await world.listed() == ALL_THREE
    later = NOW + timedelta(days=91)
    gone = await purge(world.storage, RetentionPolicy(), POLICY, later)
    assert gone == {"indicators": 3, "threats": 3, "skillThreats": 3, "skillVotes": 3}
    assert await world.listed() == NOTHING
    assert await world.rows("indicator") == 0
    assert await world.rows("report_tally") > 0
    assert await purge(world.storage, RetentionPolicy(), POLICY, later) == {}
    entries = await world.storage.read(
        lambda db: db.conn.execute(
            "SELECT actor, detail FROM audit WHERE action = 'retention.purge' ORDER BY id"
        ).fetchall()
    )
    assert [(actor, json.loads(detail)) for actor, detail in entries] == [
        ("retention", {"sealed": 3}),
        ("retention", {"indicators": 3, "threats": 3, "skillThreats": 3, "skillVotes": 3}),
    ]


@pytest.mark.anyio
async def test_what_is_reported_again_stays(world: World) -> None:
    agents = await world.agents(3)
    for who in agents:
        await world.report_all(who)
    for who in agents[:2]:
        await world.report_all(who, NOW + timedelta(days=60))
    await purge(world.storage, RetentionPolicy(), POLICY, NOW + timedelta(days=100))
    assert await world.rows("skill_threat") == 2
    assert await world.rows("skill_trust") == 2
    assert await world.rows("indicator_report") == 2
    assert await world.listed() == NOTHING


@pytest.mark.anyio
async def test_an_admins_entries_do_not_age(world: World) -> None:
    await world.intel.put_skills("black", [("blocked", None)], ADMIN, None)
    await world.intel.put_skills("white", [("trusted", None)], ADMIN, None)
    await world.intel.put_indicator(
        "ip", "91.92.240.5", reputation=100, category="manual", reason=None, actor=ADMIN
    )
    await purge(world.storage, RetentionPolicy(), POLICY, NOW + timedelta(days=4000))
    assert await world.listed() == (["blocked"], ["trusted"], ["91.92.240.5"])


@pytest.mark.anyio
async def test_many_old_rows_go_in_several_batches(world: World) -> None:
    (who,) = await world.agents(1)
    threats = [Cleaner(NAMES, NOW).event(Event(attack_type="c2"))] * 5000
    await world.intel.keep_threats("threats", Received(threats), who, NOW)
    gone = await purge(world.storage, RetentionPolicy(), POLICY, NOW + timedelta(days=91))
    assert gone["threats"] == 5000


def test_every_class_of_data_has_its_days() -> None:
    policy = RetentionPolicy()
    assert all(kind.days(policy) >= 1 for kind in CLASSES)
    assert len({kind.name for kind in CLASSES}) == len(CLASSES)
    assert policy.indicators_days == 90


@pytest.mark.anyio
async def test_a_revoked_key_counts_no_more_after_the_next_recount(world: World) -> None:
    for who in await world.agents(3):
        await world.report_all(who)
    await recount(world.storage, world.votes, POLICY, NOW)
    assert await recount(world.storage, world.votes, POLICY, NOW) == 0
    assert await world.listed() == ALL_THREE
    await world.storage.write(lambda db: revoke_key(db, "key-agent-2", NOW + timedelta(minutes=1)))
    assert await recount(world.storage, world.votes, POLICY, NOW + timedelta(minutes=2)) == 3
    assert await world.listed() == NOTHING
    assert await world.rows("indicator") == 0


@pytest.mark.anyio
async def test_a_second_key_keeps_an_identity_alive(world: World) -> None:
    for who in await world.agents(3):
        await world.report_all(who)
    await world.storage.write(lambda db: enrol(db, "second", subject="agent-2"))
    await recount(world.storage, world.votes, POLICY, NOW)
    await world.storage.write(lambda db: revoke_key(db, "key-agent-2", NOW + timedelta(minutes=1)))
    assert await recount(world.storage, world.votes, POLICY, NOW + timedelta(minutes=2)) == 0
    assert await world.listed() == ALL_THREE


@pytest.mark.anyio
async def test_other_terms_of_independence_count_everything_again(world: World) -> None:
    for who in await world.agents(3):
        await world.report_all(who)
    await recount(world.storage, world.votes, POLICY, NOW)
    assert await recount(world.storage, world.votes, ConsensusPolicy(admin_issued="address"), NOW) == 3
    assert await world.listed() == NOTHING
    assert await recount(world.storage, world.votes, POLICY, NOW) == 2
    assert (await world.listed())[:2] == ALL_THREE[:2]
    assert await world.rows("indicator") == 0, (
        "its address is not known any more until somebody reports it again"
    )
    for who in await world.agents(0) or [Reporter("agent-0", "key-agent-0", "10.0.0.1", None)]:
        await world.report_all(who, NOW + timedelta(hours=1))
    assert await world.listed() == ALL_THREE


@pytest.mark.anyio
async def test_where_many_speak_a_job_counts(world: World) -> None:
    """A crowd that is one identity cannot keep the votes of three others from being counted."""

    def crowd(db: Database) -> None:
        for n in range(150):
            enrol(db, f"key-self:{n}", subject=f"self:{n}", enrolled="self", address="10.9.9.9")

    await world.storage.write(crowd)
    for n in range(150):
        await world.report_all(Reporter(f"self:{n}", f"key-self:{n}", "10.9.9.9", None))
    await world.intel.recount_due(NOW)
    assert await world.listed() == NOTHING
    for who in (await world.agents(3))[:2]:
        await world.report_all(who)
    await world.intel.recount_due(NOW)
    assert await world.listed() == ALL_THREE
    assert (await world.intel.skill_list.current())[0].risk.reporters == 3


@pytest.mark.anyio
async def test_what_could_not_be_counted_is_counted_next_time(world: World) -> None:
    for who in await world.agents(12):
        await world.intel.vouch_for_skills([NewVote("good", "good", "f" * 64)], who, NOW)
    await world.sandbox.close()
    world.sandbox.memory_mib = 1
    with pytest.raises(SandboxError):
        await world.intel.recount_due(NOW)
    await world.sandbox.close()
    world.sandbox.memory_mib = 1024
    assert (await world.intel.skill_list.current())[0].confirmations < 12
    await world.intel.recount_due(NOW)
    world.intel.changed()
    assert (await world.intel.skill_list.current())[0].confirmations == 12


@pytest.mark.anyio
async def test_more_skills_than_are_counted_in_one_call(world: World) -> None:
    names = [f"skill-{n}" for n in range(NAMES_A_CALL + 1)]
    votes = [NewVote(name, name, None) for name in names]
    for who in await world.agents(3):
        await world.intel.vouch_for_skills(votes, who, NOW)
    await world.storage.write(lambda db: db.conn.execute("DELETE FROM skill_standing"))
    assert await world.votes.count(names, POLICY, to_text(NOW)) == len(names)
    assert await world.votes.count(names, POLICY, to_text(NOW)) == 0


@pytest.mark.anyio
async def test_a_count_is_dropped_when_what_it_rests_on_was_deleted_meanwhile(world: World) -> None:
    *early, late = await world.agents(4)
    for who in early:
        await world.report_all(who)
    counted = await world.storage.read(lambda db: count_skill(db, "evil", POLICY))
    assert await world.storage.read(lambda db: is_still_there(db, counted))
    await world.report_all(late)
    assert await world.storage.read(lambda db: is_still_there(db, counted)), (
        "what comes later is counted later"
    )
    await world.intel.forget_skills("black", ["evil"], ADMIN)
    assert not await world.storage.read(lambda db: is_still_there(db, counted))


def propose(db: Database, subject: str, pattern_hash: str) -> None:
    voter = Voter(subject, "admin", None, "10.0.0.1", None, live=True)
    sent = Submission(
        pattern_hash, "text", Reading("variant", ()), voter, f"key-{subject}", "10.0.0.1", None, "o", "m", "v"
    )  # fmt: skip
    record(db, sent, to_text(NOW), POLICY)


@pytest.mark.anyio
async def test_everything_tied_to_one_client_is_exported_and_erased(world: World) -> None:
    agents = await world.agents(3)
    for who in agents:
        await world.report_all(who)
        await world.storage.write(lambda db, who=who: propose(db, str(who.subject), "hash-1"))  # type: ignore[misc]
    found = await world.storage.read(lambda db: export_subject(db, "agent-1"))
    classes = {"keys", "confirmations", "threats", "sealed", "skillThreats", "skillVotes", "indicatorReports"}
    assert set(found) == classes
    assert all(len(rows) == 1 for rows in found.values())
    assert EVIL not in json.dumps(found)
    assert {row["subject"] for rows in found.values() for row in rows} == {"agent-1"}
    done = await world.storage.write(lambda db: erase_subject(db, "agent-1", ADMIN, POLICY))
    assert done.erased == dict.fromkeys(classes - {"keys"}, 1)
    assert done.kept["keys"] == 1
    assert set(await world.storage.read(lambda db: export_subject(db, "agent-1"))) == {"keys"}
    for name in ("agent-0", "agent-2"):
        assert set(await world.storage.read(lambda db, name=name: export_subject(db, name))) == classes  # type: ignore[misc]
    assert await world.listed() == NOTHING
    status, confirmations = await world.storage.read(
        lambda db: db.conn.execute("SELECT status, confirmations FROM proposal").fetchone()
    )
    assert (status, confirmations) == ("pending", 2)
    (action, target, detail) = await world.storage.read(
        lambda db: db.conn.execute("SELECT action, target, detail FROM audit ORDER BY id DESC").fetchone()
    )
    assert (action, target) == ("subject.erase", "agent-1")
    assert json.loads(detail)["erased"] == done.erased


@pytest.mark.anyio
async def test_no_table_with_a_subject_is_forgotten(world: World) -> None:
    """A table that a later migration adds must be exported and erased too."""
    tables = await world.storage.read(
        lambda db: {
            table for (table,) in db.conn.execute(
                "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
                " WHERE m.type = 'table' AND c.name = 'subject'"
            )
        }
    )  # fmt: skip
    elsewhere = {"key", "scanner", "activation", "skill_version"}
    assert tables - elsewhere == set(TABLES.values())


def test_an_anonymous_sender_has_no_subject() -> None:
    nobody = Principal(
        key_id="", role=None, subject="anonymous", enrolled="self", registered_from=None, site=None,
        address="10.0.0.1",
    )  # fmt: skip
    who = reporter_of(nobody, "client", NAMES)
    assert (who.subject, who.client) == (None, NAMES.of("client", "client"))
    agent: Any = Principal(
        key_id="k", role=Role.AGENT, subject="a", enrolled="self", registered_from="10.0.0.1", site=None,
        address="10.0.0.1",
    )  # fmt: skip
    assert reporter_of(agent, None, NAMES) == replace(who, subject="a", key_id="k", client=None)
