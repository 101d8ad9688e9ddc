"""Puts an archive together: wheels, playbooks, documents, bill of materials, digests, signature."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from deploy.offline.bill import bill_of_materials
from deploy.offline.errors import BuildError
from deploy.offline.lock import Pin, needed, read_lock
from deploy.offline.packing import pack, pack_compressed
from deploy.offline.signing import VARIABLE, fingerprint, public_key, release_key, sign, sums
from deploy.offline.targets import EVERY, Target
from deploy.offline.wheels import Wheel, build_own, fetch

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "wheels"
OWN_FILES = Path(__file__).resolve().parent / "files"
COPIED = ("ansible", "deploy", "docs", "CHANGELOG.md", "LICENSE", "config.example.toml")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.py", "*.pyc", "offline", ".*")
"""What only serves development; the archive cannot build another one."""

Say = Callable[[str], None]


def build_archive(
    tree: Path = REPOSITORY,
    output: Path = REPOSITORY / "dist",
    targets: Sequence[Target] = EVERY,
    *,
    unpacked: bool = False,
    environment: Mapping[str, str] = os.environ,
    say: Say = lambda _: None,
) -> Path:
    """Build `threatcloud-<version>-offline.tar.zst` with its `.sig` in `output`, or, unpacked, that folder alone.

    `tree` is the source tree that is packed, this one or a copy with another version. Of the environment are read:
    SOURCE_DATE_EPOCH (default: the last commit's time, else now) and THREATCLOUD_RELEASE_KEY. `say` gets one line for
    each step. The same tree, lock files, time and key give the same bytes. BuildError says what is missing.
    """
    epoch = _epoch(tree, environment)
    key = release_key(output, environment)
    with tempfile.TemporaryDirectory(prefix="threatcloud-offline-") as scratch:
        say("building our wheel")
        own = build_own(tree, Path(scratch) / "own", epoch)
        if own.version != _version(tree):
            raise BuildError(f"the wheel says version {own.version}, app/__init__.py says {_version(tree)}")
        folder = Path(scratch) / f"threatcloud-{own.version}-offline"
        _copy_tree(tree, folder, own.version)
        wheels = _wheelhouses(tree, folder, own, targets, epoch, say)
        (folder / "sbom.cdx.json").write_text(bill_of_materials(own, wheels, epoch=epoch))
        (folder / "release-key.pub").write_text(public_key(key))
        (folder / "SHA256SUMS").write_text(sums(folder))
        sign(folder / "SHA256SUMS", key)
        result = _place(folder, output, unpacked=unpacked, epoch=epoch, say=say)
    if not unpacked:
        sign(result, key)
    say(f"signed by {fingerprint(key)}")
    if VARIABLE not in environment:
        say(f"NOT A RELEASE: {key} is a throw-away key made here; {VARIABLE} names the real one")
    return result


def _copy_tree(tree: Path, folder: Path, version: str) -> None:
    folder.mkdir()
    for name in COPIED:
        source = tree / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=_not_copied)
        else:
            shutil.copy(source, folder / name)
    (folder / "VERSION").write_text(version + "\n")
    (folder / "control").mkdir()
    for name, place in (("README", "README"), ("verify", "verify"), ("install-control", "control/install")):
        shutil.copy(OWN_FILES / name, folder / place)


def _not_copied(folder: str, names: list[str]) -> set[str]:
    """Leave out what only serves development, and every inventory of a site: those have secrets in them."""
    private = set(names) - {"example"} if Path(folder).name == "inventories" else set()
    return NOT_COPIED(folder, names) | private


def _wheelhouses(
    tree: Path, folder: Path, own: Wheel, targets: Sequence[Target], epoch: int, say: Say
) -> list[Wheel]:
    """Write wheelhouse/, control/ and online/; return every wheel that is in them, some of them more than once."""
    server, control = (read_lock(tree / "requirements" / name) for name in ("server.txt", "control.txt"))
    [pip] = [pin for pin in server if pin.name == "pip"]
    (folder / "wheelhouse").mkdir()
    everything: list[Wheel] = []
    for number, target in enumerate(targets, 1):
        say(f"wheels for {target.name} ({number} of {len(targets)})")
        for place, pins, ours in (
            ("wheelhouse", needed(server, target), [own]),
            ("control", needed([*control, pip], target), []),
        ):
            wheels = [*fetch(pins, target, CACHE), *ours]
            everything += wheels
            entries: dict[str, Path | bytes] = {wheel.path.name: wheel.path for wheel in wheels}
            pack(
                {**entries, "requirements.txt": _requirements(wheels)},
                folder / place / f"{target.name}.tar",
                epoch=epoch,
            )
    _online(folder / "online", own, server, next(wheel for wheel in everything if wheel.name == "pip"))
    return everything


def _online(folder: Path, own: Wheel, server: Iterable[Pin], pip: Wheel) -> None:
    """Return what an installation from a package index needs: our wheel, pip, and the lock for every platform."""
    folder.mkdir()
    for wheel in (own, pip):
        shutil.copy(wheel.path, folder)
    (folder / "requirements.txt").write_text("".join(pin.render(marker=True) for pin in server) + _line(own))


def _requirements(wheels: Iterable[Wheel]) -> bytes:
    return "".join(sorted(map(_line, wheels))).encode()


def _line(wheel: Wheel) -> str:
    return f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n"


def _place(folder: Path, output: Path, *, unpacked: bool, epoch: int, say: Say) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    result = output / folder.name
    if unpacked:
        shutil.rmtree(result, ignore_errors=True)
        shutil.move(folder, result)
        return result
    result = output / f"{folder.name}.tar.zst"
    say("compressing")
    pack_compressed(folder, result, epoch=epoch)
    say(f"{result}: {result.stat().st_size / 1e6:.1f} MB")
    return result


def _version(tree: Path) -> str:
    found = re.search(r'^__version__ = "([^"]+)"$', (tree / "app" / "__init__.py").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError(f"{tree}/app/__init__.py has no __version__")
    return found[1]


def _epoch(tree: Path, environment: Mapping[str, str]) -> int:
    if stated := environment.get("SOURCE_DATE_EPOCH"):
        return int(stated)
    done = subprocess.run(
        ["git", "-C", str(tree), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
    )
    return int(done.stdout) if done.returncode == 0 else int(time.time())
