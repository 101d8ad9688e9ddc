"""What the serving process opens when it starts and closes when it stops."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from litestar import Litestar

from app.access.gatekeeper import Gatekeeper
from app.access.key_store import issuer_of
from app.access.networks import Networks
from app.access.poll_counter import PollCounter
from app.config import Config
from app.consensus.service import Consensus
from app.federation.service import Federation, is_remote
from app.federation.upstream import Upstream
from app.fleet.service import Fleet
from app.http.problem import Problem
from app.intel.indicators.service import Indicators
from app.intel.personal_data import all_personal_data
from app.intel.reports.service import Reports
from app.intel.skills.recount import COUNT_SECONDS, VoteCounter
from app.intel.skills.service import Skills
from app.intel.statistics import Statistics
from app.intel.telemetry.service import Telemetry
from app.jobs import Jobs
from app.overlay.service import Overlays
from app.privacy.anonymisation import Pseudonyms, load_secret
from app.privacy.retention import Retention
from app.privacy.subjects import Subjects
from app.publication.freshness import Freshness
from app.publication.publisher import Publisher
from app.rules.service import LocalRules
from app.sandbox import Sandbox
from app.signing.keys import KeyUse, SigningKeys
from app.storage import Storage, StorageUnavailable
from app.web.admin_key import ensure_admin_key
from app.web.health import WriteCheck
from app.web.supervision.locking import purpose, take_lock

log = logging.getLogger(__name__)

INSPECT_SECONDS = 2.0
"""Deadline of the cheap structural look that every submitted text gets."""
GATE_SECONDS = 10.0
"""Deadline of the gate, which runs untrusted regular expressions."""

FIRST_LOCAL_SECONDS, FIRST_REMOTE_SECONDS = 30.0, 5.0
"""How long a fresh instance waits for its first pulls before it publishes what is there, be it nothing.

