"""Compare rule texts: digests that say what is the same, and the fields that differ, as people review them.

`field_changes` and `three_way` are called in a sandbox, since the texts are untrusted: arguments and results are what
msgpack carries.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import msgspec

from app.rules.regexes import split_flags
from app.rules.rule import as_mapping, match_mode
from app.rules.yaml_text import dump_yaml, parse_mapping, stays_text

MAX_SHOWN = 400
"""Longest value shown, in characters. Of a longer one the part around the first difference is shown."""

MAX_KEY_SHOWN = 80
MAX_CHANGES = 500
"""Most changes listed; those beyond are only counted."""

MAX_ALIGNED = 200
"""Longest list (in items) that is aligned; longer ones are compared by position. Published rules have 46."""

_LEAD = 60
"""Characters that two long values have in common which are shown before their first difference."""

Path = tuple[str | int, ...]


class FieldChange(msgspec.Struct, frozen=True):
    """One changed field; `before` is None when it was added, `after` when it was removed.

    `path` is like `detection.conditions[2].value`; a list's items are numbered from 0 as in the text before, new
    ones as in the text after. Values are shown as text: those that are not text in the rule as JSON or YAML.
    """

    path: str
    before: str | None
    after: str | None


class ThreeWay(msgspec.Struct, frozen=True):
    """How two sides changed one text, and the fields that both changed, each to something else."""

    theirs: list[FieldChange]
    ours: list[FieldChange]
    conflicts: list[str]


class _Missing:
    """There is no such field."""


_MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class _Change:
    path: Path
    before: object
    after: object


def field_changes(before: str | None, after: str | None) -> list[FieldChange]:
    """Return the changes from one rule text to another, in the order of the text; None is a text without any field.

    Layout, comments and the order of keys are no change. Raises `RuleTextError` when a text is no YAML mapping.
    """
    return _shown(_changes_between(before, after))


def three_way(base: str, ours: str, theirs: str) -> ThreeWay:
    """Compare two descendants of the text `base` with it and with each other; raises `RuleTextError`."""
    by_them, by_us = _changes_between(base, theirs), _changes_between(base, ours)
    return ThreeWay(_shown(by_them), _shown(by_us), _conflicts(by_us, by_them))


def _changes_between(before: str | None, after: str | None) -> list[_Change]:
    old = parse_mapping(before) if before is not None else {}
    new = parse_mapping(after) if after is not None else {}
    return list(_compare((), old, new))


def _compare(path: Path, before: object, after: object) -> Iterator[_Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in _keys_in_order(before, after):
            yield from _compare((*path, key), before.get(key, _MISSING), after.get(key, _MISSING))
    elif isinstance(before, list) and isinstance(after, list):
        for old, new in _aligned(before, after):
            index = old if old is not None else new
            assert index is not None  # noqa: S101 (one of the two is there)
            yield from _compare(
                (*path, index),
                before[old] if old is not None else _MISSING,
                after[new] if new is not None else _MISSING,
            )
    elif type(before) is not type(after) or before != after:
        yield _Change(path, before, after)


def _keys_in_order(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    """Yield the keys of both: those of `before` in its order, new ones after the key that they follow in `after`."""
    followers: dict[str | None, list[str]] = {}
    known: str | None = None
    for key in after:
        if key in before:
            known = key
        else:
            followers.setdefault(known, []).append(key)
    yield from followers.get(None, ())
    for key in before:
        yield key
        yield from followers.get(key, ())


def _aligned(before: Sequence[object], after: Sequence[object]) -> Iterator[tuple[int | None, int | None]]:
    """Yield pairs of positions that hold the same item, or versions of one; None where one side has none."""
    if max(len(before), len(after)) > MAX_ALIGNED:
        yield from _paired(range(len(before)), range(len(after)))
        return
    matcher = SequenceMatcher(
        None, [*map(canonical_json, before)], [*map(canonical_json, after)], autojunk=False
    )
    for kind, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if kind != "equal":
            old, new = range(old_start, old_end), range(new_start, new_end)
            yield from _paired(old, new) if len(old) == len(new) else _most_alike(before, after, old, new)


def _paired(old: range, new: range) -> Iterator[tuple[int | None, int | None]]:
    """Pair item by item; the surplus of one side was removed or added."""
    shared = min(len(old), len(new))
    yield from zip(old, new, strict=False)
    yield from ((index, None) for index in old[shared:])
    yield from ((None, index) for index in new[shared:])


def _most_alike(
    before: Sequence[object], after: Sequence[object], old: range, new: range
) -> Iterator[tuple[int | None, int | None]]:
    """Pair each item of the shorter side with the item of the longer one that shares most with it, in order."""
    is_old_shorter = len(old) < len(new)
    few, many = (old, new) if is_old_shorter else (new, old)
    few_items, many_items = (before, after) if is_old_shorter else (after, before)
    members = {index: _members(many_items[index]) for index in many}
    partner: dict[int, int] = {}
    start = many.start
    for place, index in enumerate(few, 1):
        own = _members(few_items[index])
        candidates = range(start, many.stop - (len(few) - place))  # leaves one for each that follows
        shared = {candidate: len(own & members[candidate]) for candidate in candidates}
        best = max(shared, key=shared.__getitem__)
        partner[best] = index
        start = best + 1
    for index in many:
        other = partner.get(index)
        yield (other, index) if is_old_shorter else (index, other)


def _members(item: object) -> set[tuple[str, str]]:
    """Return what an item can share with another; only mappings have members."""
    return {(key, canonical_json(value)) for key, value in item.items()} if isinstance(item, dict) else set()


def _conflicts(ours: Sequence[_Change], theirs: Sequence[_Change]) -> list[str]:
    """Return the paths that both sides changed, each to something else, in the order of our side.

    A change of a whole mapping or list also meets every change inside it.
    """
    found: dict[str, None] = {}
    theirs_by_path = {change.path: change for change in theirs}
    inside = {change.path[:length]: None for change in theirs for length in range(len(change.path))}
    for change in ours:
        other = theirs_by_path.get(change.path)
        if other is not None and _disagree(change, other):
            found[_spelled(change.path)] = None
        if change.before is not _MISSING and change.path in inside:
            found[_spelled(change.path)] = None
        for length in range(len(change.path)):
            around = theirs_by_path.get(change.path[:length])
            if around is not None and around.before is not _MISSING:
                found[_spelled(around.path)] = None
    return list(found)


def _disagree(one: _Change, other: _Change) -> bool:
    is_new = one.before is _MISSING
    if is_new != (other.before is _MISSING):
        return False  # an item put in before another: the numbers are the same, the items are not
    return type(one.after) is not type(other.after) or one.after != other.after


def _shown(changes: Sequence[_Change]) -> list[FieldChange]:
    shown = [_show(change) for change in changes[:MAX_CHANGES]]
    if len(changes) > MAX_CHANGES:
        shown.append(FieldChange("...", None, f"and {len(changes) - MAX_CHANGES} more changes"))
    return shown


def _show(change: _Change) -> FieldChange:
    before, after = _text(change.before), _text(change.after)
    start = 0
    if before is not None and after is not None and max(len(before), len(after)) > MAX_SHOWN:
        start = max(0, _first_difference(before, after) - _LEAD)
    return FieldChange(_spelled(change.path), _shortened(before, start), _shortened(after, start))


def _text(value: object) -> str | None:
    """Return a value as text, such that `1`, `"1"` and `true` differ."""
    if value is _MISSING:
        return None
    if isinstance(value, str):
        return value if stays_text(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, (dict, list)) and value:
        return dump_yaml(value).rstrip("\n")
    return json.dumps(value, ensure_ascii=False)


def _first_difference(one: str, other: str) -> int:
    shorter = min(len(one), len(other))
    return next((index for index in range(shorter) if one[index] != other[index]), shorter)


def _shortened(value: str | None, start: int) -> str | None:
    if value is None or (len(value) <= MAX_SHOWN and not start):
        return value
    head = "…" if start else ""
    kept = value[start : start + MAX_SHOWN - 2]
    return head + kept + ("…" if start + len(kept) < len(value) else "")


def _spelled(path: Iterable[str | int]) -> str:
    """Return the path as `detection.conditions[2].value`; a key with other characters is quoted, in brackets."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "").replace("-", "").isalnum() and len(step) <= MAX_KEY_SHOWN:
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step[:MAX_KEY_SHOWN], ensure_ascii=False)}]"
    return text


