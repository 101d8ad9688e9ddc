"""`POST /api/rules/sync`: rules pushed by ATR tools, kept as local rules.

`atr tc sync` sends all 785 published rules, 7.6 MB, in one request and again on every run (measured, 4.0.0). So
unlike an import it takes what it can: what is no rule, what upstream brings already and what an admin withdrew is
skipped, each with its reason.
"""

from typing import Annotated

import msgspec
from litestar import post
from litestar.response import Response
from sqlite_utils import Database

from app.access import audit_store
from app.access.guards import actor_of, instant_of, principal_of, require
from app.access.principal import Role
from app.http.body import read_body
from app.http.envelope import AnyRequest, answer
from app.http.timestamps import to_text
from app.rules.local import ImportedRule, RuleFile, RuleFileError, sort_files, store_possible
from app.rules.routes import IMPORT_MAX_BYTES, MAX_FILES

SHOWN_REASONS = 50


class PushedRule(msgspec.Struct, frozen=True, rename="camel"):
    """One rule as tools push it; whose rule it is they call `source`, which decides nothing here."""

    rule_id: str
    rule_content: str
    source: str = ""


class PushedRules(msgspec.Struct, frozen=True):
    """The body of a push."""

    rules: Annotated[list[PushedRule], msgspec.Meta(max_length=MAX_FILES)]


class Synced(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a push: `count` rules are held now as they were sent, `changed` of them were not before.

    `reasons` are those of the first `SHOWN_REASONS` skipped ones.
    """

    message: str
    count: int
    skipped: int
    changed: int
    reasons: list[RuleFileError]


@post(
    "/api/rules/sync",
    guards=[require(Role.ADMIN)],
    status_code=200,
    request_max_body_size=IMPORT_MAX_BYTES,
)
async def sync_rules(request: AnyRequest) -> Response[bytes]:
    """Hold pushed rules as local ones, skip what cannot be held, and publish the change."""
    body = await read_body(request, PushedRules)
    now, actor, address = instant_of(request), actor_of(request), principal_of(request).address
    files = [RuleFile(rule.rule_id[:128], rule.rule_content) for rule in body.rules]
    inspected, mistakes = await sort_files(request.app.state.inspect_sandbox, files)

    def keep(db: Database) -> tuple[list[ImportedRule], list[RuleFileError]]:
        imported, refused = store_possible(db, inspected, to_text(now))
        changed = [rule.rule_id for rule in imported if rule.change != "unchanged"]
        if changed:
            audit_store.append(
                db, at=now, actor=actor, action="rules.sync", detail={"rules": changed}, address=address
            )
        return imported, refused

    imported, refused = await request.app.state.storage.write(keep)
    changed = sum(rule.change != "unchanged" for rule in imported)
    if changed:
        await request.app.state.publish("rules synced")
    reasons = [*mistakes, *refused]
    skipped = len(files) - len(imported)
    return answer(
        request,
        Synced(
            message=f"{len(imported)} rule(s) synced, {skipped} skipped",
            count=len(imported),
            skipped=skipped,
            changed=changed,
            reasons=reasons[:SHOWN_REASONS],
        ),
    )
