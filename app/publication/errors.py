"""What a publication's callers must be ready for."""


class PublicationError(Exception):
    """Family of this capability's refusals."""


class NoSuchPublication(PublicationError):
    """No publication with this serial is kept."""

    def __init__(self, serial: int) -> None:
        super().__init__(f"no publication with serial {serial} is kept")
        self.serial = serial


class NothingHeld(PublicationError):
    """There is no rollback to release."""
