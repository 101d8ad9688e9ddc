"""Writes `config.example.toml` from the configuration's own types, so that the file cannot be out of date."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from app.config import SECTIONS
from app.federation.upstream import HttpUpstream, PackageUpstream, Upstream, UpstreamBase
from app.overlay.config import Overlay, OverlayBase

HEAD = """\
Configuration of the private Threat Cloud: every option with its default.

Each option of a section can also be set by the environment variable THREATCLOUD_<SECTION>_<NAME>, for instance
THREATCLOUD_SERVER_PORT=9000; lists are written with commas there. THREATCLOUD_STATE_DIR and THREATCLOUD_PORT are
short names for server.state_dir and server.port. What is left out keeps its default.

Check a file with: threatcloud config check --config FILE
"""

UPSTREAM = """\
An upstream is a place that public rules come from; write one [[upstream]] for each. This one is the embedded
default of `make run`: the 833 public rules that the pyatr package bundles.
"""

KIND = "One of: live, atr-rules, npm, directory, package, bundle; see below."

EVERY_KIND = """\
Options of every kind of upstream, with their defaults:
"""

EVERY_HTTP_KIND = """\
Further options of the kinds live, atr-rules and npm:
"""


OVERLAY = """\
An overlay entry is your own decision on one of upstream's rules. It stands apart from upstream's texts, so that no
update overwrites it; `threatcloud overlay list` shows where each one stands. Entries written here cannot be changed
over the API, and win over those made there.
"""

OVERLAY_EXAMPLE = """\
[[overlay]]
rule = "ATR-2026-00001"
action = "severity"
severity = "low"
reason = "Our build logs match it every night."
owner = "soc@example.org"
expires = 2027-01-31
"""

EVERY_ACTION = """\
Options of every action:
"""


def render_example() -> str:
    """Return the whole file."""
    parts = [_comment(HEAD)]
    for name, kind in SECTIONS.items():
        summary = (inspect.getdoc(kind) or "").split("\n\n")[0]
        parts.append("\n".join([_comment(summary), f"[{name}]", *_options(kind)]))
    parts += _upstreams()
    parts += _overlay()
    return "\n\n".join(parts) + "\n"


def _upstreams() -> Iterator[str]:
    """Return the embedded default, then what else could be written there, as comments."""
    notes = explanations(UpstreamBase) | explanations(PackageUpstream)
    lines = [_comment(UPSTREAM), "[[upstream]]"]
    for name, value in (("name", "atr"), ("kind", "package"), ("package", "pyatr")):
        lines += [_comment(notes[name] if name != "kind" else KIND), f"{name} = {json.dumps(value)}"]
    yield "\n".join(lines)
    common, http = msgspec.structs.fields(UpstreamBase), msgspec.structs.fields(HttpUpstream)
    known = {field.name for field in common}
    yield "\n".join([_comment(EVERY_KIND), *_remarks(UpstreamBase, [f for f in common if f.name != "name"])])
    yield "\n".join(
        [_comment(EVERY_HTTP_KIND), *_remarks(HttpUpstream, [f for f in http if f.name not in known])]
    )
    known |= {field.name for field in http}
    for kind in get_args(Upstream):
        own = [field for field in msgspec.structs.fields(kind) if field.name not in known]
        summary = f'kind = "{kind.__struct_config__.tag}": {inspect.getdoc(kind)}'
        yield "\n".join([_comment(summary), *_remarks(kind, own)])


def _overlay() -> Iterator[str]:
    """One entry and the options of each action, all as comments: there is none by default."""
    yield "\n".join([_comment(OVERLAY), "#", *(f"# {line}" for line in OVERLAY_EXAMPLE.splitlines())])
    common = msgspec.structs.fields(OverlayBase)
    known = {field.name for field in common}
    yield "\n".join([_comment(EVERY_ACTION), *_remarks(OverlayBase, common)])
    for kind in get_args(Overlay):
        own = [field for field in msgspec.structs.fields(kind) if field.name not in known]
        summary = f'action = "{kind.__struct_config__.tag}": {inspect.getdoc(kind)}'
        yield "\n".join([_comment(summary), *_remarks(kind, own)])


def _remarks(kind: type[msgspec.Struct], fields: Sequence[msgspec.structs.FieldInfo]) -> Iterator[str]:
    """Options as comments: `# option = default: what it means`."""
    notes = explanations(kind)
    for field in fields:
        yield f"#   {field.name}{_default(field)}"
        yield textwrap.fill(notes[field.name], 110, initial_indent="#       ", subsequent_indent="#       ")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required or field.default is None:
        return ""
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return " = {}" if isinstance(value, msgspec.Struct) else f" = {_toml(value)}"


def _options(kind: type[msgspec.Struct]) -> Iterator[str]:
    notes = explanations(kind)
    kinds = get_type_hints(kind)
    for field in msgspec.structs.fields(kind):
        choices = get_args(kinds[field.name]) if get_origin(kinds[field.name]) is Literal else ()
        yield _comment(notes[field.name] + (f" One of: {', '.join(choices)}." if choices else ""))
        yield f"{field.name} = {_toml(field.default)}"


def _toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _comment(text: str) -> str:
    lines = [
        line
        for paragraph in text.strip().split("\n\n")
        for line in [*textwrap.wrap(" ".join(paragraph.split()), 110), ""]
    ][:-1]
    return "\n".join(f"# {line}".rstrip() for line in lines)


def explanations(kind: type[msgspec.Struct]) -> dict[str, str]:
    """`option -> explanation`: the string below each attribute in the class's source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101
    found: dict[str, str] = {}
    for attribute, note in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(attribute, ast.AnnAssign)
            and isinstance(attribute.target, ast.Name)
            and isinstance(note, ast.Expr)
            and isinstance(note.value, ast.Constant)
        ):
            found[attribute.target.id] = " ".join(str(note.value.value).split())
    return found
