"""The catalog of backups in a folder, read from their file names; only a verified backup gets such a name."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from app.backup.errors import BackupError
from app.http.timestamps import to_text

_STAMP = "%Y%m%dT%H%M%SZ"
_LABEL = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
_NAME = re.compile(rf"threatcloud-([0-9]{{8}}T[0-9]{{6}}Z)(?:-({_LABEL}?))?\.tcbackup(\.age)?")


class BackupFile(msgspec.Struct, frozen=True):
    """One backup, described by its file name; `at` is precise to the second."""

    file: str
    at: str
    label: str | None
    encrypted: bool
    bytes: int


def list_backup_files(folder: Path) -> list[BackupFile]:
    """Return the backups in a folder, newest first; none when it does not exist. Raise `BackupError`."""
    found = []
    try:
        for path in folder.iterdir() if folder.exists() else ():
            name = _NAME.fullmatch(path.name)
            if name is not None and path.is_file():
                at = datetime.strptime(name[1], _STAMP).replace(tzinfo=UTC)
                found.append(
                    BackupFile(str(path), to_text(at), name[2], name[3] is not None, path.stat().st_size)
                )
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} cannot be read: {error}") from error
    return sorted(found, key=lambda backup: (backup.at, backup.file), reverse=True)


def check_label(label: str | None) -> None:
    """Raise `BackupError` for a label that cannot be part of a file name."""
    if label is not None and not re.fullmatch(_LABEL, label):
        raise BackupError(
            "a label has up to 64 letters, digits and . _ + - and begins with a letter or digit"
        )


def next_name(there: Iterable[BackupFile], label: str | None, now: datetime, *, encrypted: bool) -> str:
    """Return a name that sorts after all of `there`, also within one second or with a clock set back."""
    at = now.astimezone(UTC).replace(microsecond=0)
    newest = max((datetime.fromisoformat(backup.at) for backup in there), default=None)
    if newest is not None:
        at = max(at, newest + timedelta(seconds=1))
    tail = f"-{label}" if label else ""
    return f"threatcloud-{at:{_STAMP}}{tail}.tcbackup{'.age' if encrypted else ''}"


def surplus(there: Iterable[BackupFile], keep: int) -> list[BackupFile]:
    """Return those beyond the newest `keep` with a label and the newest `keep` without; never the newest of all."""
    ordered = sorted(there, key=lambda backup: (backup.at, backup.file), reverse=True)
    labelled = [backup for backup in ordered if backup.label is not None]
    plain = [backup for backup in ordered if backup.label is None]
    return [*plain[keep:], *labelled[keep:]]
