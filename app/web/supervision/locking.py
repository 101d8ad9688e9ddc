"""Take the process lock, and wait for a holder that is about to finish."""

import asyncio
import os
from pathlib import Path

from app.storage import AlreadyRunning
from app.storage.lock import ProcessLock

_SERVES = "threatcloud serve, main process"


def purpose(*, serving: bool) -> str:
    """Return what the process that opens the state folder writes into the lock file."""
    return f"{_SERVES} {os.getppid()}" if serving else "a threatcloud command"


def serves(holder: str) -> bool:
    """Is this holder of the lock a server, which answers on its control socket?"""
    return _SERVES in holder


async def take_lock(state_dir: Path, purpose: str, seconds: float) -> ProcessLock:
    """Take the lock of a state folder, waiting up to `seconds` for it; raises `AlreadyRunning`."""
    lock = ProcessLock(state_dir, purpose)
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            lock.acquire()
        except AlreadyRunning:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return lock
