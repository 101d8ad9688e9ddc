"""Rules that an admin writes, of the origin `local`: an import takes all of them or none."""

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
    """The result of importing one text."""

    name: str
    rule_id: str
    change: ImportChange
    warnings: tuple[str, ...]
    guard_refusal: str | None


class RuleFileError(msgspec.Struct, frozen=True):
    """One reason why a text was not imported: which text, which field, what to do."""

    name: str
    field: str
    message: str


class LocalRuleError(Exception):
    """The family of reasons why local rules were not changed."""


class NotInService(LocalRuleError):
    """No local rule with this id is in service."""


class ImportRefused(LocalRuleError):
    """Nothing was imported; `errors` has every reason, not just the first."""

    def __init__(self, errors: Sequence[RuleFileError]) -> None:
        super().__init__(f"{len(errors)} mistakes")
        self.errors = list(errors)


Inspected = tuple[RuleFile, Inspection]


async def inspect_files(sandbox: Sandbox, files: Sequence[RuleFile]) -> list[Inspected]:
    """Inspect every text in the sandbox; raises `ImportRefused` with all that is wrong with them."""
    inspected, errors = await sort_files(sandbox, files)
    if errors:
        raise ImportRefused(errors)
    return inspected


async def sort_files(
    sandbox: Sandbox, files: Sequence[RuleFile]
) -> tuple[list[Inspected], list[RuleFileError]]:
    """Inspect every text in the sandbox; return those that are rules, and all that is wrong with the others."""
    results = await asyncio.gather(
        *(sandbox.call(inspect_untrusted, file.text) for file in files), return_exceptions=True
    )
    inspected: list[Inspected] = []
    errors: list[RuleFileError] = []
    names: dict[str, str] = {}
    for file, result in zip(files, results, strict=True):
        if isinstance(result, SandboxError):
            errors.append(RuleFileError(file.name, "text", str(result)))
        elif isinstance(result, BaseException):
            raise result
        elif result.inspection is None:
            errors.append(RuleFileError(file.name, result.field, result.reason))
        elif result.inspection.problems or result.inspection.facts is None:
            errors += [RuleFileError(file.name, p.field, p.message) for p in result.inspection.problems]
        elif other := names.get(result.inspection.facts.rule_id):
            errors.append(
                RuleFileError(file.name, "id", f"{other} has the same id; give one of them another")
            )
        else:
            names[result.inspection.facts.rule_id] = file.name
            inspected.append((file, result.inspection))
    return inspected, errors


def store_local(db: Database, inspected: Sequence[Inspected], at: str) -> list[ImportedRule]:
    """Store every text as a local rule, inside the caller's transaction.

    A community rule gives its id up; an id that an upstream has raises `ImportRefused`.
    """
    errors = [error for file, inspection in inspected if (error := _taken(db, file, inspection))]
    if errors:
        raise ImportRefused(errors)
    return [_store(db, file, inspection, at) for file, inspection in inspected]


def store_possible(
    db: Database, inspected: Sequence[Inspected], at: str
) -> tuple[list[ImportedRule], list[RuleFileError]]:
    """Store the texts that can be stored, inside the caller's transaction; return them, and why the others were not.

    For senders that repeat themselves: unlike an import, it restores nothing that an admin withdrew.
    """
    imported: list[ImportedRule] = []
    errors: list[RuleFileError] = []
    for file, inspection in inspected:
        error = _taken(db, file, inspection) or _withdrawn(db, file, inspection)
        if error is None:
            imported.append(_store(db, file, inspection, at))
        else:
            errors.append(error)
    return imported, errors


def withdraw_local(db: Database, rule_id: str, reason: str, at: str) -> bool:
    """Take a local rule out of service; False when there is none with this id in service."""
    in_service = any(rule.origin == LOCAL and rule.state == "active" for rule in rules_with_id(db, rule_id))
    return in_service and withdraw(db, origin=LOCAL, rule_id=rule_id, reason=reason, at=at)


def _taken(db: Database, file: RuleFile, inspection: Inspection) -> RuleFileError | None:
    """Return the error of an id that an upstream has."""
    rule_id = inspection.facts.rule_id if inspection.facts else ""
    for rule in rules_with_id(db, rule_id):
        if rule.origin.startswith("upstream:") and rule.state == "active":
            return RuleFileError(
                file.name, "id", f"{rule.origin} already has {rule_id}; give this rule another id"
            )
    return None


def _withdrawn(db: Database, file: RuleFile, inspection: Inspection) -> RuleFileError | None:
    """Return the error of an id whose local rule an admin withdrew."""
    rule_id = inspection.facts.rule_id if inspection.facts else ""
    if any(rule.origin == LOCAL and rule.state == "withdrawn" for rule in rules_with_id(db, rule_id)):
        return RuleFileError(file.name, "id", f"{rule_id} was withdrawn here; import it to bring it back")
    return None


def _store(db: Database, file: RuleFile, inspection: Inspection, at: str) -> ImportedRule:
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
