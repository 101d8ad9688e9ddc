"""Writes `config.example.toml` from the configuration's own types, so that the file cannot be out of date."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from app.config import SECTIONS
from app.federation.upstream import Upstream

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


def render_example() -> str:
    """The whole file."""
    parts = [_comment(HEAD)]
    for name, kind in SECTIONS.items():
        summary = (inspect.getdoc(kind) or "").split("\n\n")[0]
        parts.append("\n".join([_comment(summary), f"[{name}]", *_options(kind)]))
    upstream = Upstream(name="atr", kind="package", package="pyatr")
    notes = explanations(Upstream)
    lines = [_comment(UPSTREAM), "[[upstream]]"]
    for name, value in msgspec.to_builtins(upstream).items():
        lines += [_comment(notes[name]), f"{name} = {json.dumps(value)}"]
    parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


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
