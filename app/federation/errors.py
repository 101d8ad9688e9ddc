"""What federation refuses; the routes say it in HTTP."""


class FederationError(Exception):
    """Family of every refusal of this package's service; the message is a sentence for whoever asked."""


class UnknownUpstream(FederationError):
    """The configuration has no upstream with this name."""


class UnknownChange(FederationError):
    """No change of this rule is held or refused."""


class PullsHeld(FederationError):
    """A rollback holds pulls until it is released."""


class NothingToPull(FederationError):
    """This upstream brings its rules by import alone."""


class HeldMoved(FederationError):
    """What is held is not what the caller looked at; `digest` names what is held now."""

    def __init__(self, digest: str) -> None:
        super().__init__("What is held has changed since you looked at it; look again.")
        self.digest = digest
