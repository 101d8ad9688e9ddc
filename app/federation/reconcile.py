"""What a pull changes: a pure comparison of what an upstream offers with what is held from it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Changes:
    """Rule ids by what happens to them, each sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.withdrawn)


def reconcile(held: Mapping[str, str], offered: Mapping[str, str]) -> Changes:
    """Compare `rule_id -> text digest` of both sides; what upstream dropped is withdrawn.

    By digest, never by a date: the public server restamps every rule at each restart.
    """
    return Changes(
        added=tuple(sorted(offered.keys() - held.keys())),
        changed=tuple(sorted(i for i in offered.keys() & held.keys() if offered[i] != held[i])),
        withdrawn=tuple(sorted(held.keys() - offered.keys())),
    )
