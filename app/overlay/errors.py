"""What the overlay refuses; the routes turn it into HTTP."""


class OverlayError(Exception):
    """Family of every refusal of this package's service; the message is a sentence for the caller."""


class UnknownEntry(OverlayError):
    """No overlay entry has this id."""


class EntryRefused(OverlayError):
    """The present state does not allow this overlay entry to be made or removed."""
