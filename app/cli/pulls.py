"""Starting pulls and watching them to their end."""

import asyncio
import shutil
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import click

from app.cli.instance import Instance, Refused
from app.cli.output import visible
from app.federation.status import HINTS

ROOT = "/api/admin/upstreams"
POLL_SECONDS = 0.2
ENDED = {"done", "failed"}


class Board:
    """What is going on: one live line for each upstream on a terminal, elsewhere a line for each new stage."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self._stream = stream
        self._quiet = quiet
        self._live = stream.isatty()
        self._stages: dict[str, str] = {}
        self._drawn = 0

    def show(self, pulls: dict[str, dict[str, Any]]) -> None:
        """Show where each pull stands, by name of its upstream."""
        if self._quiet:
            return
        if self._live:
            self._draw([f"{name}: {_stage(pull)}" for name, pull in pulls.items()])
            return
        for name, pull in pulls.items():
            if self._stages.get(name) != pull["state"]:
                self._stages[name] = pull["state"]
                if pull["state"] not in ENDED:
                    print(visible(f"{name}: {_stage(pull)}"), file=self._stream, flush=True)

    def clear(self) -> None:
        """Take the live lines away: the results stand in their place."""
        if self._live and not self._quiet:
            self._draw([])

    def _draw(self, lines: Sequence[str]) -> None:
        columns = shutil.get_terminal_size().columns - 1
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        text = "".join(f"{visible(line)[:columns]}\n" for line in lines)
        print(f"{up}\x1b[J{text}", end="", file=self._stream, flush=True)
        self._drawn = len(lines)


def _stage(pull: dict[str, Any]) -> str:
    received = f", {pull['receivedBytes'] / 1e6:.1f} MB received" if pull["receivedBytes"] else ""
    stages = {
        "waiting": "waiting for its turn",
        "collecting": f"asking upstream{received}",
        "looking": f"{pull['looked']} of {pull['texts']} texts looked at{received}",
        "landing": "comparing with what is in service",
        "publishing": "publishing",
    }
    return stages.get(pull["state"], str(pull["state"]))


async def pull_and_wait(
    instance: Instance, upstreams: Sequence[dict[str, Any]], *, named: bool, quiet: bool
) -> list[dict[str, Any]]:
    """Pull these upstreams (status objects) and wait until all are done.

    Returns for each `{upstream, result, refused, status}`: `refused` is the sentence of an instance that did not
    start the pull; one of an upstream that takes bundles by hand only counts when its name was given (`named`).
    """
    pulls: dict[str, dict[str, Any]] = {}
    refusals: dict[str, str] = {}
    for upstream in upstreams:
        name = upstream["name"]
        try:
            pulls[name] = (await instance.call("POST", f"{ROOT}/{name}/sync"))["data"]["pull"]
        except Refused as refusal:
            if named or upstream["kind"] != "bundle" or upstream["paused"] is not None:
                refusals[name] = refusal.message
    board = Board(sys.stderr, quiet=quiet)
    while running := [name for name, pull in pulls.items() if pull["state"] not in ENDED]:
        board.show(pulls)
        await asyncio.sleep(POLL_SECONDS)
        for name in running:
            pulls[name] = await _progress(instance, name)
    board.clear()
    return [
        {
            "upstream": name,
            "result": pulls[name]["result"] if name in pulls else None,
            "refused": refusals.get(name),
            "status": (await instance.call("GET", f"{ROOT}/{name}"))["data"],
        }
        for name in [upstream["name"] for upstream in upstreams]
        if name in pulls or name in refusals
    ]


async def _progress(instance: Instance, name: str) -> dict[str, Any]:
    pull: dict[str, Any] | None = (await instance.call("GET", f"{ROOT}/{name}/pull"))["data"]["pull"]
    if pull is None:
        raise click.ClickException(
            f"the server was started again during the pull of {name}; it pulls by itself"
        )
    return pull


def outcome(pulled: dict[str, Any]) -> str:
    """One pull's end in a line, and what to do when it failed."""
    name, result, status = pulled["upstream"], pulled["result"], pulled["status"]
    if pulled["refused"] is not None:
        return f"{name}: not pulled: {pulled['refused']}"
    if result["outcome"] == "failed":
        return "\n".join([f"{name}: {failure_line(result['failure'])}", f"  {_kept(status)}"])
    parts = [f"{status['rules']} rules"]
    if result["outcome"] == "changed":
        parts += [f"{result[change]} {change}" for change in ("added", "changed", "withdrawn")]
    elif not result["held"]:
        parts.append("nothing new")
    parts += [
        f"{result[key]} {word}" for key, word in (("held", "held"), ("setAside", "set aside")) if result[key]
    ]
    parts += [f"version {status['version']}"] if status["version"] else []
    line = f"{name}: {', '.join(parts)}, {result['seconds']:.1f} s"
    return f"{line}\n  look at what is held: threatcloud upstream held {name}" if result["held"] else line


def failure_line(failure: dict[str, Any]) -> str:
    """`failed (timeout): ...`, and below it what to do."""
    code = failure["code"]
    return f"failed ({code}): {failure['message']}\n  {HINTS.get(code, 'See the log of the server.')}"


def _kept(status: dict[str, Any]) -> str:
    if status["lastSuccess"] is None:
        return "Nothing was ever pulled from here."
    return f"Still served: the {status['rules']} rules of {status['lastChange'] or status['lastSuccess']}."


def has_failed(pulled: dict[str, Any]) -> bool:
    """Did this pull not take place, or bring nothing but a failure?"""
    return pulled["refused"] is not None or pulled["result"]["outcome"] == "failed"
