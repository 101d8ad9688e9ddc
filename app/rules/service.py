"""`LocalRules`: what admins and their tools do with rules of the origin `local`; the list of all stored rules."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from sqlite_utils import Database

from app.access import audit_store
from app.access.principal import Actor
from app.http.paging import Page
from app.http.timestamps import to_text
from app.rules.local import (
    ImportedRule,
    NotInService,
    RuleFile,
    RuleFileError,
    inspect_files,
    sort_files,
    store_local,
    store_possible,
    withdraw_local,
)
from app.rules.store import RuleDetail, list_rules, show_rule
from app.sandbox import Sandbox
from app.storage import Storage

Publish = Callable[[str], Awaitable[object]]
"""Publish the rules in service, for the reason given."""


class SyncResult(msgspec.Struct, frozen=True):
    """The texts that are stored now as they were sent, and why the others are not."""

    imported: list[ImportedRule]
    errors: list[RuleFileError]

    @property
    def changed(self) -> list[str]:
        """The ids of rules that were not stored like this before."""
        return _changed(self.imported)


class LocalRules:
    """Changes local rules, each change with its audit entry in one transaction, and publishes it."""

    def __init__(self, storage: Storage, inspect_sandbox: Sandbox, publish: Publish) -> None:
        self._storage = storage
        self._sandbox = inspect_sandbox
        self._publish = publish

    async def list_rules(self, page: Page, wanted: Mapping[str, str]) -> list[RuleDetail]:
        """Return a page of the stored rules of every origin and one more; `wanted` as for `list_rules`."""
        return await self._storage.read(lambda db: list_rules(db, page, wanted))

    async def show_rule(self, rule_id: str) -> list[RuleDetail]:
        """Return every origin's rule with this id, with its text; empty when there is none."""
        return await self._storage.read(lambda db: show_rule(db, rule_id))

    async def import_files(self, files: Sequence[RuleFile], actor: Actor) -> list[ImportedRule]:
        """Import all of the texts or none; raises `ImportRefused` with every reason."""
        inspected = await inspect_files(self._sandbox, files)

        def work(db: Database) -> list[ImportedRule]:
            imported = store_local(db, inspected, to_text(actor.at))
            _record_changes(db, "rules.import", imported, actor)
            return imported

        imported = await self._storage.write(work)
        await self._publish("rules imported")
        return imported

    async def sync(self, files: Sequence[RuleFile], actor: Actor) -> SyncResult:
        """Import the texts that can be imported."""
        inspected, errors = await sort_files(self._sandbox, files)

        def work(db: Database) -> SyncResult:
            imported, refused = store_possible(db, inspected, to_text(actor.at))
            _record_changes(db, "rules.sync", imported, actor)
            return SyncResult(imported, [*errors, *refused])

        result = await self._storage.write(work)
        if result.changed:
            await self._publish("rules synced")
        return result

    async def withdraw(self, rule_id: str, reason: str, actor: Actor) -> None:
        """Take a local rule out of service; raises `NotInService` when there is none with this id."""

        def work(db: Database) -> None:
            if not withdraw_local(db, rule_id, reason, to_text(actor.at)):
                raise NotInService(rule_id)
            audit_store.append(
                db,
                at=actor.at,
                actor=actor.name,
                action="rule.withdraw",
                target=rule_id,
                detail={"reason": reason},
                address=actor.address,
            )

        await self._storage.write(work)
        await self._publish("rule withdrawn")


def _changed(imported: Sequence[ImportedRule]) -> list[str]:
    return [rule.rule_id for rule in imported if rule.change != "unchanged"]


def _record_changes(db: Database, action: str, imported: Sequence[ImportedRule], actor: Actor) -> None:
    if changed := _changed(imported):
        audit_store.append(
            db,
            at=actor.at,
            actor=actor.name,
            action=action,
            detail={"rules": changed},
            address=actor.address,
        )
