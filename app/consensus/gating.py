"""The gate before promotion, and the renaming of a text, both in a child process that can be killed."""

from collections.abc import Awaitable

import msgspec

from app.rules.edit import with_id
from app.rules.errors import RuleTextError
from app.rules.gate import Quality, gate
from app.rules.inspect import Inspection, inspect_text
from app.rules.validate import Profile
from app.sandbox import Sandbox, SandboxClosed, SandboxError, SandboxTimeout


class GateResult(msgspec.Struct, frozen=True):
    """What the gate said: `reasons` against the text, one sentence each; none means that it passed.

    `text` is what to hold when it passed, and `inspection` what it says (None when it did not pass).
    """

    text: str
    inspection: Inspection | None = None
    reasons: tuple[str, ...] = ()


def gate_text(text: str, quality: Quality) -> GateResult:
    """Gate a text; runs in a sandbox, since its regexes may take for ever."""
    report = gate(text, quality=quality)
    if not report.passed:
        return GateResult(text, reasons=report.reasons)
    return GateResult(text, inspect_text(text, profile=Profile.PUBLISHED))


def rename_text(text: str, rule_id: str) -> GateResult:
    """Give a text that passed the gate another id, in a sandbox. Only the id changes, so it is not gated again."""
    try:
        renamed = with_id(text, rule_id)
        return GateResult(renamed, inspect_text(renamed, profile=Profile.PUBLISHED))
    except RuleTextError as error:
        return GateResult(text, reasons=(f"it cannot take the id {rule_id}: {error}",))


async def run_gate(sandbox: Sandbox, text: str, quality: Quality) -> GateResult:
    """Return the gate's verdict on a text; that the sandbox could not finish it is a verdict too."""
    return await _verdict(sandbox.call(gate_text, text, quality), text)


async def rename_rule(sandbox: Sandbox, text: str, rule_id: str) -> GateResult:
    """Return the text with another id."""
    return await _verdict(sandbox.call(rename_text, text, rule_id), text)


async def _verdict(call: Awaitable[GateResult], text: str) -> GateResult:
    try:
        return await call
    except SandboxClosed:
        raise  # the server stops: that says nothing about the text
    except SandboxTimeout:
        return GateResult(text, reasons=("a regex or test case of it takes too long",))
    except SandboxError as error:
        return GateResult(text, reasons=(f"it could not be checked: {error}",))
