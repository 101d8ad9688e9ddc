"""Held rules over HTTP: look, import local ones, withdraw local ones."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import FromPath
from litestar.response import Response
from sqlite_utils import Database

from app.access import audit_store
from app.access.guards import actor_of, instant_of, principal_of, require
from app.access.principal import Role
from app.http.body import read_body
from app.http.envelope import AnyRequest, answer
from app.http.paging import cursor_for, page_of
from app.http.problem import Problem, conflict, not_found
from app.http.timestamps import to_text
from app.rules.local import (
    ImportedRule,
    ImportRefused,
    RuleFile,
    inspect_files,
    store_local,
    withdraw_local,
)
from app.rules.store import FILTERS, list_rules, show_rule

IMPORT_MAX_BYTES = 64 * 1024 * 1024
"""785 published rules are 7.6 MB of JSON."""
MAX_FILES = 5000


class ImportBody(msgspec.Struct, frozen=True):
    """The body of an import."""

    rules: Annotated[list[RuleFile], msgspec.Meta(min_length=1, max_length=MAX_FILES)]


class WithdrawBody(msgspec.Struct, frozen=True):
    """The body of a withdrawal."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


@get("/api/admin/rules", guards=[require(Role.REVIEWER, Role.ADMIN)])
async def list_held_rules(request: AnyRequest) -> Response[bytes]:
    """Held rules of every origin, by id; filters origin, state, category, severity."""
    page = page_of(request.query_params)
    wanted = {name: request.query_params[name] for name in FILTERS if name in request.query_params}
    rules = await request.app.state.storage.read(lambda db: list_rules(db, page, wanted))
    more = cursor_for([rules[-1].rule_id, rules[-1].origin]) if len(rules) == page.limit else None
    return answer(request, rules, meta={"next": more})


@get("/api/admin/rules/{rule_id:str}", guards=[require(Role.REVIEWER, Role.ADMIN)])
async def show_held_rule(request: AnyRequest, rule_id: FromPath[str]) -> Response[bytes]:
    """Every origin's rule with this id, with its text."""
    rules = await request.app.state.storage.read(lambda db: show_rule(db, rule_id))
    if not rules:
        raise not_found("No origin holds a rule with this id.")
    return answer(request, rules)


@post(
    "/api/admin/rules/import",
    guards=[require(Role.ADMIN)],
    status_code=200,
    request_max_body_size=IMPORT_MAX_BYTES,
)
async def import_rules(request: AnyRequest) -> Response[bytes]:
    """Import local rules, all or nothing, and publish them."""
    body = await read_body(request, ImportBody)
    now, actor, address = instant_of(request), actor_of(request), principal_of(request).address

    def keep(db: Database) -> list[ImportedRule]:
        imported = store_local(db, inspected, to_text(now))
        changed = [rule.rule_id for rule in imported if rule.change != "unchanged"]
        if changed:
            audit_store.append(
                db, at=now, actor=actor, action="rules.import", detail={"rules": changed}, address=address
            )
        return imported

    try:
        inspected = await inspect_files(request.app.state.inspect_sandbox, body.rules)
        imported = await request.app.state.storage.write(keep)
    except ImportRefused as refused:
        raise Problem(
            422,
            f"Nothing was imported: {len(refused.errors)} mistakes, see detail.",
            {"mistakes": msgspec.to_builtins(refused.errors)},
        ) from None
    await request.app.state.publish("rules imported")
    return answer(request, imported)


@post("/api/admin/rules/{rule_id:str}/withdraw", guards=[require(Role.ADMIN)], status_code=200)
async def withdraw_rule(request: AnyRequest, rule_id: FromPath[str]) -> Response[bytes]:
    """Take a local rule out of service and publish its withdrawal."""
    body = await read_body(request, WithdrawBody)
    now, actor, address = instant_of(request), actor_of(request), principal_of(request).address

    def keep(db: Database) -> bool:
        if not withdraw_local(db, rule_id, body.reason, to_text(now)):
            return False
        audit_store.append(
            db,
            at=now,
            actor=actor,
            action="rule.withdraw",
            target=rule_id,
            detail={"reason": body.reason},
            address=address,
        )
        return True

    if not await request.app.state.storage.write(keep):
        raise conflict(
            "No local rule with this id is in service. A community rule is withdrawn by its proposal "
            "(`threatcloud proposal withdraw HASH`)."
        )
    await request.app.state.publish("rule withdrawn")
    return answer(request, {"ruleId": rule_id, "state": "withdrawn"})


rules_handlers = [list_held_rules, show_held_rule, import_rules, withdraw_rule]
