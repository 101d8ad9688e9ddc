"""What can go wrong with a backup."""


class BackupError(Exception):
    """A backup could not be made, or one is not accepted; the message is one sentence that says why."""
