"""`threatcloud upstream`: list, status, sync, held, approve, refuse, set-aside, versions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from app.cli.changes import one_change, overview, refused
from app.cli.instance import Instance, with_instance
from app.cli.options import api_command
from app.cli.output import show, table
from app.cli.pulls import ROOT, failure_line, has_failed, outcome, pull_and_wait

UNWELL = {"never", "failing", "stale"}
NONE = "no upstream is configured: write [[upstream]] into the configuration"


@click.group()
def upstream() -> None:
    """Where public rules come from, and what waits for an admin's yes."""


@upstream.command("list")
@api_command
def list_(config_path: Path | None, as_json: bool) -> None:
    """List the configured upstreams."""
    upstreams = with_instance(config_path, _all)
    columns = ("name", "kind", "policy", "state", "rules", "held", "version", "lastSuccess")
    rows = [[item[name] for name in columns] for item in upstreams]
    show(upstreams, as_json=as_json, text=table(rows, columns) if rows else NONE)


@upstream.command()
@click.argument("name", required=False)
@api_command
def status(name: str | None, config_path: Path | None, as_json: bool) -> None:
    """Show how each upstream (or one) is; exit code 1 when one is failing, stale, or was never pulled."""

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
def sync(names: tuple[str, ...], config_path: Path | None, as_json: bool) -> None:
    """Pull now (default: from every upstream) and wait for the end; exit code 1 when a pull failed."""

    async def act(instance: Instance) -> list[dict[str, Any]]:
        upstreams = await _named(instance, names)
        return await pull_and_wait(instance, upstreams, named=bool(names), quiet=as_json)

    pulled = with_instance(config_path, act)
    show(pulled, as_json=as_json, text="\n".join(map(outcome, pulled)) or "there is nothing to pull")
    if any(map(has_failed, pulled)):
        raise SystemExit(1)


@upstream.command()
@click.argument("name")
@click.argument("rule_id", metavar="[RULE]", required=False)
@click.option("--refused", "shows_refused", is_flag=True, help="List what was refused instead.")
@api_command
def held(
    name: str, rule_id: str | None, shows_refused: bool, config_path: Path | None, as_json: bool
) -> None:
    """Show which changes are held from an upstream and why, or one of them in full."""

    async def act(instance: Instance) -> dict[str, Any]:
        if rule_id is not None:
            change: dict[str, Any] = (await instance.call("GET", f"{ROOT}/{name}/held/{rule_id}"))["data"]
            return change
        return await _held(instance, name, "refused" if shows_refused else "held")

    found = with_instance(config_path, act)
    if rule_id is not None:
        text = one_change(name, found)
    elif shows_refused:
        text = refused(name, found["changes"])
    else:
        text = overview(name, found["changes"], found["digest"])
    show(found, as_json=as_json, text=text)


_rules = click.argument("rules", metavar="[RULE]...", nargs=-1)
_digest = click.option(
    "--digest",
    "seen",
    default="",
    help="What `held` printed: nothing is done when other changes are held now.",
)


@upstream.command()
@click.argument("name")
@_rules
@_digest
@click.option("--reason", help="Why; it goes to the audit log.")
@api_command
def approve(
    name: str, rules: tuple[str, ...], seen: str, reason: str | None, config_path: Path | None, as_json: bool
) -> None:
    """Apply held changes and publish them: all that are held, or those of some rules."""
    data = _decide(config_path, name, "approve", rules, seen, reason)
    show(data, as_json=as_json, text=_decided(name, data, "approved"))


@upstream.command()
@click.argument("name")
@_rules
@_digest
@click.option("--reason", required=True, help="Why; it goes to the audit log.")
@api_command
def refuse(
    name: str, rules: tuple[str, ...], seen: str, reason: str, config_path: Path | None, as_json: bool
) -> None:
    """Turn held changes down, all or those of some rules: they are not held again until upstream changes them."""
    data = _decide(config_path, name, "refuse", rules, seen, reason)
    show(data, as_json=as_json, text=_decided(name, data, "refused"))


