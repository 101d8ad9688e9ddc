"""Who sent a request: a token is checked by signature and database once, from then on by two look-ups."""

from collections.abc import Mapping
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec.structs import replace

from app.access.key_activity import KeyActivity
from app.access.key_store import KeyRecord, find_key, fingerprinted_keys, holder_of
from app.access.limits import TokenBuckets
from app.access.networks import source_of
from app.access.principal import Principal, anonymous
from app.access.refusals import invalid_key, too_fast
from app.access.token_cache import MAX_ENTRIES, CachedToken, TokenCache, recognised, token_digest
from app.access.tokens import MAX_LENGTH, BadToken, Claims, decode_token
from app.http.problem import Problem
from app.http.timestamps import from_text
from app.signing.keys import SigningKeys
from app.storage import Storage


class KeyRefused(Exception):
    """A token that is not accepted; `reason` is a key of the table of `app.access.refusals`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Authenticator:
    """Checks tokens; it keeps those seen before, and the keys revoked since.

    `failures` counts refusals per source.
    """

    def __init__(
        self,
        storage: Storage,
        signing_keys: SigningKeys,
        issuer: str,
        failures: TokenBuckets,
        activity: KeyActivity,
    ) -> None:
        self._storage = storage
        self._signing_keys = signing_keys
        self._issuer = issuer
        self._failures = failures
        self._activity = activity
        self._cache = TokenCache()
        self._revoked: set[str] = set()

    async def remember(self, now: datetime) -> None:
        """Put the tokens of valid keys that this instance signed into the cache, before the first request.

        Tokens of a signing key that was retired are not among them, and are refused as before. Why:
        docs/decisions/0018.
        """
        found = await self._storage.read(lambda db: fingerprinted_keys(db, now, MAX_ENTRIES))
        for digest, record in recognised(found, self._signing_keys.of("access")):
            end = None if record.expires_at is None else from_text(record.expires_at).replace(microsecond=0)
            self._cache.put(digest, CachedToken(holder_of(record, ""), end))

    async def authenticate(self, headers: Mapping[str, str], address: str, now: datetime) -> Principal:
        """Return who sent these headers; see `Gatekeeper.authenticate`."""
        header = headers.get("authorization")
        if header is None:
            return anonymous(address)
        scheme, _, token = header.partition(" ")
        token = token.strip(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_LENGTH or not token.isascii():
            raise self._refusal("malformed", address, now)
        cached = self._cache.get(token) or self._verify(token, address, now)
        principal = cached.principal
        if principal.key_id in self._revoked:
            raise self._refusal("revoked", address, now)
        if cached.expires_at is not None and now >= cached.expires_at:
            raise self._refusal("expired", address, now)
        self._activity.seen(principal.key_id, now)
        if principal.address != address:
            principal = cached.principal = replace(principal, address=address)
        return principal

    def holder(self, token: str, now: datetime) -> KeyRecord:
        """Return the record of a token that would be accepted now, without charging or recording its holder.

        Raises `KeyRefused`.
        """
        record, _ = self._known(token, now)
        if record.revoked_at is not None:
            raise KeyRefused("revoked")
        return record

    def revoked(self, key_id: str) -> None:
        """Refuse this key from now on."""
        self._revoked.add(key_id)

    def signing_key_retired(self) -> None:
        """Check every token again: the key that signed it may be gone."""
        self._cache.clear()

    def _verify(self, token: str, address: str, now: datetime) -> CachedToken:
        try:
            record, claims = self._known(token, now)
        except KeyRefused as error:
            raise self._refusal(error.reason, address, now) from error
        if record.revoked_at is not None:
            self._revoked.add(record.id)
        cached = CachedToken(holder_of(record, address), claims.expires_at)
        self._cache.put(token_digest(token), cached)
        return cached

    def _known(self, token: str, now: datetime) -> tuple[KeyRecord, Claims]:
        """Return the record that a token stands for, which may be revoked, and its claims; raises `KeyRefused`."""
        try:
            claims = decode_token(token, self._access_key, self._issuer, now)
        except BadToken as error:
            raise KeyRefused(error.reason) from error
        record = self._storage.read_now(lambda db: find_key(db, claims.key_id))
        if record is None or (record.role, record.subject) != (claims.role, claims.subject):
            raise KeyRefused("unknown")
        return record, claims

    def _access_key(self, kid: str) -> Ed25519PublicKey | None:
        return self._signing_keys.public("access", kid)

    def _refusal(self, reason: str, address: str, now: datetime) -> Problem:
        verdict = self._failures.take(source_of(address), now.timestamp())
        return invalid_key(reason) if verdict.allowed else too_fast(verdict)
