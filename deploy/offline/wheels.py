"""Wheels: our own is built, those of the dependencies are fetched for each target and kept."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from deploy.offline.errors import BuildError
from deploy.offline.lock import Pin
from deploy.offline.targets import Target

UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolutionError|ProxyError|ConnectTimeout|ReadTimeout|SSLError|Network is unreachable"
    r"|Connection (?:refused|aborted|to .* timed out)"
)
"""What pip says on its way to `No matching distribution found` when the index does not answer."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel file."""

    path: Path
    name: str
    """Normalised (PEP 503)."""
    version: str
    sha256: str

    @classmethod
    def at(cls, path: Path) -> "Wheel":
        """Read name and version off the file name, and digest the content."""
        name, version, _, _ = parse_wheel_filename(path.name)
        return cls(path, canonicalize_name(name), str(version), digest(path))


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_own(tree: Path, folder: Path, epoch: int) -> Wheel:
    """Build the wheel of the source tree into `folder`, its entries dated `epoch` (seconds since 1970)."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=tree,
        env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": str(epoch), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"the wheel of {tree} cannot be built: {_last_line(done.stderr)}")
    [path] = folder.glob("*.whl")
    return Wheel.at(path)


def fetch(pins: Sequence[Pin], target: Target, cache: Path) -> tuple[Wheel, ...]:
    """Return the wheel of each pin for the target, in order of their names; downloaded unless `cache` has them.

    The package index is the one that pip is configured for. BuildError names the package without a fitting wheel,
    or says that the index does not answer.
    """
    wanted = "".join(pin.render(marker=False) for pin in pins)
    folder = cache / f"{target.name}-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=cache, prefix="partial-"))
        try:
            _download(wanted, target, partial)
            try:
                partial.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another build was faster
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return _matched(pins, target, folder)


def _download(wanted: str, target: Target, folder: Path) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(wanted)
        requirements.flush()
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--retries", "2", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command += ["--requirement", requirements.name, "--dest", str(folder)]
        command += ["--implementation", "cp", "--python-version", target.python]
        for platform in target.platforms():
            command += ["--platform", platform]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if UNREACHABLE.search(done.stderr):
        raise BuildError(
            "the package index does not answer; wheels are fetched from the one that pip is configured for "
            f"(pip config list): {_last_line(done.stderr)}"
        )
    if missing := re.search(r"No matching distribution found for (\S+)", done.stderr):
        raise BuildError(f"the package index has no wheel of {missing[1]} for {target.name}")
    raise BuildError(f"pip cannot download the wheels for {target.name}: {_last_line(done.stderr)}")


def _matched(pins: Sequence[Pin], target: Target, folder: Path) -> tuple[Wheel, ...]:
    """Pair pins and files; whoever changed the cache in between is found out here."""
    wheels = {wheel.name: wheel for wheel in map(Wheel.at, folder.glob("*.whl"))}
    for pin in pins:
        wheel = wheels.get(pin.name)
        if wheel is None or wheel.version != pin.version or wheel.sha256 not in pin.hashes:
            raise BuildError(
                f"the kept wheels for {target.name} lack {pin.name} {pin.version}; delete {folder}"
            )
    return tuple(wheels[pin.name] for pin in pins)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"
