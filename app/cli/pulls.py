"""Starting pulls and showing their progress to the end."""

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TextIO

import click

from app.cli.instance import Instance, Refused
from app.cli.output import visible
from app.federation.status import HINTS

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

ROOT = "/api/admin/upstreams"
POLL_SECONDS = 0.2
ENDED = {"done", "failed"}


class Board:
    """The progress of pulls: a live line for each upstream on a terminal, elsewhere a line for each new stage."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self._stream = stream
        self._quiet = quiet
        self._stages: dict[str, str] = {}
        self._tasks: dict[str, TaskID] = {}
        self._live = _live_lines(stream) if stream.isatty() and not quiet else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the live lines: the results take their place."""
        if self._live is not None:
            self._live.stop()

    def show(self, pulls: dict[str, dict[str, Any]]) -> None:
        """Show the stage of each pull, by name of its upstream."""
        if self._quiet:
            return
        for name, pull in pulls.items():
            if self._live is not None:
                self._draw(self._live, name, pull)
            elif self._stages.get(name) != pull["state"]:
                self._stages[name] = pull["state"]
                if pull["state"] not in ENDED:
                    print(visible(f"{name}: {_stage(pull)}"), file=self._stream, flush=True)

    def _draw(self, live: "Progress", name: str, pull: dict[str, Any]) -> None:
        if name not in self._tasks:
            self._tasks[name] = live.add_task(visible(name), total=None, stage="")
        done, total = (pull["looked"], pull["texts"]) if pull["texts"] else (0, None)
        if pull["state"] in ENDED:
            done, total = 1, 1
        live.update(self._tasks[name], completed=done, total=total, stage=visible(_stage(pull)))


def _live_lines(stream: TextIO) -> "Progress":
    from rich.console import Console  # noqa: PLC0415 (only terminals need it)
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[stage]}", markup=False),
        console=Console(file=stream),
        transient=True,
    )


def _stage(pull: dict[str, Any]) -> str:
    received = f", {pull['receivedBytes'] / 1e6:.1f} MB received" if pull["receivedBytes"] else ""
    stages = {
        "waiting": "waiting for its turn",
        "collecting": f"asking upstream{received}",
        "looking": f"{pull['looked']} of {pull['texts']} texts inspected{received}",
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
    with Board(sys.stderr, quiet=quiet) as board:
        while running := [name for name, pull in pulls.items() if pull["state"] not in ENDED]:
            board.show(pulls)
            await asyncio.sleep(POLL_SECONDS)
            for name in running:
                pulls[name] = await _progress(instance, name)
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
    """Return the result of one pull in a line, and what to do when it failed."""
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
    return f"{line}\n  see what is held: threatcloud upstream list-pending {name}" if result["held"] else line


def failure_line(failure: dict[str, Any]) -> str:
    """Return `failed (timeout): ...`, and below it what to do."""
    code = failure["code"]
    return f"failed ({code}): {failure['message']}\n  {HINTS.get(code, 'See the log of the server.')}"


def _kept(status: dict[str, Any]) -> str:
    if status["lastSuccess"] is None:
        return "Nothing was ever pulled from here."
    return f"Still served: the {status['rules']} rules of {status['lastChange'] or status['lastSuccess']}."


def has_failed(pulled: dict[str, Any]) -> bool:
    """Return whether this pull was not started, or failed."""
    return pulled["refused"] is not None or pulled["result"]["outcome"] == "failed"
