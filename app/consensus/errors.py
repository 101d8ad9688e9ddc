"""What consensus refuses; the routes say it in HTTP."""


class ConsensusError(Exception):
    """Family of every refusal of this package; the message is a sentence for the caller."""


class UnknownProposal(ConsensusError):
    """No proposal has this pattern hash (or no variant of it this digest)."""


class UnknownRule(ConsensusError):
    """No rule has this id, and no promoted proposal this pattern hash."""


class Refused(ConsensusError):
    """Understood, but the present state does not allow it.

    `status` is the proposal's state, `reasons` what stands against it, one sentence each.
    """

    def __init__(self, message: str, *, status: str | None = None, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.reasons = reasons


class UnusableText(ConsensusError):
    """The text cannot be kept (not YAML at all) or, from a reviewer, cannot become a rule.

    `reasons` says why, one sentence each.
    """

    def __init__(self, message: str, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons
