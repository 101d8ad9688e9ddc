"""The settings of backups."""

from typing import Annotated, Literal

import msgspec


class BackupPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Where backups go, for whom they are encrypted, and how many are kept."""

    folder: str = ""
    """Folder for backups, of this instance alone; empty: `backups` in the state folder. Better another disk."""
    keep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 14
    """How many of the newest backups are kept, and as many of those with a label."""
    recipients: tuple[str, ...] = ()
    """Public keys (age1...) for which backups are encrypted; `threatcloud backup keygen` makes one."""
    keys: Literal["encrypted", "always", "never"] = "encrypted"
    """Whether the private keys are in a backup: only in an encrypted one, always, or never."""

    def __post_init__(self) -> None:
        if self.recipients:
            from app.backup.cipher import read_recipients  # noqa: PLC0415 (the server needs no cipher)

            read_recipients(self.recipients)

    def with_keys(self, *, encrypted: bool) -> bool:
        """Return True when the private keys go into a backup."""
        return self.keys == "always" or (self.keys == "encrypted" and encrypted)
