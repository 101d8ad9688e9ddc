"""Held changes as people read them: what waits, why, what differs, and the commands that decide."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

SIGNS = {"added": "+", "changed": "~", "withdrawn": "-"}
WHY = {
    "review": "policy `review`: every change waits for an admin",
    "empty": "upstream offers nothing at all any more",
    "shrink": "a larger share of the rules than `max_withdrawn_percent` would be withdrawn",
    "churn": "a larger share of the rules than `max_changed_percent` would be changed",
}
DIGEST_CHARACTERS = 12
"""How much of the digest of a held set a command names; the instance is told the whole of it."""
SHORT = 50
"""Values up to this length are shown side by side on one line."""


def overview(name: str, changes: Sequence[dict[str, Any]], digest: str) -> str:
    """Everything that is held from one upstream: reasons on top, commands below."""
    if not changes:
        return f"{name}: nothing is held"
    counts = Counter(change["change"] for change in changes)
    parts = ", ".join(f"{counts[kind]} {kind}" for kind in SIGNS if counts[kind])
    lines = [f"{name}: {len(changes)} held ({parts})", *_reasons(changes), ""]
    lines += _listed(changes)
    lines += [
        "",
        f"one rule:  threatcloud upstream held {name} RULE",
        f"approve:   threatcloud upstream approve {name} --digest {digest[:DIGEST_CHARACTERS]}",
        f"refuse:    threatcloud upstream refuse {name} --digest {digest[:DIGEST_CHARACTERS]} --reason '...'",
        "Rule ids after the name approve or refuse these only.",
    ]
    return "\n".join(lines)


def refused(name: str, changes: Sequence[dict[str, Any]]) -> str:
    """What was refused and so is neither applied nor held again: by whom, when and why."""
    if not changes:
        return f"{name}: nothing is refused"
    lines = [f"{name}: {len(changes)} refused"]
    for change, line in zip(changes, _listed(changes), strict=True):
        lines += [line, f"    by {change['decidedBy']}, {change['decidedAt']}: {change['note']}"]
    lines += ["", f"apply after all: threatcloud upstream approve {name} RULE"]
    return "\n".join(lines)


def one_change(name: str, change: dict[str, Any]) -> str:
    """One held change with its differences, field by field; a text that comes or goes is shown whole."""
    rule_id = change["ruleId"]
    lines = [
        f"{SIGNS[change['change']]} {rule_id}: {change['change']}, {change['state']} since {change['heldAt']}"
    ]
    lines += [f"  {WHY.get(reason, reason)}" for reason in change["reasons"]]
    if change["state"] == "refused":
        lines.append(f"  refused by {change['decidedBy']}, {change['decidedAt']}: {change['note']}")
    lines.append("")
    if change["change"] == "changed":
        lines += differences(change["fields"])
    else:
        lines.append(str(change["after"] if change["after"] is not None else change["before"]).rstrip("\n"))
    lines += [
        "",
        f"approve:  threatcloud upstream approve {name} {rule_id}",
        f"refuse:   threatcloud upstream refuse {name} {rule_id} --reason '...'",
    ]
    return "\n".join(lines)


def _reasons(changes: Sequence[dict[str, Any]]) -> Iterator[str]:
    counts = Counter(reason for change in changes for reason in change["reasons"])
    for reason, count in counts.items():
        sentence = WHY.get(reason, reason)
        yield f"  {sentence}" if count == len(changes) else f"  {sentence} ({count} of them)"


def _listed(changes: Sequence[dict[str, Any]]) -> list[str]:
    width = max(len(change["ruleId"]) for change in changes)
    return [
        f"{SIGNS[c['change']]} {c['ruleId']:<{width}}  {c['severity'] or '-':<13}  {_title(c)}".rstrip()
        for c in changes
    ]


def _title(change: dict[str, Any]) -> str:
    """On one line, whatever it holds: a title must not look like a line of ours."""
    return " ".join((change["title"] or "").split())


def differences(fields: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Changed fields of a rule, short ones on one line, long ones below each other."""
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


def _lines(sign: str, value: str | None) -> list[str]:
    return [] if value is None else [f"  {sign} {line}" for line in value.splitlines() or [""]]
