"""The state folder that something is restored into: what is there now, and who may do it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.backup import store
from app.backup.errors import BackupError
from app.signing.keys import SigningKeyError, SigningKeys
from app.storage import AlreadyRunning
from app.storage.connection import DATABASE_NAME
from app.storage.lock import ProcessLock
from app.storage.swap import finish_swap, is_swap_pending


@dataclass(frozen=True, slots=True)
class Present:
    """What a state folder holds: the instance of its database, and its keys; None where that cannot be read."""

    issuer: str | None
    keys: SigningKeys | None

    @property
    def is_empty(self) -> bool:
        """Is there nothing that says whose folder it is?"""
        return self.issuer is None and self.keys is None


def present(state_dir: Path) -> Present:
    """Look at what is there; a damaged database or key is as good as none."""
    try:
        issuer = store.describe(state_dir / DATABASE_NAME).issuer
    except BackupError:
        issuer = None
    try:
        keys = SigningKeys.read(state_dir)
    except SigningKeyError:
        keys = None
    return Present(issuer, keys)


@contextmanager
def held(state_dir: Path, purpose: str) -> Iterator[None]:
    """Hold the state folder's lock, with no exchange half done in it; raises `BackupError`."""
    require_owner(state_dir)
    try:
        with ProcessLock(state_dir, purpose):
            finish_swap(state_dir)
            yield
    except AlreadyRunning as error:
        raise BackupError(f"{error}: stop that first") from error


def settle(state_dir: Path) -> None:
    """Carry out the rest of a restore that was interrupted, if there is one; raises `BackupError`."""
    require_owner(state_dir)
    if is_swap_pending(state_dir):
        with held(state_dir, "threatcloud, finishing a restore"):
            pass


def require_owner(state_dir: Path) -> None:
    """Raise `BackupError` for root in a folder of somebody else, who could not read what root leaves there."""
    if os.geteuid() == 0 and state_dir.is_dir() and (owner := state_dir.stat().st_uid) != 0:
        raise BackupError(f"{state_dir} belongs to user {owner}: run this as that user, not as root")


def replaced_name(state_dir: Path, now: datetime) -> str:
    """`replaced-<stamp>`, a name that is free."""
    name = base = f"replaced-{now:%Y%m%dT%H%M%SZ}"
    number = 1
    while (state_dir / name).exists():
        number += 1
        name = f"{base}-{number}"
    return name
