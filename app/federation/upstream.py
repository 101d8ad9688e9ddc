"""The `[[upstream]]` entries of the configuration."""

from typing import Annotated, Literal

import msgspec


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place that public rules come from."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    """Its name; rules from here have the origin `upstream:<name>`."""
    kind: Literal["package"]
    """`package`: the rules that an installed Python package carries."""
    package: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """The package's import name; `pyatr` bundles 833 public rules (extra `threatcloud[rules]`)."""

    @property
    def origin(self) -> str:
        """The origin of its rules."""
        return f"upstream:{self.name}"
