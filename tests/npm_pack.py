"""Packages from the npm registry that this machine is set up for, each exactly the one that was written down."""

import base64
import fcntl
import hashlib
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.needs import lacking, need_program

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "npm"
"""Where what was fetched is kept, below the repository."""


def kept(name: str, make: Callable[[Path], Path]) -> Path:
    """Return the file or folder of that name in the cache.

    The first process that needs it has `make` put it together in a folder for this work, others wait meanwhile, and
    one step makes it visible.
    """
    place = CACHE / name
    if not place.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                with tempfile.TemporaryDirectory(dir=CACHE) as work:
                    make(Path(work)).rename(place)
    return place


def fetch(spec: str, sha512: str, into: Path) -> Path:
    """Fetch `name@version` into a folder, which is made; ends the test when it cannot be had.

    Fails when the tarball's SHA-512 (base64) is another one.
    """
    into.mkdir(parents=True)
    command = [
        need_program("npm"),
        "pack",
        spec,
        "--silent",
        "--ignore-scripts",
        "--pack-destination",
        str(into),
    ]
    done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=120, check=False)
    found = list(into.glob("*.tgz"))
    if done.returncode or not found:
        lacking(f"{spec} from the npm registry ({done.stderr.strip()[:200]})")
    actual = base64.b64encode(hashlib.sha512(found[0].read_bytes()).digest()).decode()
    assert actual == sha512, f"{spec} is not the package these tests were written for"
    return found[0]
