"""Read and write rule texts as YAML, in the subset on which all ATR readers agree.

The readers in the field differ on duplicate keys (PyYAML: last wins; js-yaml: error), aliases, tags, merge keys
and on plain scalars (`012`, `yes`, `1:30`, dates). A text that two scanners read differently must not be signed,
so all of that is refused or read as YAML 1.2 core reads it. None of the 785 published rules uses any of it.

`parse_yaml` builds values straight from libyaml's events: 0.3 s for the 785 published rules, against 0.45 s for
`yaml.load(..., CSafeLoader)`, with the same result for each of them.
"""

import re
from collections.abc import Iterable

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
)

from app.rules.errors import RuleTextError, YamlError

MAX_CHARS = 65_536
"""Longest text accepted, in characters (the longest published rule has 38 k)."""

MAX_DEPTH = 32
"""Deepest nesting accepted (published rules: 9)."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z|0x[0-9a-fA-F]+\Z|0o[0-7]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+\Z")
_MAX_NUMBER_CHARS = 64
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_NUMBER_START = frozenset("-+.0123456789")
_CONSTANT_START = frozenset("tTfFnN~")


def parse_yaml(text: str) -> object:
    """Return the one document in `text` as dict, list, str, int, float, bool or None.

    Plain scalars resolve as in YAML 1.2 core, except that numbers with a leading zero (`012`) stay text, since
    readers disagree on their value. `.inf`, `.nan`, numbers beyond 64 bits and floats that overflow are refused:
    they have no JSON counterpart. Values may hold control characters written as escapes (`"\\x1b"`: 14 published
    rules do); raw ones are refused. An empty text is refused. Raises `YamlError` and nothing else.
    """
    if len(text) > MAX_CHARS:
        raise YamlError("text", f"has {len(text)} characters; shorten it to at most {MAX_CHARS}")
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise YamlError(
            f"line {line}", f"remove the character U+{ord(found.group()):04X}, or write it as an escape"
        )
    try:
        return _build(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(filter(None, (error.context, error.problem))) or "does not parse"
        raise YamlError("text" if mark is None else f"line {mark.line + 1}", f"is not YAML: {what}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise YamlError("text", f"is not YAML: {' '.join(str(error).split())[:200]}") from None


def parse_mapping(text: str) -> dict[str, object]:
    """Return the text's top-level mapping; raises `RuleTextError` when it is not one."""
    doc = parse_yaml(text)
    if not isinstance(doc, dict):
        raise RuleTextError("text", "must be a YAML mapping with fields such as id, title and detection")
    return doc


def _build(events: Iterable[Event]) -> object:  # noqa: C901, PLR0912 - one pass over one event stream
    """Build the value the events describe; see `parse_yaml`."""
    root: object = None
    documents = 0
    containers: list[dict[str, object] | list[object]] = []
    keys: list[str | None] = []  # per container: the key waiting for its value
    for event in events:
        value: object
        if isinstance(event, ScalarEvent):
            if event.tag is not None or event.anchor is not None:
                raise _refused(event)
            value = event.value if event.style else _plain(event)
        elif isinstance(event, CollectionStartEvent):
            if event.tag is not None or event.anchor is not None:
                raise _refused(event)
            if containers and keys[-1] is None and type(containers[-1]) is dict:
                raise YamlError(_line(event), "uses a collection as a key; write a text key")
            if len(containers) == MAX_DEPTH:
                raise YamlError(_line(event), f"is nested deeper than {MAX_DEPTH} levels; flatten it")
            containers.append({} if isinstance(event, MappingStartEvent) else [])
            keys.append(None)
            continue
        elif isinstance(event, CollectionEndEvent):
            value = containers.pop()
            keys.pop()
        elif isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise YamlError(_line(event), "starts a second document; send one rule per text")
            if event.version or event.tags:
                raise YamlError(_line(event), "has a % directive; remove it")
            continue
        elif isinstance(event, AliasEvent):
            raise _refused(event)
        else:
            continue
        if not containers:
            root = value
            continue
        holder = containers[-1]
        if type(holder) is list:
            holder.append(value)
        elif isinstance(holder, dict):
            key = keys[-1]
            if key is None:
                keys[-1] = _key(event, value, holder)
            else:
                holder[key] = value
                keys[-1] = None
    if not documents:
        raise YamlError("text", "is empty; send one rule as YAML")
    return root


