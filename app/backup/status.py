"""How the last backups went, in `<state>/backup.json`: for `/metrics`, `doctor` and whoever else asks."""

from pathlib import Path

import msgspec

from app.storage.files import write_private

FILE = "backup.json"


class Verified(msgspec.Struct, frozen=True):
    """The last backup that was made and verified; `keys`: the private keys are in it."""

    at: str
    file: str
    bytes: int
    seconds: float
    encrypted: bool
    keys: bool


class Failed(msgspec.Struct, frozen=True):
    """The last one that could not be made, and why."""

    at: str
    why: str


class BackupStatus(msgspec.Struct, frozen=True):
    """Each None as long as there was none."""

    verified: Verified | None = None
    failed: Failed | None = None

    @property
    def is_failing(self) -> bool:
        """Did the newest attempt fail?"""
        return self.failed is not None and (self.verified is None or self.verified.at < self.failed.at)


def read_status(state_dir: Path) -> BackupStatus:
    """The status; one that is missing or cannot be read is that of an instance without backups."""
    try:
        return msgspec.json.decode((state_dir / FILE).read_bytes(), type=BackupStatus)
    except (OSError, msgspec.MsgspecError):
        return BackupStatus()


def write_status(state_dir: Path, status: BackupStatus) -> None:
    """Replace the status, whole or not at all; raises `OSError`."""
    write_private(state_dir / FILE, msgspec.json.format(msgspec.json.encode(status), indent=2) + b"\n")
