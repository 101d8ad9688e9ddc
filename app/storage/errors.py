"""The errors of the database."""


class StorageError(Exception):
    """The family of all errors that storage raises."""


class StorageUnavailable(StorageError):
    """The write did not happen (full disk, read-only file system, I/O error); nothing of it was kept."""


class AlreadyRunning(StorageError):
    """Another process holds the state folder's lock.

    `holder` is what that process wrote about itself, for instance `pid 4711 (threatcloud serve)`.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"the state folder is in use by {holder}")
        self.holder = holder


class DatabaseTooNew(StorageError):
    """The database was written by a newer release; running an older one on it would lose data."""


class DatabaseDamaged(StorageError):
    """SQLite does not recognise the file, or its integrity check fails."""
