"""Stored rules over HTTP: list and show them, import and withdraw local ones, take what ATR tools push."""

from typing import Annotated, Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, PathParameter, QueryParameter

from app.access.principal import Actor, Role
from app.access.route_guards import require
from app.http.envelope import Answer
from app.http.paging import Page, page_of_rows, paged
from app.http.problem import Problem, conflict, not_found
from app.http.requests import JsonBody
from app.rules.local import ImportedRule, ImportRefused, LocalRuleError, RuleFile, RuleFileError
from app.rules.service import LocalRules
from app.rules.store import RuleDetail

IMPORT_MAX_BYTES = 64 * 1024 * 1024
"""785 published rules are 7.6 MB of JSON."""
MAX_FILES = 5000
SHOWN_REASONS = 50

RuleId = Annotated[str, PathParameter(schema_extra={"minLength": 1})]
_reviewers = [require(Role.REVIEWER, Role.ADMIN)]
_admins = [require(Role.ADMIN)]


class ImportBody(msgspec.Struct, frozen=True):
    """The body of an import."""

    rules: Annotated[list[RuleFile], msgspec.Meta(min_length=1, max_length=MAX_FILES)]


class WithdrawBody(msgspec.Struct, frozen=True):
    """The body of a withdrawal."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class WithdrawnRule(msgspec.Struct, rename="camel"):
    """A local rule that is out of service."""

    rule_id: str
    state: Literal["withdrawn"]


class PushedRule(msgspec.Struct, frozen=True, rename="camel"):
    """One rule as tools push it; `source`, their name for its author, decides nothing here."""

    rule_id: str
    rule_content: str
    source: str = ""


class PushedRules(msgspec.Struct, frozen=True):
    """The body of a push."""

    rules: Annotated[list[PushedRule], msgspec.Meta(max_length=MAX_FILES)]


class Synced(msgspec.Struct, frozen=True, rename="camel"):
    """The result of a push: `count` rules are stored now as they were sent, `changed` of them were not before.

    `reasons` are those of the first `SHOWN_REASONS` skipped ones.
    """

    message: str
    count: int
    skipped: int
    changed: int
    reasons: list[RuleFileError]


@get("/api/admin/rules", guards=_reviewers, dependencies=paged(2))
async def list_stored_rules(
    local_rules: NamedDependency[LocalRules],
    page: NamedDependency[Page],
    origin: FromQuery[str | None] = None,
    wanted_state: Annotated[str | None, QueryParameter(name="state")] = None,
    category: FromQuery[str | None] = None,
    severity: FromQuery[str | None] = None,
) -> Answer[list[RuleDetail]]:
    """Held rules of every origin, by id; filters origin, state, category, severity."""
    filters = {"origin": origin, "state": wanted_state, "category": category, "severity": severity}
    wanted = {name: value for name, value in filters.items() if value is not None}
    rules = await local_rules.list_rules(page, wanted)
    return page_of_rows(rules, page, lambda rule: (rule.rule_id, rule.origin))


@get("/api/admin/rules/{rule_id:str}", guards=_reviewers)
async def show_stored_rule(local_rules: NamedDependency[LocalRules], rule_id: RuleId) -> list[RuleDetail]:
    """Every origin's rule with this id, with its text."""
    rules = await local_rules.show_rule(rule_id)
    if not rules:
        raise not_found("No origin holds a rule with this id.")
    return rules


@post("/api/admin/rules/import", guards=_admins, status_code=200, request_max_body_size=IMPORT_MAX_BYTES)
async def import_rules(
    local_rules: NamedDependency[LocalRules], data: JsonBody[ImportBody], actor: NamedDependency[Actor]
) -> list[ImportedRule]:
    """Import local rules, all or nothing, and publish them."""
    return await local_rules.import_files(data.rules, actor)


@post("/api/admin/rules/{rule_id:str}/withdraw", guards=_admins, status_code=200)
async def withdraw_rule(
    local_rules: NamedDependency[LocalRules],
    rule_id: RuleId,
    data: JsonBody[WithdrawBody],
    actor: NamedDependency[Actor],
) -> WithdrawnRule:
    """Take a local rule out of service and publish its withdrawal."""
    await local_rules.withdraw(rule_id, data.reason, actor)
    return WithdrawnRule(rule_id, "withdrawn")


@post("/api/rules/sync", guards=_admins, status_code=200, request_max_body_size=IMPORT_MAX_BYTES)
async def sync_rules(
    local_rules: NamedDependency[LocalRules], data: JsonBody[PushedRules], actor: NamedDependency[Actor]
) -> Synced:
    """Hold pushed rules as local ones, skip what cannot be held, and publish the change."""
    # `atr tc sync` sends all 785 published rules, 7.6 MB, in one request and again on every run (measured, 4.0.0).
    # So, unlike an import, this skips rules that an upstream has, and those that an admin withdrew.
    files = [RuleFile(rule.rule_id[:128], rule.rule_content) for rule in data.rules]
    result = await local_rules.sync(files, actor)
    count = len(result.imported)
    skipped = len(files) - count
    return Synced(
        message=f"{count} rule(s) synced, {skipped} skipped",
        count=count,
        skipped=skipped,
        changed=len(result.changed),
        reasons=result.errors[:SHOWN_REASONS],
    )


def local_rule_problem(error: LocalRuleError) -> Problem:
    """Say in HTTP why local rules were not changed."""
    if isinstance(error, ImportRefused):
        return Problem(
            422,
            f"Nothing was imported: {len(error.errors)} mistakes, see detail.",
            {"mistakes": msgspec.to_builtins(error.errors)},
        )
    return conflict(
        "No local rule with this id is in service. A community rule is withdrawn by its proposal "
        "(`threatcloud proposal withdraw HASH`)."
    )


rules_handlers = [list_stored_rules, show_stored_rule, import_rules, withdraw_rule, sync_rules]
