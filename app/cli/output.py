"""What a verb prints."""

import json
import re
from collections.abc import Sequence
from typing import Any

import click

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text with control and direction characters written out (`\\u001b`), so that a rule's text cannot hide
    itself, or rewrite the screen of the admin who reviews it."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def show(data: Any, *, as_json: bool, text: str) -> None:
    """Print `data` as JSON, or the `text` made for people."""
    click.echo(visible(json.dumps(data, indent=2, ensure_ascii=False) if as_json else text))


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """Columns aligned with spaces; the last one is not padded."""
    if not rows:
        return "none"
    cells = [[("-" if value is None else str(value)) for value in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def fields(data: dict[str, Any], names: Sequence[str]) -> str:
    """One `name: value` line for each of `names` that has a value."""
    return "\n".join(f"{name}: {data[name]}" for name in names if data.get(name) not in {None, ""})
