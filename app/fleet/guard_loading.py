"""What each version of the stock Guard makes of a rule that is served to it: loads it, drops it, or never fires it.

Read off the versions from 1.4.5 to 1.9.0, and 1.4.5 and 1.9.0 run. Since `guard_text` serves only what the newest
one loads, what is left here are the heuristics of versions in between, the cap, and rules that lie still.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from app.rules.errors import GuardRefusal, RuleTextError
from app.rules.guard import guard_text
from app.rules.rule import as_mapping
from app.rules.yaml_text import parse_mapping

CAP = 500
"""Rules from the network that a Guard keeps, from 1.5.5 on; those it brings along do not count."""

_REPEATED_GROUP = re.compile(r"\([^)]*[+*]\)[+*{]")
_LYING_STILL = {"draft", "deprecated"}


@dataclass(frozen=True, slots=True)
class Generation:
    """Versions that treat rules alike.

    `is_signed`: only with a signature that verifies. `is_gated_by_text`: it drops a rule over a pattern with a group
    that ends in a repetition and is repeated itself, be it only twice. `reads_maturity`: it does not fire a rule of
    deprecated maturity, as all do not fire one whose status is draft or deprecated.
    """

    versions: str
    is_capped: bool
    is_signed: bool
    is_gated_by_text: bool
    reads_maturity: bool


GENERATIONS = (
    Generation(
        "1.4.6 and older", is_capped=False, is_signed=False, is_gated_by_text=False, reads_maturity=False
    ),
    Generation(
        "1.5.5 to 1.6.1", is_capped=True, is_signed=False, is_gated_by_text=False, reads_maturity=False
    ),
    Generation("1.7.0 to 1.8.0", is_capped=True, is_signed=True, is_gated_by_text=True, reads_maturity=True),
    Generation("1.8.2 to 1.9.0", is_capped=True, is_signed=True, is_gated_by_text=False, reads_maturity=True),
)
"""Oldest first. Packages 2.0.0 to 2.0.3 are older than 1.5.5 and belong to the second."""


class Reading(msgspec.Struct, frozen=True, rename="camel"):
    """What the generations make of one rule.

    `refusal` says why it is served to none of them. Otherwise `dropped` and `silent` say, in the order of
    `GENERATIONS`, why one does not load it, and why one that loads it never fires it; None is no objection.
    """

    rule_id: str
    refusal: str | None
    dropped: tuple[str | None, ...] = ()
    silent: tuple[str | None, ...] = ()


def read_written(text: str) -> Reading:
    """What the generations would make of a rule as its author wrote it (runs in a sandbox)."""
    try:
        doc = parse_mapping(text)
    except RuleTextError as error:
        return Reading("", f"it is no rule: {error.field}: {error.reason}")
    rule_id = str(doc.get("id", ""))
    try:
        return read_served(rule_id, guard_text(doc))
    except GuardRefusal as refused:
        return Reading(rule_id, refused.reason)


def read_served(rule_id: str, text: str) -> Reading:
    """What the generations make of a `ruleContent` of the `guard` representation."""
    rule = json.loads(text)
    return Reading(
        rule_id,
        None,
        tuple(_drops(generation, rule) for generation in GENERATIONS),
        tuple(_silences(generation, rule) for generation in GENERATIONS),
    )


def _drops(generation: Generation, rule: dict[str, object]) -> str | None:
    if not generation.is_gated_by_text:
        return None
    conditions = as_mapping(rule["detection"])["conditions"]
    for index, item in enumerate(conditions if isinstance(conditions, list) else ()):
        if item.get("operator") == "regex" and (found := _REPEATED_GROUP.search(item["value"])):
            return (
                f"condition {index}: it takes ...{found[0][-16:]} for an endless repetition of a repetition"
            )
    return None


def _silences(generation: Generation, rule: dict[str, object]) -> str | None:
    if rule.get("status") in _LYING_STILL:
        return f"its status is {rule['status']}"
    if generation.reads_maturity and rule.get("maturity") == "deprecated":
        return "its maturity is deprecated"
    return None


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """What one generation makes of rules that are served to it: it `loads` so many, and by rule id why not others.

    `over_cap` are the ids that come after the ones it takes; `silent` are among those that load. What a Guard brings
    along itself is not known here: it skips such an id, and the id does not count for the cap.
    """

    versions: str
    is_signed: bool
    loads: int
    dropped: dict[str, str]
    over_cap: list[str]
    silent: dict[str, str]


def summaries(readings: Iterable[Reading], *, with_cap: bool) -> list[Summary]:
    """What each generation makes of rules; refused ones are left out.

    `with_cap`: the rules are given in the order in which they are served, so the cap decides, too.
    """
    served = [reading for reading in readings if reading.refusal is None]
    return [
        _summary(place, generation, served, CAP if with_cap and generation.is_capped else len(served))
        for place, generation in enumerate(GENERATIONS)
    ]


def _summary(place: int, generation: Generation, served: list[Reading], cap: int) -> Summary:
    dropped = {r.rule_id: reason for r in served if (reason := r.dropped[place]) is not None}
    fit = [reading for reading in served if reading.rule_id not in dropped]
    silent = {r.rule_id: reason for r in fit[:cap] if (reason := r.silent[place]) is not None}
    over_cap = [reading.rule_id for reading in fit[cap:]]
    return Summary(generation.versions, generation.is_signed, len(fit[:cap]), dropped, over_cap, silent)
