"""What the overlay refuses; `app.overlay.routes` says it in HTTP."""

from collections.abc import Sequence

from app.rules.local import RuleFileError


class OverlayError(Exception):
    """Family of every refusal of this package's service; the message is a sentence for the caller."""


class UnknownEntry(OverlayError):
    """No overlay entry has this id."""


class EntryRefused(OverlayError):
    """The present state does not allow this overlay entry to be made or removed."""


class UnreadableText(OverlayError):
    """A text cannot be inspected or compared within the limits of the sandbox."""


class ReplacementRefused(OverlayError):
    """A text cannot replace a rule; `errors` has every reason, not just the first."""

    def __init__(self, errors: Sequence[RuleFileError]) -> None:
        super().__init__(f"The text cannot replace a rule: {len(errors)} mistakes, see detail.")
        self.errors = list(errors)
