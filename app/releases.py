"""Which release may follow which: the table of what breaks, and the decision. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import msgspec

OLDEST = "0.1.0"
"""The oldest release that can be upgraded to this one in one step."""


class Breaking(msgspec.Struct, frozen=True):
    """A change that somebody has to know of before the upgrade: what breaks in `version`, and what to do."""

    version: str
    breaks: str
    todo: str


BREAKING: tuple[Breaking, ...] = ()
"""Every change of this kind, oldest first."""

_VERSION = re.compile(
    r"v?(?P<release>[0-9]+(?:\.[0-9]+)*)"
    r"(?:[-_.]?(?P<pre>a|b|rc)[-_.]?(?P<pre_number>[0-9]*))?"
    r"(?:[-_.]?post[-_.]?(?P<post>[0-9]*))?"
    r"(?:[-_.]?dev[-_.]?(?P<dev>[0-9]*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?"
)
_LAST = 1 << 62
Key = tuple[tuple[int, ...], tuple[str, int], int, int, str]


class UnknownVersion(ValueError):
    """The text is not a version as PEP 440 has them."""


def version_key(text: str) -> Key:
    """A value that sorts as PEP 440 sorts versions (no epochs; local parts as text); raises `UnknownVersion`."""
    found = _VERSION.fullmatch(text.strip().lower())
    if found is None:
        raise UnknownVersion(f"{text[:60]!a} is not a version such as 1.4.0")
    release = [int(number) for number in found["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    post = _number(found["post"], -1)
    dev = _number(found["dev"], _LAST)
    if found["pre"]:
        pre = (found["pre"], _number(found["pre_number"], 0))
    else:
        # A development version of a release comes before the release candidates of the same.
        pre = ("", 0) if found["dev"] is not None and found["post"] is None else ("~", 0)
    return tuple(release), pre, post, dev, found["local"] or ""


def _number(digits: str | None, missing: int) -> int:
    return missing if digits is None else int(digits or 0)


def objections(
    older: str,
    newer: str,
    accepted: Collection[str],
    *,
    breaking: Sequence[Breaking] = BREAKING,
    oldest: str = OLDEST,
) -> list[str]:
    """Why one may not go from release `older` to `newer`: a sentence each, none when one may.

    `accepted` names versions whose breaking changes are known to whoever upgrades. Raises `UnknownVersion`.
    """
    start, end = version_key(older), version_key(newer)
    if end < start:
        return [
            f"{newer} is older than {older}: going back is a rollback, and needs the snapshot that was taken before"
            f" the upgrade"
        ]
    if start < version_key(oldest):
        return [f"{older} is too old for {newer}: upgrade to {oldest} first"]
    known = {version_key(version) for version in accepted}
    return [
        f"{change.version} breaks something: {change.breaks} {change.todo} Then accept it: --accept {change.version}"
        for change in crossed(older, newer, breaking)
        if version_key(change.version) not in known
    ]


def crossed(older: str, newer: str, breaking: Sequence[Breaking] = BREAKING) -> list[Breaking]:
    """The breaking changes on the way, those in `older` not counted; raises `UnknownVersion`."""
    start, end = version_key(older), version_key(newer)
    # A release candidate of a version has its changes already.
    return [change for change in breaking if start < version_key(f"{change.version}.dev0") <= end]
