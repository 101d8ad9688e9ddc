"""Printing: plain, stable text for programs and files, tables and colour on a terminal, and JSON."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import click

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SNAKE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
KEYED_BY_DATA = frozenset({"detail", "dropped", "refused", "silent"})
"""Fields that hold a mapping whose keys are rule ids, file names or an audit entry's own words: these stay."""
STYLES = {
    **dict.fromkeys(("active", "current", "ok", "promoted", "confirmed"), "green"),
    **dict.fromkeys(("behind", "canary", "draft", "expired", "idle", "pending", "stale"), "yellow"),
    **dict.fromkeys(("failing", "never", "quarantined", "rejected", "unusable", "withdrawn"), "red"),
}
"""Colours of the words in tables that say a state."""
GAP = 2
"""Spaces between columns."""
PROSE_COLUMNS = 24
"""How narrow a column of sentences may become on a terminal."""


@dataclass(frozen=True, slots=True)
class Styled:
    """Text whose first part, the `mark`, has a colour on a terminal."""

    mark: str
    style: str
    rest: str = ""

    def __str__(self) -> str:
        return f"{self.mark}{self.rest}"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below a header; field names in the header are spelled as JSON has them, None is a dash."""

    rows: Sequence[Sequence[object]]
    header: Sequence[str]

    def cells(self) -> list[list[str]]:
        """Return the header and the rows as texts."""
        header = [camel(name) for name in self.header]
        return [header, *([("-" if cell is None else str(cell)) for cell in row] for row in self.rows)]

    def __str__(self) -> str:
        """Return columns aligned with spaces, the last one not padded; `none` without rows."""
        if not self.rows:
            return "none"
        cells = self.cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells)
        return "\n".join("  ".join(row).rstrip() for row in padded)


Part: TypeAlias = str | Styled | Table


def show(data: Any, *, as_json: bool, text: Part | Sequence[Part], keys_as_they_are: bool = False) -> None:
    """Print `data` as JSON, or the `text` for people, whose parts stand below each other.

    Names of fields are in camelCase, unless `keys_as_they_are`. Text has colour on a terminal only, JSON never.
    """
    if as_json:
        shown = data if keys_as_they_are else with_camel_keys(data)
        click.echo(visible(json.dumps(shown, indent=2, ensure_ascii=False)))
        return
    parts = [text] if isinstance(text, str | Styled | Table) else text
    if sys.stdout.isatty():
        _print_on_terminal(parts)
    else:
        click.echo(visible("\n".join(map(str, parts))))


def visible(text: str) -> str:
    """Return the text with control and direction characters written out (`\\u001b`).

    A rule's text can then neither hide itself nor rewrite the screen of the admin who reviews it.
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def fields(data: Mapping[str, Any], names: Sequence[str] | None = None) -> str:
    """Return one `name: value` line for each of `names` (default: all) that has a value."""
    chosen = data if names is None else names
    return "\n".join(f"{camel(name)}: {data[name]}" for name in chosen if data.get(name) not in {None, ""})


def columns(items: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    """Return a table of these fields of the items."""
    return Table([[item.get(name) for name in names] for item in items], names)


def camel(name: str) -> str:
    """Return a snake_case name in camelCase; any other text stays."""
    if not _SNAKE.fullmatch(name):
        return name
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def with_camel_keys(data: Any) -> Any:
    """Return the data with every field name in camelCase, all the way down."""
    if isinstance(data, Mapping):
        return {
            camel(name): value if name in KEYED_BY_DATA else with_camel_keys(value)
            for name, value in data.items()
        }
    return [with_camel_keys(item) for item in data] if isinstance(data, list | tuple) else data


def _print_on_terminal(parts: Sequence[Part]) -> None:
    from rich.console import Console  # noqa: PLC0415 (a tenth of a second that scripts need not wait)
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)  # knows NO_COLOR and TERM=dumb
    for part in parts:
        if isinstance(part, Table) and part.rows:
            header, *rows = part.cells()
            drawn = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
            needed = -GAP
            for name, *cells in zip(header, *rows, strict=True):
                widest = max(map(len, (name, *map(visible, cells))))
                is_prose = any(" " in cell for cell in cells)
                drawn.add_column(Text(name), overflow="fold", no_wrap=not is_prose)
                needed += GAP + (min(widest, PROSE_COLUMNS) if is_prose else widest)
            for row in rows:
                drawn.add_row(*(Text(visible(cell), STYLES.get(cell, "")) for cell in row))
            # Only prose is wrapped: an id that is cut in two can be neither searched nor copied.
            Console(highlight=False, width=max(console.width, needed)).print(drawn)
        elif isinstance(part, Styled):
            line = Text.assemble((visible(part.mark), part.style), visible(part.rest))
            console.print(line, soft_wrap=True)
        else:
            console.print(Text(visible(str(part))), soft_wrap=True)