_PROSE = frozenset({"description", "false_positives"})


def text_digest(text: str) -> str:
    """Return the SHA-256 of the text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def detection_digest(doc: object) -> str | None:
    """Return the SHA-256 (hex) of what the rule detects, or None when it has no detection conditions.

    The digest is equal for texts that differ only in title, dates, comments, descriptions, false-positive notes, a
    leading `(?i)` (every engine ignores case anyway), or, under any/all, the order and repetition of the conditions.
    """
    detection = as_mapping(as_mapping(doc).get("detection"))
    if not detection.get("conditions"):
        return None
    whole = {key: _without_prose(value) for key, value in detection.items() if key not in _PROSE}
    if whole.get("method") == "pattern":  # the default of every engine
        del whole["method"]
    listed = whole["conditions"]
    mode = match_mode({"detection": detection})
    if mode and isinstance(listed, list):
        whole["condition"] = mode
        whole["conditions"] = sorted({canonical_json(item) for item in listed})
    return hashlib.sha256(canonical_json(whole).encode()).hexdigest()


def _without_prose(value: object) -> object:
    """Drop descriptions at any depth and the flag that changes nothing from regexes."""
    if isinstance(value, list):
        return [_without_prose(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_prose(item) for key, item in value.items() if key not in _PROSE}
    if kept.get("operator") == "regex" and isinstance(kept.get("value"), str):
        flags, body = split_flags(str(kept["value"]))
        kept["value"] = f"(?{flags}){body}" if flags else body
    return kept


def canonical_json(value: object) -> str:
    """Return one spelling per value: sorted keys, ASCII, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
