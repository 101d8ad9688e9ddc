"""The status of the last backups, in `<state>/backup.json`: for `/metrics`, `doctor` and other readers."""

from pathlib import Path

import msgspec

from app.storage.files import write_private

FILE = "backup.json"


class VerifiedBackup(msgspec.Struct, frozen=True):
    """The last backup that was made and verified; `keys`: the private keys are in it."""

    at: str
    file: str
    bytes: int
    seconds: float
    encrypted: bool
    keys: bool


class FailedBackup(msgspec.Struct, frozen=True):
    """The last backup that could not be made, and why."""

    at: str
    why: str


class BackupStatus(msgspec.Struct, frozen=True):
    """The last verified backup and the last failure; each None as long as there was none."""

    verified: VerifiedBackup | None = None
    failed: FailedBackup | None = None

    @property
    def is_failing(self) -> bool:
        """True when the newest attempt failed."""
        return self.failed is not None and (self.verified is None or self.verified.at < self.failed.at)


def read_backup_status(state_dir: Path) -> BackupStatus:
    """Return the status; a missing or unreadable one counts as that of an instance without backups."""
    try:
        return msgspec.json.decode((state_dir / FILE).read_bytes(), type=BackupStatus)
    except (OSError, msgspec.MsgspecError):
        return BackupStatus()


def write_backup_status(state_dir: Path, status: BackupStatus) -> None:
    """Replace the status, whole or not at all; raises `OSError`."""
    write_private(state_dir / FILE, msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n")
