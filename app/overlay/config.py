"""The `[[overlay]]` entries of the configuration: decisions on single rules, kept with the rest of it (GitOps)."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.http.timestamps import from_text, to_text
from app.overlay.resolve import PARTNERS, OverlayAction

RuleId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
Severity = Literal["critical", "high", "medium", "low", "informational"]
Reason = Annotated[str, Meta(min_length=1, max_length=500)]
Owner = Annotated[str, Meta(min_length=1, max_length=128)]
Version = Annotated[str, Meta(min_length=1, max_length=128)]


class OverlayBase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="action"):
    """The members of every entry."""

    rule: RuleId
    """Id of the rule; whichever upstream has it."""
    reason: Reason
    """Why."""
    owner: Owner
    """Who answers for it: a person, a team, a ticket."""
    expires: str | None = None
    """When it ends: an instant, or a date (the start of that day, UTC); left out, never."""

    def __post_init__(self) -> None:
        if self.expires is not None:
            try:
                from_text(self.expires)
            except ValueError:
                raise ValueError(
                    "expires: an instant such as 2027-01-31T00:00:00Z or a date is needed"
                ) from None

    @property
    def action(self) -> OverlayAction:
        """The action, as the configuration spells it."""
        tag: OverlayAction = type(self).__struct_config__.tag  # type: ignore[assignment]
        return tag

    @property
    def expires_at(self) -> str | None:
        """When it ends, as the database stores instants."""
        return to_text(from_text(self.expires)) if self.expires is not None else None


class DisableOverlay(OverlayBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="disable"):
    """The rule is not served."""


class EnableOverlay(OverlayBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="enable"):
    """The rule is served although its upstream's filters exclude it."""


class PinOverlay(OverlayBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="pin"):
    """The rule keeps one text, whatever upstream makes of it."""

    version: Version | None = None
    """Version of the upstream whose text to keep (see `threatcloud upstream show`); left out, the text in service
    when the entry is first read."""


class SeverityOverlay(OverlayBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="severity"):
    """The rule is served with another severity, in its text too; goes with any of the others."""

    severity: Severity
    """The severity to serve: critical, high, medium, low or informational."""


class ReplaceOverlay(OverlayBase, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="replace"):
    """The rule is served with a text of your own, under the same id."""

    text_file: Annotated[str, Meta(pattern=r"^/")]
    """Absolute path of the file with the text."""


Overlay = DisableOverlay | EnableOverlay | PinOverlay | SeverityOverlay | ReplaceOverlay


def as_text(value: Any) -> Any:
    """Return a date or an instant that TOML has without quotes as text; anything else as it is."""
    return value.isoformat() if isinstance(value, date) else value


def contradictions(entries: Sequence[Overlay]) -> list[str]:
    """Return one sentence for each pair of entries that contradict each other."""
    found = []
    count = Counter((entry.rule, entry.action) for entry in entries)
    for (rule, action), times in count.items():
        if times > 1:
            found.append(f"overlay for {rule}: the action {action} is there {times} times; keep one")
        partner = PARTNERS.get(action)
        if partner is not None and action < partner and (rule, partner) in count:
            found.append(f"overlay for {rule}: {action} and {partner} contradict each other; keep one")
    return found
