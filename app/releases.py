"""Which release may follow which: the table of what breaks, and the decision. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from packaging.version import Version

OLDEST = "0.1.0"
"""The oldest release that can be upgraded to this one in one step."""


class Breaking(msgspec.Struct, frozen=True):
    """A change that an admin has to know before the upgrade: what breaks in `version`, and what to do."""

    version: str
    breaks: str
    todo: str


BREAKING: tuple[Breaking, ...] = ()
"""Every change of this kind, oldest first."""


class UnknownVersion(ValueError):
    """The text is not a version after PEP 440."""


def parse_version(text: str) -> Version:
    """Return the version that a text names; raise `UnknownVersion` when it names none."""
    try:
        return Version(text)
    except ValueError as error:  # `InvalidVersion`, or a number of thousands of digits
        raise UnknownVersion(f"{text.strip()[:60]!a} is not a version such as 1.4.0") from error


def objections(
    older: str,
    newer: str,
    accepted: Collection[str],
    *,
    breaking: Sequence[Breaking] = BREAKING,
    oldest: str = OLDEST,
) -> list[str]:
    """Return the reasons against an upgrade from `older` to `newer`: one sentence each, none when it is allowed.

    `accepted` names the versions whose breaking changes the admin knows. Raises `UnknownVersion`.
    """
    start, end = parse_version(older), parse_version(newer)
    if end < start:
        return [
            f"{newer} is older than {older}: going back is a rollback, and needs the snapshot that was taken before"
            f" the upgrade"
        ]
    if start < parse_version(oldest):
        return [f"{older} is too old for {newer}: upgrade to {oldest} first"]
    known = {parse_version(version) for version in accepted}
    return [
        f"{change.version} breaks something: {change.breaks} {change.todo} Then accept it: --accept {change.version}"
        for change in crossed(older, newer, breaking)
        if parse_version(change.version) not in known
    ]


def crossed(older: str, newer: str, breaking: Sequence[Breaking] = BREAKING) -> list[Breaking]:
    """Return the breaking changes on the way, without those that `older` has; raise `UnknownVersion`."""
    start, end = parse_version(older), parse_version(newer)
    # A release candidate of a version has its changes already.
    return [change for change in breaking if start < parse_version(f"{change.version}.dev0") <= end]
