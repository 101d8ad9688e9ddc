"""The `[publication]` section of the configuration."""

from typing import Annotated

import msgspec


class PublicationPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How publications are kept."""

    keep: Annotated[int, msgspec.Meta(ge=2, le=10_000)] = 200
    """How many publications to keep for `publication diff` and `rollback`; one takes about 150 bytes a rule."""
