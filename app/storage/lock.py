"""The process lock: only one process writes and schedules, even if another is started by mistake."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from app.storage.errors import AlreadyRunning


class ProcessLock:
    """An exclusive `flock` on `<state>/threatcloud.lock`, released by the kernel however the process ends.

    The file names its holder, so that a refused start and `threatcloud doctor` can say who it is.
    """

    def __init__(self, state_dir: Path, purpose: str) -> None:
        self._path = state_dir / "threatcloud.lock"
        self._purpose = purpose
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise `AlreadyRunning` at once."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise AlreadyRunning(lock_holder(self._path.parent) or "another process") from None
        os.ftruncate(fd, 0)
        os.write(fd, f"pid {os.getpid()} ({self._purpose})\n".encode())
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; harmless when it was never taken."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_holder(state_dir: Path) -> str | None:
    """Return what the holder of the lock wrote about itself; None when nobody holds it."""
    path = state_dir / "threatcloud.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(fd, 200).decode(errors="replace").strip() or "an unnamed process"
    finally:
        os.close(fd)
    return None
