"""Check a parsed rule: problems that keep it out, and warnings that do not.

A problem is only what none of the 785 published rules has. (The two JSON Schemas shipped with them reject 437 and
258 of them; the TypeScript engine's `validateRule`, whose checks these are, accepts all.) Bounds lie above every
maximum measured on the published rules.
"""

import re
from collections.abc import Iterator
from enum import Enum

import msgspec

from app.rules.regexes import MAX_PATTERN_CHARS
from app.rules.rule import as_mapping, match_mode


class Profile(Enum):
    """How much of a rule must be there."""

    PUBLISHED = "published"
    """A complete rule text, as upstream publishes it."""

    BUNDLED = "bundled"
    """The stripped form inside the pyatr package: id, title, severity, tags and detection only."""


class RuleProblem(msgspec.Struct, frozen=True, gc=False):
    """What is wrong with one field, in one sentence that says what to do."""

    field: str
    message: str


SEVERITIES = ("critical", "high", "medium", "low", "informational")
STATUSES = ("draft", "experimental", "stable", "deprecated")
MATURITIES = ("draft", "experimental", "test", "stable", "deprecated")
OPERATORS = ("regex", "contains", "exact", "starts_with")
CATEGORIES = frozenset(
    {
        "prompt-injection",
        "tool-poisoning",
        "context-exfiltration",
        "agent-manipulation",
        "privilege-escalation",
        "excessive-autonomy",
        "data-poisoning",
        "model-abuse",
        "skill-compromise",
        "model-security",
    }
)
SOURCE_TYPES = frozenset(
    {
        "llm_io",
        "tool_call",
        "mcp_exchange",
        "agent_behavior",
        "multi_agent_comm",
        "context_window",
        "memory_access",
        "skill_lifecycle",
        "skill_permission",
        "skill_chain",
        "agent_trace",
    }
)

RULE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What can be a rule id at all; forms other than ATR's own are accepted with a warning."""

MAX_CONDITIONS = 200
MAX_CASES = 500
MAX_LABEL_CHARS = 200
MAX_TITLE_CHARS = 500
MAX_PROSE_CHARS = 20_000

_KNOWN_ID = re.compile(
    r"ATR-\d{4}-\d{5}|ATR-\d{4}-DRAFT-[0-9a-fA-F]{8}|ATR-LOCAL-[0-9a-f]{8}|ATR-[A-Z]{2}-\d{4}-\d{5}"
)
_CATEGORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DATE = re.compile(r"\d{4}([-/])\d{2}\1\d{2}")
_OWN_CATEGORY = re.compile(r"(?:priv|exp|sov)-")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def problems(doc: dict[str, object], *, profile: Profile) -> tuple[RuleProblem, ...]:
    """Return what keeps the document from being a rule under `profile`, in the order of the text."""
    found = [*_identity(doc), *_classification(doc), *_detection(doc)]
    if profile is Profile.PUBLISHED:
        found += _published(doc)
    return tuple(found)


def warnings(doc: dict[str, object]) -> tuple[RuleProblem, ...]:
    """Return what is unusual about the rule, or will keep engines from using it, but does not keep it out."""
    return tuple(_warnings(doc))


def _identity(doc: dict[str, object]) -> Iterator[RuleProblem]:
    rule_id = doc.get("id")
    if not isinstance(rule_id, str) or not RULE_ID.fullmatch(rule_id):
        yield RuleProblem(
            "id",
            "must be text such as ATR-2026-00001 (letters, digits, '.', '_' and '-', at most 128 characters)",
        )
    yield from _label(doc, "title", MAX_TITLE_CHARS)


def _classification(doc: dict[str, object]) -> Iterator[RuleProblem]:
    yield from _one_of(doc, "severity", SEVERITIES, required=True)
    yield from _one_of(doc, "status", STATUSES, required=False)
    yield from _one_of(doc, "maturity", MATURITIES, required=False)
    tags = doc.get("tags")
    if not isinstance(tags, dict):
        yield RuleProblem("tags", "must be a mapping with at least 'category'")
        return
    category = tags.get("category")
    if not isinstance(category, str) or not _CATEGORY.fullmatch(category):
        yield RuleProblem(
            "tags.category",
            "must name a category such as prompt-injection (one word, at most 100 characters)",
        )
    for key in ("subcategory", "scan_target", "confidence"):
        if key in tags:
            yield from _label(tags, key, MAX_LABEL_CHARS, "tags.")


def _detection(doc: dict[str, object]) -> Iterator[RuleProblem]:
    detection = doc.get("detection")
    if not isinstance(detection, dict):
        yield RuleProblem("detection", "must be a mapping with 'conditions' and 'condition'")
        return
    if match_mode(doc) is None:
        yield RuleProblem(
            "detection.condition", "must be 'any' or 'all'; boolean expressions cannot be evaluated"
        )
    listed = detection.get("conditions")
    if isinstance(listed, dict):
        yield RuleProblem(
            "detection.conditions",
            "named conditions cannot be evaluated; write a list of {field, operator, value}",
        )
    elif not isinstance(listed, list) or not listed:
        yield RuleProblem("detection.conditions", "must be a list with at least one {field, operator, value}")
    elif len(listed) > MAX_CONDITIONS:
        yield RuleProblem(
            "detection.conditions", f"has {len(listed)} entries; keep {MAX_CONDITIONS} or split the rule"
        )
    else:
        for index, item in enumerate(listed):
            yield from _condition(item, f"detection.conditions[{index}]")