def _key(event: Event, value: object, holder: dict[str, object]) -> str:
    """Check a mapping key and return it."""
    if not isinstance(value, str):
        raise YamlError(_line(event), f"has the key {value!r}, which is not text; put it in quotes")
    if value in holder:
        raise YamlError(_line(event), f"repeats the key {value[:80]!r}; keep one of them")
    if value == "<<":
        raise YamlError(_line(event), "uses the merge key '<<'; write the keys out")
    if _UNPRINTABLE.search(value):
        raise YamlError(_line(event), "has a control character in a key; remove it")
    return value


def _plain(event: ScalarEvent) -> object:
    """Resolve an unquoted scalar."""
    try:
        return resolve_plain(event.value)
    except ValueError as error:
        raise YamlError(_line(event), str(error)) from None


def resolve_plain(text: str) -> str | int | float | bool | None:
    """Return the value of the unquoted scalar `text`; `ValueError` names a number that JSON cannot carry."""
    first = text[:1]
    if first in _NUMBER_START:
        return _number(text)
    if not first or first in _CONSTANT_START:
        return _CONSTANTS.get(text, text)
    return text


def _number(text: str) -> str | int | float:
    """Return the number `text` spells, or `text` itself when it spells none."""
    is_int = _INT.match(text)
    if not is_int and not _FLOAT.match(text):
        if _NOT_FINITE.match(text):
            raise ValueError(f"has the number {text}, which JSON cannot hold; put it in quotes or remove it")
        return text
    if len(text) > _MAX_NUMBER_CHARS:
        raise ValueError(f"has a number of {len(text)} characters; put it in quotes or shorten it")
    if is_int:
        whole = int(text, 0) if text[:2] in ("0x", "0o") else int(text)
        if not -(2**63) <= whole < 2**63:
            raise ValueError(f"has the number {text}, beyond 64 bits; put it in quotes or remove it")
        return whole
    if _LEADING_ZERO.match(text):
        return text
    real = float(text)
    if real in (float("inf"), float("-inf")):
        raise ValueError(f"has the number {text}, too large for a float; put it in quotes or remove it")
    return real


def _refused(event: Event) -> YamlError:
    """Say which of YAML's extras the event uses."""
    if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
        return YamlError(_line(event), "uses an anchor or alias (& or *); write the value out, or quote it")
    return YamlError(_line(event), "uses a tag (!); remove it, or quote the value")


def _line(event: Event) -> str:
    """Name the line the event starts on."""
    mark = event.start_mark
    return f"line {mark.line + 1}" if mark else "text"


class _Dumper(yaml.CSafeDumper):
    """Writes text that YAML 1.1 and 1.2 readers agree on."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the library's signature
        """Write repeated values out: `parse_yaml` refuses aliases."""
        return True


def _represent_str(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    """Quote text that a reader would take for something else; keep long prose readable."""
    style = None
    if "\n" in text.rstrip("\n"):
        style = "|"
    elif text.lower() in ("y", "n", "<<", "=") or not stays_text(text):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def stays_text(text: str) -> bool:
    """Return whether the unquoted scalar would be read as text; False for a number that JSON cannot carry."""
    try:
        return isinstance(resolve_plain(text), str)
    except ValueError:
        return False


_Dumper.add_representer(str, _represent_str)


def dump_yaml(doc: object) -> str:
    """Write a document as block YAML: key order kept, unicode kept, same text for the same value.

    `parse_yaml(dump_yaml(doc)) == doc` for every value `parse_yaml` can return; text that looks like a number, a
    date or a truth value to a YAML 1.1 reader is quoted.
    """
    text: str = yaml.dump(
        doc, Dumper=_Dumper, allow_unicode=True, sort_keys=False, default_flow_style=False, width=MAX_CHARS
    )
    return text
