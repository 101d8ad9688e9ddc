"""The gate of community rules before promotion: complete, compiling, bounded, and right on their own test cases.

Measured on the 785 published rules: 776 pass "standard" and 734 "strict", each in 23 s together (median 12 ms per
rule, at most 0.8 s). Kept out are two patterns that hang JavaScript (ATR-2026-01005, ATR-2026-00282), six rules for
traces and metrics whose cases no regex can run, and one whose regex does not compile here (ATR-2026-00290).
"""

from collections import Counter
from collections.abc import Iterator
from typing import Literal

import msgspec

from app.rules.errors import PatternError, RuleTextError
from app.rules.redos import PATTERN_STEPS, PatternSyntaxError, examine
from app.rules.regexes import compile_pattern, split_flags
from app.rules.rule import conditions
from app.rules.selftest import Check, SelfTest, plain_check, run_selftest
from app.rules.validate import Profile, problems
from app.rules.yaml_text import parse_mapping

Quality = Literal["standard", "strict"]

STRICT_CASES = 3
"""True positives, and true negatives, that "strict" asks for; upstream's experimental level asks for the same."""

RULE_STEPS = 4_000_000
"""Steps spent on examining all patterns of one rule, at most (about 1.2 s)."""

_MAX_REASONS = 20


class GateReport(msgspec.Struct, frozen=True):
    """The result of the gate: `reasons` is empty exactly when `passed`; each is one sentence that says what to fix.

    `engines` counts the patterns by the engine that runs them here (re2, re, regex). `selftest` is None when the
    rule brings no cases, or when they were not run because something worse was found first.
    """

    passed: bool
    reasons: tuple[str, ...]
    engines: dict[str, int]
    selftest: SelfTest | None


def gate(text: str, *, quality: Quality) -> GateReport:
    """Judge a rule text. Never raises on account of the text.

    Run it in a process that can be killed, with a deadline of a few seconds: examining the patterns is bounded by
    `RULE_STEPS`, but patterns that RE2 does not take run on the rule's own cases in a backtracking engine.
    """
    try:
        doc = parse_mapping(text)
    except RuleTextError as error:
        return _failed([str(error)])
    if wrong := problems(doc, profile=Profile.PUBLISHED):
        return _failed([f"{problem.field}: {problem.message}" for problem in wrong])
    engines: Counter[str] = Counter()
    checks: list[Check] = []
    reasons: list[str] = []
    allowance = RULE_STEPS
    for index, condition in enumerate(conditions(doc)):
        if condition.operator != "regex":
            checks.append(plain_check(condition))
            continue
        try:
            compiled = compile_pattern(condition.pattern)
            engines[compiled.engine] += 1
            checks.append(compiled.search)
            found = examine(split_flags(condition.pattern)[1], min(allowance, PATTERN_STEPS))
        except (PatternError, PatternSyntaxError) as error:
            reasons.append(f"condition {index}: the pattern {error}")
            continue
        allowance -= found.steps_spent
        if found.hangs:
            reasons.append(
                f"condition {index}: the pattern may take exponential time, as on {_shown(found.text)}"
            )
        elif not found.complete:
            reasons.append(f"condition {index}: the pattern has too many repetitions to examine; split it")
    if reasons:
        return _failed(reasons, engines)
    result = run_selftest(doc, checks) if "test_cases" in doc else None
    reasons = list(_case_reasons(result, quality))
    return _failed(reasons, engines, result) if reasons else GateReport(True, (), dict(engines), result)


def _case_reasons(result: SelfTest | None, quality: Quality) -> Iterator[str]:
    """Yield what is wrong with the rule on its own cases, or with their number."""
    for failure in result.failures if result else ():
        verb = "does not fire" if failure.kind == "true_positive" else "fires"
        yield f"test_cases: the rule {verb} on its {failure.kind.replace('_', ' ')} {failure.index}"
    if quality == "strict":
        positives, negatives = (result.true_positives, result.true_negatives) if result else (0, 0)
        if positives < STRICT_CASES or negatives < STRICT_CASES:
            yield (
                f"test_cases: has {positives} true positives and {negatives} true negatives; "
                f"give at least {STRICT_CASES} of each"
            )


def _failed(
    reasons: list[str], engines: Counter[str] | None = None, result: SelfTest | None = None
) -> GateReport:
    more = len(reasons) - _MAX_REASONS
    shown = (*reasons[:_MAX_REASONS], f"and {more} more") if more > 0 else tuple(reasons)
    return GateReport(False, shown, dict(engines or {}), result)


def _shown(text: str) -> str:
    """Return an attack text in one line of ASCII."""
    return f"{text[:60]!a} ({len(text)} characters)" if len(text) > 60 else f"{text!a}"