def _condition(item: object, place: str) -> Iterator[RuleProblem]:
    if not isinstance(item, dict):
        yield RuleProblem(place, "must be a mapping with field, operator and value")
        return
    yield from _label(item, "field", MAX_LABEL_CHARS, f"{place}.")
    if item.get("operator") not in OPERATORS:
        yield RuleProblem(f"{place}.operator", f"must be one of {', '.join(OPERATORS)}")
    pattern = item.get("value")
    if not isinstance(pattern, str) or not pattern:
        yield RuleProblem(f"{place}.value", "must be the text to look for; put it in quotes")
    elif len(pattern) > MAX_PATTERN_CHARS:
        yield RuleProblem(
            f"{place}.value", f"has {len(pattern)} characters; shorten it to at most {MAX_PATTERN_CHARS}"
        )


def _published(doc: dict[str, object]) -> Iterator[RuleProblem]:
    for key in ("status", "description", "author", "date"):
        if not doc.get(key):
            yield RuleProblem(key, "is missing; add it")
    for key, limit in (
        ("description", MAX_PROSE_CHARS),
        ("author", MAX_TITLE_CHARS),
        ("date", MAX_LABEL_CHARS),
    ):
        value = doc.get(key)
        if value and not isinstance(value, str):
            yield RuleProblem(key, "must be text; put it in quotes")
        elif value and len(str(value)) > limit:
            yield RuleProblem(key, f"is longer than {limit} characters; shorten it")
    kind = as_mapping(doc.get("agent_source")).get("type")
    if not isinstance(kind, str) or not kind or len(kind) > MAX_LABEL_CHARS:
        yield RuleProblem(
            "agent_source.type", "is missing; name the kind of event, such as llm_io or mcp_exchange"
        )
    actions = as_mapping(doc.get("response")).get("actions")
    if not isinstance(actions, list) or not actions or not all(isinstance(action, str) for action in actions):
        yield RuleProblem("response.actions", "must list at least one action, such as alert")
    cases = doc.get("test_cases")
    if cases is not None:
        yield from _cases(cases)


def _cases(cases: object) -> Iterator[RuleProblem]:
    if not isinstance(cases, dict):
        yield RuleProblem("test_cases", "must be a mapping with true_positives and true_negatives")
        return
    for kind in ("true_positives", "true_negatives"):
        listed = cases.get(kind)
        if not isinstance(listed, list) or not listed:
            yield RuleProblem(f"test_cases.{kind}", "must list at least one case, or leave test_cases out")
        elif len(listed) > MAX_CASES:
            yield RuleProblem(f"test_cases.{kind}", f"has {len(listed)} cases; keep at most {MAX_CASES}")


def _warnings(doc: dict[str, object]) -> Iterator[RuleProblem]:
    rule_id = doc.get("id")
    if isinstance(rule_id, str) and not _KNOWN_ID.fullmatch(rule_id):
        yield RuleProblem("id", "is not of the form ATR-YYYY-NNNNN; some ATR tools refuse it")
    category = as_mapping(doc.get("tags")).get("category")
    if isinstance(category, str) and category not in CATEGORIES and not _OWN_CATEGORY.match(category):
        yield RuleProblem("tags.category", f"{category!r} is not in the ATR category registry")
    kind = as_mapping(doc.get("agent_source")).get("type")
    if isinstance(kind, str) and kind not in SOURCE_TYPES:
        yield RuleProblem("agent_source.type", f"{kind!r} is unknown to the engines, so the rule never fires")
    date = doc.get("date")
    if isinstance(date, str) and not _DATE.fullmatch(date):
        yield RuleProblem("date", "is not of the form YYYY/MM/DD")
    for key, silent in (("status", ("draft", "deprecated")), ("maturity", ("deprecated",))):
        if doc.get(key) in silent:
            yield RuleProblem(key, f"is {doc[key]!r}: Guards load the rule but never fire it")
    if "test_cases" not in doc:
        yield RuleProblem("test_cases", "is missing, so nothing shows that the rule fires when it should")


def _label(holder: dict[str, object], key: str, limit: int, prefix: str = "") -> Iterator[RuleProblem]:
    """Check a required one-line text."""
    value = holder.get(key)
    if not isinstance(value, str) or not value.strip():
        yield RuleProblem(f"{prefix}{key}", "must be a text of at least one character")
    elif len(value) > limit:
        yield RuleProblem(f"{prefix}{key}", f"is longer than {limit} characters; shorten it")
    elif _CONTROL.search(value):
        yield RuleProblem(f"{prefix}{key}", "has a line break or control character; remove it")


def _one_of(
    doc: dict[str, object], key: str, allowed: tuple[str, ...], *, required: bool
) -> Iterator[RuleProblem]:
    value = doc.get(key)
    if value not in allowed and (required or value is not None):
        yield RuleProblem(key, f"must be one of {', '.join(allowed)}")