@upstream.command("set-aside")
@click.argument("name")
@api_command
def set_aside(name: str, config_path: Path | None, as_json: bool) -> None:
    """List what upstream offers that is not taken, each with the reason."""
    found = with_instance(config_path, lambda instance: _pages(instance, f"{ROOT}/{name}/set-aside"))
    lines = [f"{item['ruleId']}: {item['reason']}" for item in found]
    show(found, as_json=as_json, text="\n".join(lines) or f"{name}: nothing is set aside")


@upstream.command()
@click.argument("name")
@api_command
def versions(name: str, config_path: Path | None, as_json: bool) -> None:
    """List the states of an upstream that are kept, newest first."""
    found = with_instance(config_path, lambda instance: _pages(instance, f"{ROOT}/{name}/versions"))
    columns = ("id", "label", "total", "firstSeen", "lastSeen", "inUse")
    show(found, as_json=as_json, text=table([[item[c] for c in columns] for item in found], columns))


async def _pages(instance: Instance, path: str, **params: str) -> list[dict[str, Any]]:
    return [item async for item in instance.pages(path, None, **params)]


def _decide(
    config_path: Path | None, name: str, verb: str, rules: Sequence[str], seen: str, reason: str | None
) -> dict[str, Any]:
    """Decide on exactly the set that is held when this starts, which is what `seen` says where it is given."""

    async def act(instance: Instance) -> dict[str, Any]:
        digest = await _held_digest(instance, name)
        if not digest.startswith(seen):
            raise click.ClickException(
                f"other changes are held now than those of {seen}; look again: threatcloud upstream held {name}"
            )
        body = {"rules": list(rules) or None, "reason": reason, "digest": digest}
        given = {key: value for key, value in body.items() if value is not None}
        data: dict[str, Any] = (await instance.call("POST", f"{ROOT}/{name}/{verb}", json=given))["data"]
        return data

    return with_instance(config_path, act)


def _decided(name: str, data: dict[str, Any], what: str) -> str:
    serial = data["published"]
    lines = [f"{name}: {len(data[what])} {what}", *(f"  {rule_id}" for rule_id in data[what])]
    return "\n".join(
        [*lines, f"publication {serial}" if serial is not None else "what is served stays the same"]
    )


async def _all(instance: Instance) -> list[dict[str, Any]]:
    upstreams: list[dict[str, Any]] = (await instance.call("GET", ROOT))["data"]
    return upstreams


async def _named(instance: Instance, names: Sequence[str]) -> list[dict[str, Any]]:
    if not names:
        return await _all(instance)
    return [(await instance.call("GET", f"{ROOT}/{name}"))["data"] for name in dict.fromkeys(names)]


async def _held(instance: Instance, name: str, state: str) -> dict[str, Any]:
    """`{upstream, digest, changes}`, every page of them."""
    digest = await _held_digest(instance, name)
    changes = await _pages(instance, f"{ROOT}/{name}/held", state=state)
    return {"upstream": name, "digest": digest, "changes": changes}


async def _held_digest(instance: Instance, name: str) -> str:
    """What names the whole of what is held now."""
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
        lines.append(f"  held: {item['held']} changes; threatcloud upstream held {name}")
    if item["refused"]:
        lines.append(f"  refused: {item['refused']} changes; threatcloud upstream held {name} --refused")
    if item["paused"]:
        lines.append(f"  paused: {item['paused']}; threatcloud publication release")
    if item["failure"]:
        lines.append(f"  {failure_line(item['failure'])}")
        lines.append(f"  failed pulls in a row: {item['failure']['failures']}")
    return "\n".join(lines)


def _age(item: dict[str, Any]) -> str:
    seconds, limit = item["staleSeconds"], item["staleAfter"]
    if seconds is None:
        return ""
    return f" ({seconds:.0f} s ago{'' if limit is None else f', stale after {limit:.0f} s'})"
