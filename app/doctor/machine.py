"""What stands under the server: SQLite, the state folder, its disk and its lock."""

import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from app.doctor.finding import Finding
from app.storage.connection import MINIMUM_SQLITE
from app.storage.lock import lock_holder

WAL_RESET_FIXED = (3, 51, 3)
DISK_WARNING_BYTES = 2 * 1024**3
DISK_FAILURE_BYTES = 200 * 1024**2
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "glusterfs", "ceph"}


def sqlite() -> Iterator[Finding]:
    """The version that this Python links."""
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        todo = "Use a Python that links SQLite 3.37 or newer."
        yield Finding("sqlite version", "failed", version, todo)
    elif sqlite3.sqlite_version_info < WAL_RESET_FIXED:
        yield Finding(
            "sqlite version", "ok", f"{version} (its WAL-reset defect needs two writers; there is one)"
        )
    else:
        yield Finding("sqlite version", "ok", version)


def state_folder(state_dir: Path) -> Iterator[Finding]:
    """Its modes, its secrets, its disk and its file system."""
    if not state_dir.is_dir():
        yield Finding("state folder", "failed", f"{state_dir} does not exist", "Start the server once.")
        return
    mode = stat.S_IMODE(state_dir.stat().st_mode)
    if mode & 0o077:
        yield Finding("state folder", "warning", f"mode {mode:04o}", f"chmod 0700 {state_dir}")
    else:
        yield Finding("state folder", "ok", f"{state_dir}, mode {mode:04o}")
    yield from _secrets(state_dir)
    yield _disk(state_dir)
    yield _file_system(state_dir)


def _secrets(state_dir: Path) -> Iterator[Finding]:
    secrets = [path for path in (state_dir / "admin.key", *state_dir.glob("keys/*")) if path.is_file()]
    loose = [path for path in secrets if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if loose:
        names = " ".join(str(path) for path in loose)
        yield Finding("secret files", "failed", f"{len(loose)} readable by others", f"chmod 0600 {names}")
    else:
        yield Finding("secret files", "ok", f"{len(secrets)}, readable by their owner only")


def _disk(state_dir: Path) -> Finding:
    free = shutil.disk_usage(state_dir).free
    found = f"{free / 1024**3:.1f} GiB free"
    if free < DISK_FAILURE_BYTES:
        return Finding("disk", "failed", found, "Free space now: writes are about to be refused.")
    if free < DISK_WARNING_BYTES:
        return Finding("disk", "warning", found, "Free space, or move the state folder to a larger disk.")
    return Finding("disk", "ok", found)


def _file_system(state_dir: Path) -> Finding:
    """SQLite's write-ahead log needs shared memory, which network file systems do not give."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount, found, *_ = line.split(" ")
        if state_dir.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, found
    if kind in NETWORK_FILE_SYSTEMS:
        return Finding("file system", "failed", kind, "Put the state folder on a local disk.")
    return Finding("file system", "ok", kind)


def lock(state_dir: Path) -> Iterator[Finding]:
    """Who has the state folder."""
    holder = lock_holder(state_dir) if state_dir.is_dir() else None
    yield Finding("lock", "ok", f"held by {holder}" if holder else "free: no server runs")
