"""What federation refuses; `routes.problem_of` says it in HTTP."""


class FederationError(Exception):
    """Family of every refusal of this package's service; the message is a sentence for the caller."""


class UnknownUpstream(FederationError):
    """The configuration has no upstream with this name."""


class UnknownChange(FederationError):
    """No change of this rule is held or rejected."""


class PullsFrozen(FederationError):
    """A rollback freezes pulls until the publication is resumed."""


class NothingToPull(FederationError):
    """This upstream brings its rules by import alone."""


class PendingChangesMoved(FederationError):
    """Other changes are held than the caller looked at; `digest` names those held now."""

    def __init__(self, digest: str) -> None:
        super().__init__("What is held has changed since you looked at it; look again.")
        self.digest = digest
