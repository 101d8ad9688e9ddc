"""Backups: is there one, is it recent, and would it bring the keys back too."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from app.backup.policy import BackupPolicy
from app.backup.status import BackupStatus, read_status
from app.doctor.finding import Finding
from app.http.timestamps import from_text
from app.storage.swap import is_swap_pending

OLD = timedelta(days=2)
"""Backups are made daily; one that failed once is no reason to wake somebody."""


def backups(state_dir: Path, policy: BackupPolicy, now: datetime) -> Iterator[Finding]:
    """The last attempt, the last that was verified, and a restore that was interrupted."""
    status = read_status(state_dir)
    if is_swap_pending(state_dir):
        todo = "Start the server, which finishes it."
        yield Finding("restore", "failed", "a restore was interrupted", todo)
    if status.is_failing and status.failed is not None:
        found = f"the last attempt failed, at {status.failed.at}: {status.failed.why}"
        yield Finding("backup: last attempt", "warning", found, "Mend that, then: threatcloud backup create")
    yield _age(status, now)
    if status.verified is not None and not status.verified.keys and policy.keys != "never":
        found = "the private keys are not in it: restored on another machine, every issued key would be void"
        todo = "Set backup.recipients (threatcloud backup keygen), or keep a copy of <state>/keys yourself."
        yield Finding("backup: keys", "warning", found, todo)


def _age(status: BackupStatus, now: datetime) -> Finding:
    if status.verified is None:
        return Finding(
            "backup", "warning", "none was made yet", "Make one every day: threatcloud backup create"
        )
    found = f"verified at {status.verified.at}: {status.verified.file}"
    if now - from_text(status.verified.at) > OLD:
        todo = "Look why none was made since, then: threatcloud backup create"
        return Finding("backup", "warning", f"the last one is old, {found}", todo)
    return Finding("backup", "ok", found)
