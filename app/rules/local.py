"""Rules that an admin writes: brought in all or nothing, owned by the origin `local`."""

import asyncio
from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlite_utils import Database

from app.rules.inspect import Inspection, inspect_untrusted
from app.rules.store import LOCAL, put_text, rules_with_id, store_rule, withdraw, yield_id
from app.sandbox import Sandbox, SandboxError

ImportChange = Literal["added", "changed", "unchanged"]


class RuleFile(msgspec.Struct, frozen=True):
    """One text to import; `name` is what messages call it (a file name, say)."""

    name: str
    text: str


class ImportedRule(msgspec.Struct, frozen=True, rename="camel"):
    """What became of one text."""

    name: str
    rule_id: str
    change: ImportChange
    warnings: tuple[str, ...]
    guard_refusal: str | None


class RuleFileError(msgspec.Struct, frozen=True):
    """One reason why nothing was imported: which text, which field, what to do."""

    name: str
    field: str
    message: str


class ImportRefused(Exception):
    """Nothing was imported; `mistakes` has every reason, not just the first."""

    def __init__(self, mistakes: Sequence[RuleFileError]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = list(mistakes)


Inspected = tuple[RuleFile, Inspection]


async def inspect_files(sandbox: Sandbox, files: Sequence[RuleFile]) -> list[Inspected]:
    """Look at every text in the sandbox; raises `ImportRefused` with all that is wrong with them."""
    inspected, mistakes = await sort_files(sandbox, files)
    if mistakes:
        raise ImportRefused(mistakes)
    return inspected


async def sort_files(
    sandbox: Sandbox, files: Sequence[RuleFile]
) -> tuple[list[Inspected], list[RuleFileError]]:
    """Look at every text in the sandbox; returns what is a rule, and all that is wrong with the others."""
    looks = await asyncio.gather(
        *(sandbox.call(inspect_untrusted, file.text) for file in files), return_exceptions=True
    )
    inspected: list[Inspected] = []
    mistakes: list[RuleFileError] = []
    names: dict[str, str] = {}
    for file, look in zip(files, looks, strict=True):
        if isinstance(look, SandboxError):
            mistakes.append(RuleFileError(file.name, "text", str(look)))
        elif isinstance(look, BaseException):
            raise look
        elif look.inspection is None:
            mistakes.append(RuleFileError(file.name, look.field, look.reason))
        elif look.inspection.problems or look.inspection.facts is None:
            mistakes += [RuleFileError(file.name, p.field, p.message) for p in look.inspection.problems]
        elif other := names.get(look.inspection.facts.rule_id):
            mistakes.append(
                RuleFileError(file.name, "id", f"{other} has the same id; give one of them another")
            )
        else:
            names[look.inspection.facts.rule_id] = file.name
            inspected.append((file, look.inspection))
    return inspected, mistakes


def store_local(db: Database, inspected: Sequence[Inspected], at: str) -> list[ImportedRule]:
    """Hold every text as a local rule, inside the caller's transaction.

    A community rule gives its id up; an id that upstream holds raises `ImportRefused`.
    """
    mistakes = [mistake for file, inspection in inspected if (mistake := _taken(db, file, inspection))]
    if mistakes:
        raise ImportRefused(mistakes)
    return [_hold(db, file, inspection, at) for file, inspection in inspected]


def store_possible(
    db: Database, inspected: Sequence[Inspected], at: str
) -> tuple[list[ImportedRule], list[RuleFileError]]:
    """Hold those texts that can be held, inside the caller's transaction; returns why the others were not.

    For senders that repeat themselves: unlike an import, it brings back nothing that an admin withdrew.
    """
    imported: list[ImportedRule] = []
    mistakes: list[RuleFileError] = []
    for file, inspection in inspected:
        mistake = _taken(db, file, inspection) or _withdrawn(db, file, inspection)
        if mistake is None:
            imported.append(_hold(db, file, inspection, at))
        else:
            mistakes.append(mistake)
    return imported, mistakes


def withdraw_local(db: Database, rule_id: str, reason: str, at: str) -> bool:
    """Take a local rule out of service; False when there is none with this id in service."""
    held = [rule for rule in rules_with_id(db, rule_id) if rule.origin == LOCAL and rule.state == "active"]
    return bool(held) and withdraw(db, origin=LOCAL, rule_id=rule_id, reason=reason, at=at)


def _taken(db: Database, file: RuleFile, inspection: Inspection) -> RuleFileError | None:
    """Does upstream hold the id?"""
    rule_id = inspection.facts.rule_id if inspection.facts else ""
    for rule in rules_with_id(db, rule_id):
        if rule.origin.startswith("upstream:") and rule.state == "active":
            return RuleFileError(
                file.name, "id", f"{rule.origin} already has {rule_id}; give this rule another id"
            )
    return None


def _withdrawn(db: Database, file: RuleFile, inspection: Inspection) -> RuleFileError | None:
    """Did an admin take the local rule with this id out of service?"""
    rule_id = inspection.facts.rule_id if inspection.facts else ""
    if any(rule.origin == LOCAL and rule.state == "withdrawn" for rule in rules_with_id(db, rule_id)):
        return RuleFileError(file.name, "id", f"{rule_id} was withdrawn here; import it to bring it back")
    return None


def _hold(db: Database, file: RuleFile, inspection: Inspection, at: str) -> ImportedRule:
    rule_id = inspection.facts.rule_id if inspection.facts else ""
    mine = [rule for rule in rules_with_id(db, rule_id) if rule.origin == LOCAL]
    change: ImportChange = "changed" if mine else "added"
    if mine and mine[0].state == "active" and mine[0].digest == inspection.text_digest:
        change = "unchanged"
    else:
        yield_id(db, rule_id, at)
        digest = put_text(db, inspection, file.text)
        store_rule(db, origin=LOCAL, rule_id=rule_id, digest=digest, state="active", at=at)
    return ImportedRule(
        name=file.name,
        rule_id=rule_id,
        change=change,
        warnings=tuple(f"{w.field}: {w.message}" for w in inspection.warnings),
        guard_refusal=inspection.guard_refusal,
    )
