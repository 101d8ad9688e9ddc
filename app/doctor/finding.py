"""What a check found."""

from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One check: what was found and, unless it is fine, what to do."""

    check: str
    state: Literal["ok", "warning", "failed"]
    found: str
    todo: str = ""
