"""The gatekeeper: checks keys, issues and revokes them, and limits the rate of each.

Every change to a key passes through here. So a revocation holds from the next request on, although checking a known
token reads no database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, TypeVar

from msgspec.structs import replace
from sqlite_utils import Database

from app.access import audit_store
from app.access.authentication import Authenticator
from app.access.enrolment import (
    checked_client_id,
    checked_site,
    checked_subject,
    new_key_id,
    new_subject,
)
from app.access.key_activity import KeyActivity
from app.access.key_store import KeyRecord, find_key, holder_of, insert_key, revoke_key
from app.access.limits import RateVerdict, TokenBuckets
from app.access.networks import Networks, source_of
from app.access.policy import AccessMode, AccessPolicy, LimitPolicy
from app.access.principal import Principal, Role
from app.access.refusals import registration_refused, too_fast
from app.access.token_cache import fingerprinter, token_digest
from app.access.tokens import encode_token
from app.http.problem import not_found
from app.http.timestamps import from_text, to_text
from app.signing.keys import KeyUse, SigningKeys
from app.storage import Storage

T = TypeVar("T")
FORWARDING_HEADERS = ("x-forwarded-for", "forwarded", "via", "x-real-ip")
"""Headers that proxies add to a request (RFC 7239, RFC 9110 7.6.3, and nginx's habit)."""


class Gatekeeper:
    """Checks and changes keys; one per process. `now` is always the instant of the request, in UTC."""

    def __init__(
        self,
        storage: Storage,
        signing_keys: SigningKeys,
        access_policy: AccessPolicy,
        limit_policy: LimitPolicy,
        issuer: str,
    ) -> None:
        self.signing_keys = signing_keys
        self.on_rotated: Callable[[KeyUse], Awaitable[None]] = _nothing
        """Called after a signing key was made, to sign again what is served."""
        self.live_bucket = TokenBuckets(limit_policy.live_burst, 1 / limit_policy.live_refill_seconds)
        self.activity = KeyActivity()
        self._authenticator = Authenticator(
            storage,
            signing_keys,
            issuer,
            failures=_per_minute(limit_policy.failed_per_minute),
            activity=self.activity,
        )
        self._storage = storage
        self._policy = access_policy
        self._networks = Networks.parse(access_policy.networks)
        self._metrics_networks = Networks.parse(access_policy.metrics_networks)
        self._trusted_proxies = Networks.parse(access_policy.trusted_proxies)
        self._issuer = issuer
        self._by_role = {
            Role.AGENT: _per_minute(limit_policy.agent_per_minute),
            Role.PARTNER: _per_minute(limit_policy.partner_per_minute),
            Role.REVIEWER: _per_minute(limit_policy.reviewer_per_minute),
            Role.ADMIN: _per_minute(limit_policy.admin_per_minute),
        }
        self._anonymous = _per_minute(limit_policy.anonymous_per_minute)
        per_hour = access_policy.registrations_per_hour
        self._registrations = TokenBuckets(per_hour, per_hour / 3600)

    async def authenticate(self, headers: Mapping[str, str], address: str, now: datetime) -> Principal:
        """Return who sent these headers (lower-case names); without `authorization` somebody anonymous.

        A token seen before costs no I/O. Raises `Problem` 401 for a key that is malformed, expired, revoked
        or unknown, 429 once one source has sent too many of those; a valid key is never refused for its
        neighbours' failures.
        """
        return await self._authenticator.authenticate(headers, address, now)

    async def remember_tokens(self, now: datetime) -> None:
        """Recognise the tokens of every valid key, so that a whole fleet can come back at once after a restart."""
        await self._authenticator.remember(now)

    def holder(self, token: str, now: datetime) -> KeyRecord:
        """Return the record of a token that `authenticate` would accept now; raises `KeyRefused`."""
        return self._authenticator.holder(token, now)

    def may_read_anonymously(self, address: str) -> bool:
        """Return whether this address may read rules without a key."""
        return self._admits(self._policy.anonymous_read, address)

    def may_read_metrics(self, address: str, peer: str, headers: Mapping[str, str]) -> bool:
        """Return whether this address may read metrics without a key; `peer` is the other end of the connection.

        The address of a request that an untrusted proxy passed on cannot be believed: a proxy on this machine would
        otherwise open to everybody what is open to this machine.
        """
        is_passed_on = any(name in headers for name in FORWARDING_HEADERS)
        if is_passed_on and not self._trusted_proxies.contains(peer):
            return False
        return self._metrics_networks.contains(address)

    def may_report_anonymously(self, address: str) -> bool:
        """Return whether this address may send reports, and read counts, without a key."""
        return self._admits(self._policy.anonymous_report, address)

    def rate_limit(self, principal: Principal, now: datetime) -> RateVerdict:
        """Charge one request to the key, or to the source when there is none."""
        if principal.role is None:
            return self._anonymous.take(source_of(principal.address), now.timestamp())
        return self._by_role[principal.role].take(principal.key_id, now.timestamp())

    def _admits(self, mode: AccessMode, address: str) -> bool:
        return mode == "open" or (mode == "networks" and self._networks.contains(address))

    async def issue(
        self,
        *,
        role: Role,
        subject: str,
        expires: datetime | None,
        site: str | None,
        actor: str,
        now: datetime,
        address: str | None = None,
        issued_by: str | None = None,
    ) -> tuple[KeyRecord, str]:
        """Make a key for a subject; return its record and its token, which is shown here and never again.

        A subject may have several keys: they are one identity. `issued_by` is a remark for the audit log.
        Raises `Problem` 400 for a malformed or reserved subject or site.
        """
        record = KeyRecord(
            id=new_key_id(),
            role=role,
            subject=checked_subject(subject),
            enrolled="admin",
            site=checked_site(site),
            client_id=None,
            address=None,
            issued_at=to_text(now),
            expires_at=None if expires is None else to_text(expires),
        )
        detail = {"role": role.value, "subject": subject, "site": site, "expires_at": record.expires_at}
        if issued_by is not None:
            detail["issued_by"] = issued_by
        return record, await self._issue(record, "key.issue", actor, detail, address, now)

    async def register(self, client_id: str, address: str, now: datetime) -> tuple[KeyRecord, str]:
        """Give a client that registers itself an agent key, as a new identity every time.

        `client_id` is a label only: it takes over no other identity and revokes nothing. Raises `Problem` 400 for a
        malformed label, 403 where policy does not admit the address, 429 past the hourly limit of its source.
        """
        checked_client_id(client_id)
        if not self._admits(self._policy.registration, address):
            raise registration_refused(self._policy.registration, address)
        verdict = self._registrations.take(source_of(address), now.timestamp())
        if not verdict.allowed:
            raise too_fast(verdict)
        record = KeyRecord(
            id=new_key_id(),
            role=Role.AGENT,
            subject=new_subject(),
            enrolled="self",
            site=None,
            client_id=client_id,
            address=address,
            issued_at=to_text(now),
            expires_at=None,
        )
        actor = holder_of(record, address).actor
        detail = {"subject": record.subject, "client_id": client_id}
        return record, await self._issue(record, "key.register", actor, detail, address, now)

    async def _issue(
        self,
        record: KeyRecord,
        action: str,
        actor: str,
        detail: Mapping[str, Any],
        address: str | None,
        now: datetime,
    ) -> str:
        signer = self.signing_keys.signer("access")
        token = encode_token(
            key_id=record.id,
            role=record.role,
            subject=record.subject,
            issued_at=now,
            expires_at=None if record.expires_at is None else from_text(record.expires_at),
            issuer=self._issuer,
            private_key=signer.private,
            kid=signer.kid,
        )
        fingerprint = fingerprinter(signer)(token_digest(token), record)

        def work(db: Database) -> None:
            insert_key(db, record, fingerprint)
            audit_store.append(
                db, at=now, actor=actor, action=action, target=record.id, detail=detail, address=address
            )

        await self._storage.write(work)
        return token

    async def revoke(
        self, key_id: str, now: datetime, *, actor: str, address: str | None = None
    ) -> KeyRecord:
        """Revoke a key for good: the next request with it is refused. Revoking twice changes nothing.

        Raises `Problem` 404 for an id that was never issued.
        """

        def work(db: Database) -> KeyRecord:
            record = find_key(db, key_id)
            if record is None:
                raise not_found("No key has this id.")
            if not revoke_key(db, key_id, now):
                return record
            detail = {"role": record.role.value, "subject": record.subject}
            audit_store.append(
                db, at=now, actor=actor, action="key.revoke", target=key_id, detail=detail, address=address
            )
            return replace(record, revoked_at=to_text(now))

        async def revoke() -> KeyRecord:
            record = await self._storage.write(work)
            self._authenticator.revoked(key_id)
            return record

        return await _to_the_end(revoke())

    async def rotate_signing_key(
        self, use: KeyUse, now: datetime, *, actor: str, address: str | None = None
    ) -> str:
        """Make a new signing key, audited, and return its id; what the old ones signed stays valid.

        What is served and was signed with the old key is signed again at once (`on_rotated`).
        """

        async def rotate() -> str:
            kid = await asyncio.to_thread(self.signing_keys.rotate, use, now)
            await self._record("signing_key.rotate", kid, actor, address, now)
            return kid

        kid = await _to_the_end(rotate())
        await self.on_rotated(use)
        return kid

    async def retire_signing_key(
        self, kid: str, now: datetime, *, actor: str, address: str | None = None
    ) -> None:
        """Delete an old signing key, audited: what it signed is refused from now on.

        Raises `UnknownSigningKey` or `ActiveSigningKey`.
        """

        async def retire() -> None:
            await asyncio.to_thread(self.signing_keys.retire, kid)
            self._authenticator.signing_key_retired()
            await self._record("signing_key.retire", kid, actor, address, now)

        await _to_the_end(retire())

    async def _record(self, action: str, target: str, actor: str, address: str | None, now: datetime) -> None:
        await self._storage.write(
            lambda db: audit_store.append(
                db, at=now, actor=actor, action=action, target=target, address=address
            )
        )


async def _nothing(_use: KeyUse) -> None:
    """Do nothing after a rotation."""


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` even when its caller is cancelled: a closed connection must not leave a revoked key cached."""
    return await asyncio.shield(asyncio.ensure_future(work))


def _per_minute(limit: int) -> TokenBuckets:
    return TokenBuckets(limit, limit / 60)
