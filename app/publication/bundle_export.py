"""Export the served set as a bundle, for instances without a network between them and this one (decision 0013).

This stands with publication because it reads publications; the format itself is in `app.bundles`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlite_utils import Database

from app.bundles.format import BundledRule, BundleManifest, RuleSource, digest_of, write_bundle
from app.http.timestamps import to_text
from app.publication import store
from app.publication.errors import NoDeltaFrom, NoSuchPublication, NothingNewer
from app.rules.store import text_of
from app.signing.jws import peek_unverified
from app.signing.keys import SigningKey


@dataclass(frozen=True, slots=True)
class Export:
    """A bundle, ready to be sent."""

    manifest: BundleManifest
    content: bytes

    @property
    def file_name(self) -> str:
        """`threatcloud-42.tcbundle`, or for a delta `threatcloud-40-to-42.tcbundle`."""
        start = f"{self.manifest.since}-to-" if self.manifest.since else ""
        return f"threatcloud-{start}{self.manifest.serial}.tcbundle"


def export_bundle(db: Database, since: int, key: SigningKey, now: datetime) -> Export | None:
    """Return the newest publication as a bundle, whole (`since` 0) or as what changed after publication `since`.

    Rules in canary are left out. Everything is read in one transaction (call it in a reader's thread: 785 rules take
    a quarter of a second); None before the first publication. Raise `NothingNewer`, `NoDeltaFrom` for a `since`
    that is forgotten or to come, and `BundleError` (`too-large`).
    """
    try:
        return _export(db, since, key, now)
    except NoSuchPublication as error:
        raise NoDeltaFrom(error.serial) from error


def _export(db: Database, since: int, key: SigningKey, now: datetime) -> Export | None:
    newest = store.latest(db)
    if newest is None:
        return None
    if since == newest.serial:
        raise NothingNewer(since)
    serials = range(since + 1 if since else newest.serial, newest.serial + 1)
    before = _stable_texts(db, since) if since else frozenset[str]()
    members = store.published_instants(db, newest.serial)
    rules = {
        member.rule_id: BundledRule(member.digest, cast("RuleSource", member.source), instant)
        for member, instant in sorted(members.items(), key=lambda item: item[0].rule_id)
        if member.ring == "stable"
    }
    manifest = BundleManifest(
        iss=peek_unverified(newest.manifest).claims["iss"],
        exported_at=to_text(now),
        since=since,
        serial=newest.serial,
        published_at=newest.published_at,
        digest=newest.digest,
        rules=rules,
        texts=tuple(sorted({rule.digest for rule in rules.values()} - before)),
        chain=tuple(digest_of(token.encode("ascii")) for token in _publications(db, serials)),
    )
    pieces = write_bundle(manifest, _publications(db, serials), _texts(db, manifest.texts), key)
    return Export(manifest, b"".join(pieces))


def _stable_texts(db: Database, serial: int) -> frozenset[str]:
    return frozenset(m.digest for m in store.published_members(db, serial) if m.ring == "stable")


def _publications(db: Database, serials: Sequence[int]) -> Iterator[str]:
    """Yield their manifests; raise `NoSuchPublication` where one is forgotten."""
    for serial in serials:
        yield store.record(db, serial).manifest


def _texts(db: Database, digests: Sequence[str]) -> Iterator[tuple[str, str]]:
    for digest in digests:
        text = text_of(db, digest)
        assert text is not None  # noqa: S101 (a published rule refers to a kept text)
        yield digest, text
