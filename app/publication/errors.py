"""What a publication's callers must be ready for."""


class PublicationError(Exception):
    """Family of this capability's refusals."""


class NoSuchPublication(PublicationError):
    """No publication with this serial is kept."""

    def __init__(self, serial: int) -> None:
        super().__init__(f"no publication with serial {serial} is kept")
        self.serial = serial


class NoDeltaFrom(PublicationError):
    """The publication that a delta should start at is not kept."""

    def __init__(self, serial: int) -> None:
        super().__init__(
            f"no publication with serial {serial} is kept, so a delta cannot start there: "
            "leave `since` out for a full bundle"
        )


class NotFrozen(PublicationError):
    """There is no rollback to end."""


class NothingNewer(PublicationError):
    """There is no publication after this one, so there is nothing to tell of."""

    def __init__(self, serial: int) -> None:
        super().__init__(f"publication {serial} is the newest one: there is nothing after it to export")
