"""`threatcloud upstream`: list, show, pull, approve, reject, and lists of pending changes, rejects and versions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from app.cli.changes import one_change, overview, rejected
from app.cli.instance import Instance, listing, request, with_instance
from app.cli.options import api_command, limit_option, reason_option, required_reason_option
from app.cli.output import Styled, columns, show
from app.cli.pulls import ROOT, failure_line, has_failed, outcome, pull_and_wait

UNWELL = {"never", "failing", "stale"}
NONE = "no upstream is configured: write [[upstream]] into the configuration"


@click.group()
def upstream() -> None:
    """Pull public rules, and decide on changes that wait for an admin."""


@upstream.command("list")
@api_command
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the configured upstreams."""
    upstreams = with_instance(config_path, _all)
    names = ("name", "kind", "policy", "state", "rules", "held", "version", "lastSuccess")
    show(upstreams, as_json=as_json, text=columns(upstreams, names) if upstreams else NONE)


@upstream.command("show")
@click.argument("name", required=False)
@api_command
def show_(name: str | None, config_path: Path | None, as_json: bool) -> None:
    """Show the state of every upstream (or one); exit code 1 when one is failing, stale, or was never pulled."""

    async def act(instance: Instance) -> list[dict[str, Any]]:
        return await _named(instance, [name] if name else [])

    upstreams = with_instance(config_path, act)
    text = "\n\n".join(_described(item) for item in upstreams) or NONE
    show(upstreams[0] if name else upstreams, as_json=as_json, text=text)
    if any(item["state"] in UNWELL for item in upstreams):
        raise SystemExit(1)


@upstream.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@api_command
def pull(names: tuple[str, ...], config_path: Path | None, as_json: bool) -> None:
    """Pull now (default: from every upstream) and wait for the end; exit code 1 when a pull failed."""

    async def act(instance: Instance) -> list[dict[str, Any]]:
        upstreams = await _named(instance, names)
        return await pull_and_wait(instance, upstreams, named=bool(names), quiet=as_json)

    pulled = with_instance(config_path, act)
    lines = [Styled(outcome(item), "red" if has_failed(item) else "") for item in pulled]
    show(pulled, as_json=as_json, text=lines or "there is nothing to pull")
    if any(map(has_failed, pulled)):
        raise SystemExit(1)


@upstream.command("list-pending")
@click.argument("name")
@click.option(
    "--rejected", "--refused", "shows_rejected", is_flag=True, help="List what was rejected instead."
)
@api_command
def list_pending(name: str, shows_rejected: bool, config_path: Path | None, as_json: bool) -> None:
    """List the changes that are held from an upstream, and say why."""

    async def act(instance: Instance) -> dict[str, Any]:
        return await _pending(instance, name, "refused" if shows_rejected else "held")

    found = with_instance(config_path, act)
    changes = found["changes"]
    text = rejected(name, changes) if shows_rejected else overview(name, changes, found["digest"])
    show(found, as_json=as_json, text=text)


@upstream.command("show-pending")
@click.argument("name")
@click.argument("rule_id", metavar="RULE")
@api_command
def show_pending(name: str, rule_id: str, config_path: Path | None, as_json: bool) -> None:
    """Show one held or rejected change in full, with its differences."""
    change = request(config_path, "GET", f"{ROOT}/{name}/held/{rule_id}")
    show(change, as_json=as_json, text=one_change(name, change))


_rules = click.argument("rules", metavar="[RULE]...", nargs=-1)
_digest = click.option(
    "--digest",
    "seen",
    default="",
    help="Do nothing when other changes are held now than those of this digest, which `list-pending` printed.",
)


@upstream.command()
@click.argument("name")
@_rules
@_digest
@reason_option
@api_command
def approve(
    name: str, rules: tuple[str, ...], seen: str, reason: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Approve held changes, all or those of some rules: they are applied and published."""
    data = _decide(config_path, name, "approve", rules, seen, reason)
    show(data, as_json=as_json, text=_decided(name, "approved", data["approved"], data["published"]))


@upstream.command()
@click.argument("name")
@_rules
@_digest
@required_reason_option
@api_command
def reject(
    name: str, rules: tuple[str, ...], seen: str, reason: str, config_path: Path | None, as_json: bool
) -> None:
    """Reject held changes, all or those of some rules: they are held again only when upstream changes them."""
    data = _decide(config_path, name, "refuse", rules, seen, reason)
    show(data, as_json=as_json, text=_decided(name, "rejected", data["refused"], data["published"]))


@upstream.command("list-set-aside")
@click.argument("name")
@limit_option
@api_command
def list_set_aside(name: str, limit: int | None, config_path: Path | None, as_json: bool) -> None:
    """List what upstream offers and this instance does not take, each with the reason."""
    found = listing(config_path, f"{ROOT}/{name}/set-aside", limit)
    lines = [f"{item['ruleId']}: {item['reason']}" for item in found]
    show(found, as_json=as_json, text=lines or f"{name}: nothing is set aside")


@upstream.command("list-versions")
@click.argument("name")
@limit_option
@api_command
def list_versions(name: str, limit: int | None, config_path: Path | None, as_json: bool) -> None:
    """List the kept versions of an upstream, newest first."""
    found = listing(config_path, f"{ROOT}/{name}/versions", limit)
    show(
        found,
        as_json=as_json,
        text=columns(found, ("id", "label", "total", "firstSeen", "lastSeen", "inUse")),
    )


def _decide(
    config_path: Path | None, name: str, verb: str, rules: Sequence[str], seen: str, reason: str | None
) -> dict[str, Any]:
    """Decide on exactly the set that is held when this starts, which `seen` must name where it is given."""

    async def act(instance: Instance) -> dict[str, Any]:
        digest = await _pending_digest(instance, name)
        if not digest.startswith(seen):
            raise click.ClickException(
                f"other changes are held now than those of {seen}; look again: "
                f"threatcloud upstream list-pending {name}"
            )
        body = {"rules": list(rules) or None, "reason": reason, "digest": digest}
        given = {key: value for key, value in body.items() if value is not None}
        data: dict[str, Any] = (await instance.call("POST", f"{ROOT}/{name}/{verb}", json=given))["data"]
        return data

    return with_instance(config_path, act)


def _decided(name: str, what: str, rules: Sequence[str], serial: int | None) -> list[str]:
    lines = [f"{name}: {len(rules)} {what}", *(f"  {rule_id}" for rule_id in rules)]
    return [*lines, f"publication {serial}" if serial is not None else "what is served stays the same"]


async def _all(instance: Instance) -> list[dict[str, Any]]:
    upstreams: list[dict[str, Any]] = (await instance.call("GET", ROOT))["data"]
    return upstreams


async def _named(instance: Instance, names: Sequence[str]) -> list[dict[str, Any]]:
    if not names:
        return await _all(instance)
    return [(await instance.call("GET", f"{ROOT}/{name}"))["data"] for name in dict.fromkeys(names)]


async def _pending(instance: Instance, name: str, state: str) -> dict[str, Any]:
    """Return `{upstream, digest, changes}` with every change: a decision is on all of them."""
    digest = await _pending_digest(instance, name)
    changes = [item async for item in instance.pages(f"{ROOT}/{name}/held", None, state=state)]
    return {"upstream": name, "digest": digest, "changes": changes}


async def _pending_digest(instance: Instance, name: str) -> str:
    """Return the digest of everything that is held now."""
    body = await instance.call("GET", f"{ROOT}/{name}/held", params={"limit": "1"})
    digest: str = body["meta"]["digest"]
    return digest


def _described(item: dict[str, Any]) -> str:
    name = item["name"]
    lines = [
        f"{name}: {item['state']}",
        f"  {item['kind']}, policy {item['policy']}, priority {item['priority']}",
        f"  rules: {item['rules']} in service, {item['excluded']} filtered out, {item['setAside']} set aside",
        f"  version: {item['version'] or '-'}, since {item['versionSince'] or '-'}",
        f"  last success: {item['lastSuccess'] or 'never'}{_age(item)}, last change: {item['lastChange'] or '-'}",
        f"  last pull: {item['lastPull'] or 'never'}, next pull: {item['nextPull'] or '-'}",
    ]
    if item["held"]:
        lines.append(f"  held: {item['held']} changes; threatcloud upstream list-pending {name}")
    if item["refused"]:
        lines.append(
            f"  rejected: {item['refused']} changes; threatcloud upstream list-pending {name} --rejected"
        )
    if item["paused"]:
        lines.append(f"  paused: {item['paused']}; threatcloud publication resume")
    if item["failure"]:
        lines.append(f"  {failure_line(item['failure'])}")
        lines.append(f"  failed pulls in a row: {item['failure']['failures']}")
    return "\n".join(lines)


def _age(item: dict[str, Any]) -> str:
    seconds, limit = item["staleSeconds"], item["staleAfter"]
    if seconds is None:
        return ""
    return f" ({seconds:.0f} s ago{'' if limit is None else f', stale after {limit:.0f} s'})"
