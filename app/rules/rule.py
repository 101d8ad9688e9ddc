"""The parts of a rule that the rest of the product needs, read from a parsed document."""

import re
from typing import Literal

import msgspec

MatchMode = Literal["any", "all"]

_TECHNIQUE = re.compile(r"AML\.T\d{4}(?:\.\d{3})?(?!\d)")


class Condition(msgspec.Struct, frozen=True, gc=False):
    """One detection condition: `operator` applied with `pattern` to the event's `field`."""

    field: str
    operator: str
    pattern: str


class RuleFacts(msgspec.Struct, frozen=True, gc=False):
    """A rule's classification as the wire carries it; a value that the rule lacks is the empty string.

    `mitre_techniques` and `tags` are comma-joined: ATLAS technique ids in the author's order without repeats
    (case studies such as AML.CS0036 are no techniques), and subcategory, scan_target, confidence.
    """

    rule_id: str
    title: str
    category: str
    severity: str
    status: str
    maturity: str
    mitre_techniques: str
    tags: str


def as_mapping(value: object) -> dict[str, object]:
    """Return `value` if it is a mapping, else an empty one: a step down a path that may be missing."""
    return value if isinstance(value, dict) else {}


def as_text(value: object) -> str:
    """Return `value` if it is text, else the empty string."""
    return value if isinstance(value, str) else ""


def facts(doc: dict[str, object]) -> RuleFacts:
    """Classify a rule. The category is `tags.category`: for 14 published rules the folder says otherwise."""
    tags = as_mapping(doc.get("tags"))
    labels = (as_text(tags.get(key)) for key in ("subcategory", "scan_target", "confidence"))
    return RuleFacts(
        rule_id=as_text(doc.get("id")),
        title=as_text(doc.get("title")),
        category=as_text(tags.get("category")),
        severity=as_text(doc.get("severity")),
        status=as_text(doc.get("status")),
        maturity=as_text(doc.get("maturity")),
        mitre_techniques=",".join(techniques(doc)),
        tags=",".join(label for label in labels if label),
    )


def techniques(doc: dict[str, object]) -> tuple[str, ...]:
    """Return the MITRE ATLAS technique ids of `references.mitre_atlas`, in order, without repeats."""
    listed = as_mapping(doc.get("references")).get("mitre_atlas")
    items = listed if isinstance(listed, list) else [listed]
    found = (_TECHNIQUE.match(item) for item in items if isinstance(item, str))
    return tuple(dict.fromkeys(match.group() for match in found if match))


def conditions(doc: dict[str, object]) -> tuple[Condition, ...]:
    """Return the detection conditions that are whole; `validate.problems` names those that are not."""
    listed = as_mapping(doc.get("detection")).get("conditions")
    found = []
    for item in listed if isinstance(listed, list) else ():
        fields = as_mapping(item)
        field, operator, pattern = fields.get("field"), fields.get("operator"), fields.get("value")
        if isinstance(field, str) and isinstance(operator, str) and isinstance(pattern, str):
            found.append(Condition(field, operator, pattern))
    return tuple(found)


def match_mode(doc: dict[str, object]) -> MatchMode | None:
    """Return how the conditions combine, or None when `detection.condition` says neither any nor all."""
    said = as_mapping(doc.get("detection")).get("condition")
    if said in ("any", "or"):
        return "any"
    if said in ("all", "and"):
        return "all"
    return None
