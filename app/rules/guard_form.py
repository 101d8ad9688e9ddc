"""Write a rule as the text that stock Guards load.

Measured on Guards from 1.4.5 to 1.9.0: they `JSON.parse` the rule text; need id, title, detection and
`agent_source.type` (1.4.5 throws on every event without it); decode bodies chunk by chunk, so anything beyond ASCII
may arrive broken and fail its signature; and drop the whole rule over one pattern that is longer than 2000
characters, does not compile with a bare `new RegExp(p)`, or looks like a nested quantifier.
"""

import json
import re

from app.rules.errors import GuardRefusal
from app.rules.redos import PatternSyntaxError, parse_js, wants_unicode
from app.rules.regexes import split_flags
from app.rules.rule import as_mapping

MAX_PATTERN_UNITS = 2_000
"""Longest pattern a Guard takes, in UTF-16 code units."""

DEFAULT_SOURCE_TYPE = "llm_io"

_SOURCE_TYPES = {  # what most published rules with this scan_target say
    "mcp": "mcp_exchange",
    "runtime": "mcp_exchange",
    "skill": "mcp_exchange",
    "tool_response": "mcp_exchange",
    "tool_args": "tool_call",
    "tool_call": "tool_call",
}
_STRUCTURE = re.compile(
    r"\\.|\[(?:[^\]\\]|\\.)*\]|(?P<open>\()|(?P<close>\))?(?P<unbounded>[+*]|\{\d*,\})|(?P<end>\))", re.DOTALL
)
_QUANTIFIED_GROUP = re.compile(r"\)(?:[+*]|\{\d*,\})")
_TWIN_CHOICE = re.compile(r"\((?P<half>[^|)]+)\|(?P=half)\)[*+]")


def guard_text(doc: dict[str, object]) -> str:
    """Return the rule as ASCII JSON text that every stock Guard loads.

    A leading `(?i)` (or m, s) is taken off each regex: Guards add the i flag themselves, and the ATR engine strips
    the same flags from the rules bundled with it. A missing `agent_source.type` is derived from `tags.scan_target`.
    Raises `GuardRefusal` when the newest Guard would drop the rule, or could never match with it.
    """
    for key in ("id", "title", "detection"):
        if not doc.get(key):
            raise GuardRefusal(f"{key} is missing, and Guards drop a rule without it")
    detection = as_mapping(doc["detection"])
    listed = detection.get("conditions")
    if not isinstance(listed, list) or not listed:
        raise GuardRefusal("detection.conditions is not a list of conditions, so nothing would match")
    source = as_mapping(doc.get("agent_source"))
    kind = source.get("type") or _SOURCE_TYPES.get(
        str(as_mapping(doc.get("tags")).get("scan_target")), DEFAULT_SOURCE_TYPE
    )
    served = {
        **doc,
        "agent_source": {**source, "type": kind},
        "detection": {
            **detection,
            "conditions": [_condition(item, index) for index, item in enumerate(listed)],
        },
    }
    return json.dumps(served, separators=(",", ":"))


def _condition(item: object, index: int) -> object:
    """Return the condition with its regex as a Guard wants it."""
    if not isinstance(item, dict) or item.get("operator") != "regex":
        return item
    pattern = item.get("value")
    if not isinstance(pattern, str):
        raise GuardRefusal(f"condition {index}: the pattern is not text")
    flags, body = split_flags(pattern)
    if "x" in flags:
        raise GuardRefusal(
            f"condition {index}: the pattern relies on the flag (?x), which JavaScript does not have"
        )
    if reason := refusal(body):
        raise GuardRefusal(f"condition {index}: {reason}")
    return {**item, "value": body}


def refusal(pattern: str) -> str | None:
    """Say why the newest Guard drops a rule with this pattern (leading flags taken off), or return None."""
    units = len(pattern) + sum(char > "\uffff" for char in pattern) if not pattern.isascii() else len(pattern)
    if units > MAX_PATTERN_UNITS:
        return f"the pattern has {units} characters; Guards take at most {MAX_PATTERN_UNITS}"
    try:
        parse_js(pattern, unicode=False)  # the Guard's gate compiles without flags
        if wants_unicode(pattern):
            parse_js(pattern, unicode=True)  # its engine then compiles with iu
    except PatternSyntaxError as error:
        return f"the pattern does not compile in JavaScript: it {error}"
    if has_nested_quantifier(pattern):
        return "the pattern repeats a group that itself repeats without bound, as in (a+)+"
    if _TWIN_CHOICE.search(pattern):
        return "the pattern repeats a choice between two equal parts, as in (a|a)+"
    if ".*.*.*" in pattern:
        return "the pattern has three or more .* in a row"
    return None


def has_nested_quantifier(pattern: str) -> bool:
    """Return whether an unboundedly repeated group contains, at any depth, another unbounded repetition.

    This is the Guards' own heuristic, read from the text and not from the tree so as to agree with them: it
    counts `{,}` as a repetition and flags harmless patterns such as `(?:\\w+\\s+)*`, too.
    """
    if not _QUANTIFIED_GROUP.search(pattern):
        return False
    repeats = [False]  # per open group: whether something in it repeats
    for part in _STRUCTURE.finditer(pattern):
        if part["open"]:
            repeats.append(False)
        elif part["close"] or part["end"]:
            inner = len(repeats) > 1 and repeats.pop()
            if inner and part["close"]:
                return True
            repeats[-1] = repeats[-1] or inner or bool(part["close"])
        elif part["unbounded"]:
            repeats[-1] = True
    return False
