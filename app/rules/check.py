"""Everything there is to say about one text, for `threatcloud rule check` (runs in a sandbox)."""

from typing import Literal

import msgspec

from app.rules.gate import gate
from app.rules.look import look_at


class CheckResult(msgspec.Struct, frozen=True):
    """Does it pass the gate, why not, and would a Guard load it (`guard_refusal` None: yes)."""

    passed: bool
    reasons: tuple[str, ...]
    guard_refusal: str | None


def check_text(text: str, quality: Literal["standard", "strict"]) -> CheckResult:
    """Run the whole gate on a text; bounded only by the sandbox's deadline."""
    look = look_at(text)
    if look.inspection is None:
        return CheckResult(False, (f"{look.field}: {look.reason}",), None)
    report = gate(text, quality=quality)
    return CheckResult(report.passed, report.reasons, look.inspection.guard_refusal)
