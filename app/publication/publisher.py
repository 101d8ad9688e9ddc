"""The publisher: turns the effective set into the next publication, once per change, off the hot path."""

import asyncio
import base64
import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlite_utils import Database

from app.http.timestamps import from_text, to_text
from app.publication import store
from app.publication.compose import Difference, Member, compose, difference, in_order, set_digest
from app.publication.errors import NotFrozen
from app.publication.served_set import ServedSet, Sign, render
from app.publication.store import PublicationPolicy
from app.sandbox.sandbox import give_back_memory
from app.signing.jws import peek_unverified, sign
from app.signing.keys import SigningKeys
from app.storage import Storage

log = logging.getLogger(__name__)
Audit = Callable[[Database], Any]


@dataclass(frozen=True, slots=True)
class _Draft:
    """The set that should be served, and what it follows."""

    previous: store.PublicationRecord | None
    freeze: store.Freeze | None
    members: tuple[Member, ...]
    instants: dict[Member, str]
    changes: Difference
    withdrawals: list[tuple[str, str]]
    """Ids that left the set before and are not back."""


class Publisher:
    """Owns the served that is served; only it replaces that, and always whole."""

    def __init__(
        self, storage: Storage, signing_keys: SigningKeys, policy: PublicationPolicy, issuer: str
    ) -> None:
        self._storage = storage
        self._keys = signing_keys
        self._policy = policy
        self._issuer = issuer
        self._turn = asyncio.Lock()
        self._served: ServedSet | None = None

    @property
    def served(self) -> ServedSet | None:
        """What is served now; None until the first publication is built or loaded."""
        return self._served

    async def freeze_reason(self) -> str | None:
        """Return the rollback in force, in words, or None."""
        freeze = await self._storage.read(store.freeze)
        return f"to publication {freeze.serial}, since {freeze.since}: {freeze.reason}" if freeze else None

    async def load(self) -> None:
        """Serve what was served before the restart, byte for byte and under the same ETag.

        Representations that are not kept, or damaged, are rendered again.
        """
        newest = await self._storage.read(store.latest)
        if newest is None:
            return
        try:
            served = await self._storage.read(lambda db: store.load_served_set(db, newest))
        except (msgspec.MsgspecError, ValueError):
            log.exception(
                "the representations of publication %s are damaged, and rendered again", newest.serial
            )
            served = None
        if served is None:
            served = await self._render_again(newest)
        self._served = served

    async def publish(
        self, reason: str, now: datetime, *, again: bool = False
    ) -> store.PublicationRecord | None:
        """Publish the effective set if it differs from the newest publication (`again`: in any case).

        It also publishes when other keys signed that one: what is served must verify with the keys that we
        publish, after a rotation as after a loss of keys. While a rollback is in force, the set stays the one rolled
        back to, less what was quarantined, withdrawn or disabled since. Return the new publication, or None when
        nothing changed.
        """
        async with self._turn:
            return await self._publish(reason, now, again=again, restores=None)

    async def roll_back(
        self, serial: int, reason: str, now: datetime, audit: Audit
    ) -> store.PublicationRecord:
        """Serve the set of an older publication again, under a new and higher serial, and freeze it.

        Raises `NoSuchPublication`.
        """
        async with self._turn:
            await self._storage.read(lambda db: store.record(db, serial))
            freeze = store.Freeze(serial, to_text(now), reason)

            def begin(db: Database) -> None:
                store.set_freeze(db, freeze)
                audit(db)

            await self._storage.write(begin)
            published = await self._publish(reason, now, again=True, restores=serial)
            assert published is not None  # noqa: S101 (`again` always publishes)
            return published

    async def resume(self, now: datetime, audit: Audit) -> store.PublicationRecord | None:
        """End a rollback and publish the effective set; raises `NothingHeld`."""
        async with self._turn:

            def end(db: Database) -> None:
                if not store.clear_freeze(db):
                    raise NotFrozen("no rollback is in force, so there is nothing to release")
                audit(db)

            await self._storage.write(end)
            return await self._publish("rollback released", now, again=False, restores=None)

    async def _publish(
        self, reason: str, now: datetime, *, again: bool, restores: int | None
    ) -> store.PublicationRecord | None:
        draft = await self._storage.read(_draft)
        digest = set_digest(draft.members)
        newest = draft.previous
        if newest is not None and newest.digest == digest and self._signed_this(newest) and not again:
            return None
        instant = _next_instant(draft.previous, now)
        record, served, members = await self._render(draft, digest, instant, reason, restores)

        def keep(db: Database) -> None:
            store.insert_publication(db, record, members, draft.changes.withdrawn)
            store.keep_representations(db, served)
            store.forget_older(db, self._policy.keep, draft.freeze.serial if draft.freeze else None)

        await self._storage.write(keep)
        self._served = served
        await asyncio.to_thread(give_back_memory)
        log.info(
            "published",
            extra={
                "serial": record.serial,
                "rules": record.total,
                "canary": record.canary,
                "added": len(draft.changes.added),
                "changed": len(draft.changes.changed),
                "withdrawn": len(draft.changes.withdrawn),
                "reason": reason,
            },
        )
        return record

    async def _render(
        self, draft: _Draft, digest: str, instant: datetime, reason: str, restores: int | None
    ) -> tuple[store.PublicationRecord, ServedSet, list[tuple[Member, str]]]:
        stamp = to_text(instant)
        serial = draft.previous.serial + 1 if draft.previous else 1
        members = [(member, draft.instants.get(member, stamp)) for member in draft.members]
        rules = await self._storage.read(lambda db: store.served_rules(db, members))
        withdrawn = draft.withdrawals + [(rule_id, stamp) for rule_id in draft.changes.withdrawn]
        served = await asyncio.to_thread(render, serial, instant, digest, rules, withdrawn, self._sign_rule())
        canary = sum(member.ring == "canary" for member in draft.members)
        record = store.PublicationRecord(
            serial=serial,
            published_at=stamp,
            digest=digest,
            total=len(members),
            canary=canary,
            reason=reason,
            restores=restores,
            manifest=self._manifest(draft, serial, stamp, digest),
        )
        return record, served, members

    async def _render_again(self, newest: store.PublicationRecord) -> ServedSet:
        """Build the representations of the newest publication again, for a database that does not keep them."""

        def read(db: Database) -> tuple[list[Any], list[tuple[str, str]]]:
            instants = store.published_instants(db, newest.serial)
            members = [(member, instants[member]) for member in in_order(instants)]
            return store.served_rules(db, members), store.withdrawals(db)

        rules, withdrawn = await self._storage.read(read)
        served = await asyncio.to_thread(
            render,
            newest.serial,
            from_text(newest.published_at),
            newest.digest,
            rules,
            withdrawn,
            self._sign_rule(),
        )
        await self._storage.write(lambda db: store.keep_representations(db, served))
        return served

    def _signed_this(self, record: store.PublicationRecord) -> bool:
        """Was it signed by the keys that sign now?"""
        header, claims = peek_unverified(record.manifest)
        return (header["kid"], claims.get("rule_key")) == (
            self._keys.signer("manifest").kid,
            self._keys.signer("rule").kid,
        )

    def _sign_rule(self) -> Sign:
        key = self._keys.signer("rule").private
        return lambda content: base64.b64encode(key.sign(content)).decode("ascii")

    def _manifest(self, draft: _Draft, serial: int, stamp: str, digest: str) -> str:
        """Return the signed statement of what the publication holds (JWS, compact form).

        It names its predecessor by digest, so a chain of manifests shows a publication that was left out, and
        the key that signed the rules.
        """
        signer = self._keys.signer("manifest")
        previous = draft.previous.manifest if draft.previous else ""
        claims = {
            "iss": self._issuer,
            "serial": serial,
            "published_at": stamp,
            "digest": digest,
            "previous": hashlib.sha256(previous.encode()).hexdigest() if previous else None,
            "rule_key": self._keys.signer("rule").kid,
            "rules": {member.rule_id: member.digest for member in draft.members},
        }
        return sign("publication+jwt", claims, signer)


