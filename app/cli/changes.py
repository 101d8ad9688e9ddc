"""Pending changes as text: what waits, why, what differs, and the commands that decide."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from app.cli.output import Part, Styled

SIGNS = {"added": "+", "changed": "~", "withdrawn": "-"}
STYLES = {"+": "green", "~": "yellow", "-": "red"}
WHY = {
    "review": "policy `review`: every change waits for an admin",
    "empty": "upstream offers nothing at all any more",
    "shrink": "a larger share of the rules than `max_withdrawn_percent` would be withdrawn",
    "churn": "a larger share of the rules than `max_changed_percent` would be changed",
}
DIGEST_CHARACTERS = 12
"""How much of the digest of a pending set a command names; the instance gets the whole of it."""
SHORT = 50
"""Values up to this length are shown side by side on one line."""


def overview(name: str, changes: Sequence[dict[str, Any]], digest: str) -> list[Part]:
    """Return everything that is held from one upstream: reasons on top, commands below."""
    if not changes:
        return [f"{name}: nothing is held"]
    counts = Counter(change["change"] for change in changes)
    parts = ", ".join(f"{counts[kind]} {kind}" for kind in SIGNS if counts[kind])
    lines: list[Part] = [f"{name}: {len(changes)} held ({parts})", *_reasons(changes), ""]
    lines += _listed(changes)
    lines += [
        "",
        f"one rule:  threatcloud upstream show-pending {name} RULE",
        f"approve:   threatcloud upstream approve {name} --digest {digest[:DIGEST_CHARACTERS]}",
        f"reject:    threatcloud upstream reject {name} --digest {digest[:DIGEST_CHARACTERS]} --reason '...'",
        "Rule ids after the name approve or reject these only.",
    ]
    return lines


def rejected(name: str, changes: Sequence[dict[str, Any]]) -> list[Part]:
    """Return what was rejected and so is neither applied nor held again: by whom, when and why."""
    if not changes:
        return [f"{name}: nothing is rejected"]
    lines: list[Part] = [f"{name}: {len(changes)} rejected"]
    for change, line in zip(changes, _listed(changes), strict=True):
        lines += [line, f"    by {change['decidedBy']}, {change['decidedAt']}: {change['note']}"]
    lines += ["", f"apply after all: threatcloud upstream approve {name} RULE"]
    return lines


def one_change(name: str, change: dict[str, Any]) -> list[Part]:
    """Return one pending change with its differences, field by field; a text that comes or goes is shown whole."""
    rule_id = change["ruleId"]
    state = "rejected" if change["state"] == "refused" else change["state"]
    lines: list[Part] = [
        _signed(SIGNS[change["change"]], f"{rule_id}: {change['change']}, {state} since {change['heldAt']}")
    ]
    lines += [f"  {WHY.get(reason, reason)}" for reason in change["reasons"]]
    if state == "rejected":
        lines.append(f"  rejected by {change['decidedBy']}, {change['decidedAt']}: {change['note']}")
    lines.append("")
    if change["change"] == "changed":
        lines += differences(change["fields"])
    else:
        lines.append(str(change["after"] if change["after"] is not None else change["before"]).rstrip("\n"))
    lines += [
        "",
        f"approve:  threatcloud upstream approve {name} {rule_id}",
        f"reject:   threatcloud upstream reject {name} {rule_id} --reason '...'",
    ]
    return lines


def _reasons(changes: Sequence[dict[str, Any]]) -> Iterator[str]:
    counts = Counter(reason for change in changes for reason in change["reasons"])
    for reason, count in counts.items():
        sentence = WHY.get(reason, reason)
        yield f"  {sentence}" if count == len(changes) else f"  {sentence} ({count} of them)"


def _listed(changes: Sequence[dict[str, Any]]) -> list[Part]:
    width = max(len(change["ruleId"]) for change in changes)
    return [
        _signed(
            SIGNS[c["change"]], f"{c['ruleId']:<{width}}  {c['severity'] or '-':<13}  {_title(c)}".rstrip()
        )
        for c in changes
    ]


def _title(change: dict[str, Any]) -> str:
    """Return the title on one line: it must not look like a line of ours."""
    return " ".join((change["title"] or "").split())


def differences(fields: Sequence[dict[str, Any]]) -> Iterator[Part]:
    """Yield the changed fields of a rule, short ones on one line, long ones below each other."""
    if not fields:
        yield "no field differs: comments, order or layout of the text changed"
    for field in fields:
        before, after = field["before"], field["after"]
        if before is None or after is None or "\n" in before + after or len(before + after) > 2 * SHORT:
            yield field["path"]
            yield from _lines("-", before)
            yield from _lines("+", after)
        else:
            yield f"{field['path']}: {before} -> {after}"


def _lines(sign: str, value: str | None) -> list[Part]:
    lines = [] if value is None else value.splitlines() or [""]
    return [Styled(f"  {sign} {line}", STYLES[sign]) for line in lines]


def _signed(sign: str, text: str) -> Styled:
    return Styled(sign, STYLES[sign], f" {text}")