What lies on this machine is worth waiting for: it takes two seconds, longer on a busy machine. An upstream that hangs
is not: `/ready` must not depend on it, and what it brings later is published then.
"""

CLOSING_SECONDS = 30.0
"""How long an old process may take to close after its graceful time; gunicorn stops all when we give up first."""
NOT_PUBLISHED = (
    "This is done and kept, but the database cannot take the publication that tells clients. "
    "It follows by itself as soon as there is space again; see `threatcloud doctor`."
)


@asynccontextmanager
async def opened(app: Litestar, config: Config, *, serving: bool) -> AsyncIterator[None]:
    """Open the state folder and put every service into `app.state`; close all of it afterwards.

    `serving` also starts the scheduled jobs and the first pull of each upstream; a command that runs without
    a server does not want those. Raises `AlreadyRunning`, `StorageError`.
    """
    now = datetime.now(UTC)
    state_dir = config.state_dir
    async with AsyncExitStack() as stack:
        # On a reload the old process has the lock until its last request is done or given up, and then closes.
        lock = await take_lock(
            state_dir,
            purpose(serving=serving),
            config.server.graceful_seconds + CLOSING_SECONDS if serving else 0,
        )
        stack.callback(lock.release)
        storage = await asyncio.to_thread(Storage, state_dir)
        stack.push_async_callback(storage.close)
        issuer = await storage.write(issuer_of)
        keys = SigningKeys.open(state_dir, now)
        gatekeeper = Gatekeeper(storage, keys, config.access, config.limits, issuer)
        publisher = Publisher(storage, keys, config.publication, issuer)
        sandboxes = inspect_sandbox, gate_sandbox, count_sandbox = (
            Sandbox(INSPECT_SECONDS),
            Sandbox(GATE_SECONDS),
            Sandbox(COUNT_SECONDS),
        )
        for sandbox in sandboxes:
            stack.push_async_callback(sandbox.close)
        await publisher.load()

        async def publish(reason: str) -> int | None:
            try:
                record = await publisher.publish(reason, datetime.now(UTC))
            except StorageUnavailable as error:
                log.exception("not published yet: %s", reason)
                raise Problem(503, NOT_PUBLISHED) from error
            return record.serial if record else None

        async def on_rotated(use: KeyUse) -> None:
            if use != "access":
                await publish(f"{use} key rotated")

        gatekeeper.on_rotated = on_rotated

        consensus = Consensus(storage, inspect_sandbox, gate_sandbox, config.consensus, publish)
        federation = Federation(storage, config.upstream, state_dir, publish, publisher.freeze_reason)
        stack.push_async_callback(federation.close)
        overlays = Overlays(storage, inspect_sandbox, config.overlay, publish)
        pseudonyms = Pseudonyms(load_secret(state_dir))
        votes = VoteCounter(storage, count_sandbox)
        fleet = Fleet(storage, gatekeeper.activity, config.fleet, lambda: _served_serial(publisher))
        evidence = _evidence(config, storage, pseudonyms, votes)
        pull_counter = PollCounter()
        services = {
            "config": config,
            "storage": storage,
            "signing_keys": keys,
            "issuer": issuer,
            "gatekeeper": gatekeeper,
            "publisher": publisher,
            "freshness": Freshness(keys, issuer),
            "consensus": consensus,
            "federation": federation,
            "overlays": overlays,
            "local_rules": LocalRules(storage, inspect_sandbox, publish),
            "inspect_sandbox": inspect_sandbox,
            "gate_sandbox": gate_sandbox,
            "pull_counter": pull_counter,
            "pseudonyms": pseudonyms,
            "fleet": fleet,
            **evidence._asdict(),
            "statistics": Statistics(storage, publisher, evidence.skills),
            "publish": publish,
            "write_check": WriteCheck(storage),
            "started_at": now,
        }
        app.state.update(services)
        await ensure_admin_key(state_dir, gatekeeper, now)
        if serving:
            await gatekeeper.remember_tokens(now)
            await _catch_up(publisher)
            jobs = Jobs(
                storage,
                consensus,
                federation,
                overlays,
                publisher,
                pull_counter,
                fleet,
                evidence.skills,
                evidence.indicators,
                votes,
                evidence.retention,
                config,
            )
            stack.push_async_callback(jobs.stop)
            jobs.start()
            adoption = asyncio.create_task(
                _adopt_configuration(consensus, federation, overlays, publisher, jobs)
            )
            stack.callback(adoption.cancel)
        else:
            await consensus.adopt_policy(now)
            await federation.adopt(now, withdraw=False)
            await overlays.adopt(now, withdraw=False)
        yield


class Evidence(NamedTuple):
    """The services of what clients report, by their names in `app.state`."""

    skills: Skills
    indicators: Indicators
    reports: Reports
    telemetry: Telemetry
    retention: Retention
    subjects: Subjects


def _evidence(config: Config, storage: Storage, pseudonyms: Pseudonyms, votes: VoteCounter) -> Evidence:
    own = Networks.parse((*config.access.networks, *config.consensus.nat_networks))
    skills = Skills(storage, config.consensus, votes)
    indicators = Indicators(storage, pseudonyms, config.consensus, own)

    def invalidate_lists() -> None:
        skills.known.invalidate()
        indicators.listed.invalidate()

    data = all_personal_data(config.consensus)
    return Evidence(
        skills,
        indicators,
        Reports(storage, config.intel, indicators),
        Telemetry(storage, pseudonyms),
        Retention(storage, config.retention, data, invalidate_lists),
        Subjects(storage, data, invalidate_lists),
    )


def _served_serial(publisher: Publisher) -> int:
    return publisher.served.serial if publisher.served is not None else 0


async def _catch_up(publisher: Publisher) -> None:
    """Publish what a crash kept from being published, before anybody is served a set that was left behind."""
    if publisher.served is None:
        return
    try:
        await publisher.publish("start", datetime.now(UTC))
    except StorageUnavailable:
        log.exception("serving the last publication, since no new one can be kept")


async def _adopt_configuration(
    consensus: Consensus, federation: Federation, overlays: Overlays, publisher: Publisher, jobs: Jobs
) -> None:
    """Count under the present terms, bring upstreams' rules in line, pull what is due and publish.

    An instance that serves something already publishes before it pulls, a fresh one after its first pulls or when
    their time is over. Each pull publishes what it brought.
    """
    try:
        now = datetime.now(UTC)
        await consensus.adopt_policy(now)
        await federation.adopt(now)
        due = await federation.due(now)
        jobs.watch_upstreams()
        await overlays.adopt(now)
        if publisher.served is not None:
            await publisher.publish("start", datetime.now(UTC))
        await _pull_first(
            federation, [upstream for upstream in due if not is_remote(upstream)], FIRST_LOCAL_SECONDS
        )
        await _pull_first(
            federation, [upstream for upstream in due if is_remote(upstream)], FIRST_REMOTE_SECONDS
        )
        await publisher.publish("start", datetime.now(UTC))
    except Exception:
        log.exception("the configuration could not be adopted whole")


async def _pull_first(federation: Federation, upstreams: Sequence[Upstream], seconds: float) -> None:
    """Pull these, and wait that long; what takes longer goes on in the background."""
    now = datetime.now(UTC)
    pulls = asyncio.gather(*(federation.pull(u.name, now) for u in upstreams), return_exceptions=True)
    await asyncio.wait({pulls}, timeout=seconds)