def _draft(db: Database) -> _Draft:
    previous = store.latest(db)
    before = store.published_instants(db, previous.serial) if previous else {}
    freeze = store.freeze(db)
    if freeze is None:
        members = compose(store.effective_members(db), store.priorities(db))
    else:
        members = in_order(_still_wanted(db, freeze.serial))
    known = {member.rule_id for member in members}
    gone = [withdrawal for withdrawal in store.withdrawals(db) if withdrawal[0] not in known]
    return _Draft(previous, freeze, members, before, difference(before, members), gone)


def _still_wanted(db: Database, serial: int) -> Iterator[Member]:
    """Return what a rollback to this publication serves: its set, less what was withdrawn by decision since."""
    own, disabled = store.own_ids_in_service(db), store.disabled(db)
    for member in store.published_members(db, serial):
        key = member.origin, member.rule_id
        is_upstream = member.origin.startswith("upstream:")
        if (is_upstream and key not in disabled) or key in own:
            yield member


def _next_instant(previous: store.PublicationRecord | None, now: datetime) -> datetime:
    """`now`, but always in a later second than the last one.

    ETags name a set by its instant, and `Last-Modified` has whole seconds only: two publications within one
    second would look the same to a client that sends `If-Modified-Since`.
    """
    if previous is None:
        return now
    floor = from_text(previous.published_at).replace(microsecond=0) + timedelta(seconds=1)
    return max(now, floor)
