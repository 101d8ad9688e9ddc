"""What the serving process opens when it starts and closes when it stops."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from litestar import Litestar

from app.access.gatekeeper import Gatekeeper
from app.access.issuer import issuer_of
from app.access.pulls import PullCounter
from app.access.signing_keys import KeyUse, SigningKeys
from app.config import Config
from app.consensus.service import Consensus
from app.federation.pull import Federation
from app.jobs import Jobs
from app.offload import Lane
from app.publication.freshness import Freshness
from app.publication.publisher import Publisher
from app.storage import Storage, StorageUnavailable
from app.web.admin_key import ensure_admin_key
from app.web.locking import take_lock
from app.wire.problem import Problem

log = logging.getLogger(__name__)

INSPECT_SECONDS = 2.0
"""Deadline of the cheap structural look that every submitted text gets."""
GATE_SECONDS = 10.0
"""Deadline of the gate, which runs foreign regular expressions."""

CLOSING_SECONDS = 30.0
"""How long an old process may take to close after its graceful time; gunicorn stops all when we give up first."""
NOT_PUBLISHED = (
    "This is done and kept, but the database cannot take the publication that tells clients. "
    "It follows by itself as soon as there is space again; see `threatcloud doctor`."
)


@asynccontextmanager
async def opened(app: Litestar, config: Config, *, serving: bool) -> AsyncIterator[None]:
    """Open the state folder and put every service into `app.state`; close all of it afterwards.

    `serving` also starts the scheduled jobs and the first pull of each upstream; a CLI verb that runs without
    a server does not want those. Raises `AlreadyRunning`, `StorageError`.
    """
    now = datetime.now(UTC)
    state_dir = config.state_dir
    async with AsyncExitStack() as stack:
        # On a reload the old process has the lock until its last request is done or given up, and then closes.
        patience = config.server.graceful_seconds + CLOSING_SECONDS if serving else 0
        lock = await take_lock(state_dir, _purpose(serving=serving), patience)
        stack.callback(lock.release)
        storage = await asyncio.to_thread(Storage, state_dir)
        stack.push_async_callback(storage.close)
        issuer = await storage.write(issuer_of)
        keys = SigningKeys.open(state_dir, now)
        gatekeeper = Gatekeeper(storage, keys, config.access, config.limits, issuer)
        publisher = Publisher(storage, keys, config.publication, issuer)
        inspect_lane, gate_lane = Lane(INSPECT_SECONDS), Lane(GATE_SECONDS)
        stack.push_async_callback(inspect_lane.close)
        stack.push_async_callback(gate_lane.close)
        await publisher.load()

        async def publish(reason: str) -> None:
            try:
                await publisher.publish(reason, datetime.now(UTC))
            except StorageUnavailable as error:
                log.exception("not published yet: %s", reason)
                raise Problem(503, NOT_PUBLISHED) from error

        async def on_rotated(use: KeyUse) -> None:
            if use != "access":
                await publish(f"{use} key rotated")

        consensus = Consensus(storage, inspect_lane, gate_lane, config.consensus, publish)
        federation = Federation(storage, config.upstream)
        pull_counter = PullCounter()
        services = {
            "config": config,
            "storage": storage,
            "signing_keys": keys,
            "gatekeeper": gatekeeper,
            "publisher": publisher,
            "freshness": Freshness(keys, issuer),
            "consensus": consensus,
            "federation": federation,
            "inspect_lane": inspect_lane,
            "gate_lane": gate_lane,
            "pull_counter": pull_counter,
            "publish": publish,
            "on_rotated": on_rotated,
            "started_at": now,
        }
        app.state.update(services)
        await ensure_admin_key(state_dir, gatekeeper, now)
        if serving:
            await _catch_up(publisher)
            jobs = Jobs(storage, consensus, publisher, pull_counter, config)
            stack.push_async_callback(jobs.stop)
            jobs.start()
            adoption = asyncio.create_task(_adopt_configuration(consensus, federation, publisher))
            stack.callback(adoption.cancel)
        else:
            await consensus.adopt_policy(now)
        yield


def _purpose(*, serving: bool) -> str:
    return f"threatcloud serve, main process {os.getppid()}" if serving else "a threatcloud command"


async def _catch_up(publisher: Publisher) -> None:
    """Publish what a crash kept from being published, before anybody is served a set that was left behind."""
    if publisher.edition is None:
        return
    try:
        await publisher.publish("start", datetime.now(UTC))
    except StorageUnavailable:
        log.exception("serving the last publication, since no new one can be kept")


async def _adopt_configuration(consensus: Consensus, federation: Federation, publisher: Publisher) -> None:
    """Count under the present terms, bring upstream's rules up to date, then publish what there is."""
    try:
        await consensus.adopt_policy(datetime.now(UTC))
        await federation.pull_all(datetime.now(UTC))
        await publisher.publish("start", datetime.now(UTC))
    except Exception:
        log.exception("the configuration could not be adopted whole")
