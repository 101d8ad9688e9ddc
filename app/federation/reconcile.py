"""What leads from one set of rules to another: a pure comparison by rule id."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Changes:
    """Rule ids by what happens to them, each sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.withdrawn)


def reconcile(held: Mapping[str, T], offered: Mapping[str, T]) -> Changes:
    """Compare `rule_id -> what is held` with `rule_id -> what is offered`, by equality.

    That is by content, never by a date: the public server restamps every rule at each restart.
    """
    return Changes(
        added=tuple(sorted(offered.keys() - held.keys())),
        changed=tuple(sorted(i for i in offered.keys() & held.keys() if offered[i] != held[i])),
        withdrawn=tuple(sorted(held.keys() - offered.keys())),
    )
