"""Which of an upstream's rules the configuration's filters keep out of the served set, and why. Pure."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from app.federation.upstream import Filter, UpstreamBase


class Traits(NamedTuple):
    """What filters can look at; a value that a rule does not give is the empty string."""

    rule_id: str
    category: str
    severity: str
    status: str
    maturity: str


def has_filters(upstream: UpstreamBase) -> bool:
    """Return True when something is configured that could keep a rule out."""
    return upstream.include != Filter() or upstream.exclude is not None


def excluded_because(upstream: UpstreamBase, rule: Traits) -> str | None:
    """Say in a few words what keeps a rule out, or None when it may be served.

    A rule must match every field of `include` that is given, and must not match every given field of `exclude`; an
    `exclude` without any field matches nothing.
    """
    for name, words, value in _fields(upstream.include, rule):
        if not _matches(name, words, value):
            return f"include: its {name} is {value or 'not given'}"
    fields = list(_fields(upstream.exclude, rule)) if upstream.exclude else []
    if fields and all(_matches(*field) for field in fields):
        return "exclude: " + ", ".join(f"its {name} is {value or 'not given'}" for name, _, value in fields)
    return None


def _fields(wanted: Filter, rule: Traits) -> Iterable[tuple[str, tuple[str, ...], str]]:
    """Return `(field, accepted values, the rule's value)` of each field that the filter names."""
    pairs = (
        ("category", wanted.category, rule.category),
        ("severity", wanted.severity, rule.severity),
        ("status", wanted.status, rule.status),
        ("maturity", wanted.maturity, rule.maturity),
        ("id", wanted.id, rule.rule_id),
    )
    return (pair for pair in pairs if pair[1])


def _matches(name: str, words: tuple[str, ...], value: str) -> bool:
    if name == "id":
        return any(fnmatchcase(value, pattern) for pattern in words)
    return value in words
