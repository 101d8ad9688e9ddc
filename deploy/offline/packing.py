"""Tar files whose bytes depend on their content only: names in order, one owner, one date, two modes."""

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.offline.errors import BuildError

LEVEL = "-9"
"""Wheels are compressed already. What counts is the window, in which the same wheel of another target is found."""
WINDOW = "--long=27"
"""128 MiB, the largest window that zstd, and so tar, decompresses without being asked to."""


def pack(entries: Mapping[str, Path | bytes], path: Path, *, epoch: int) -> None:
    """Write an uncompressed tar of files, under the names given."""
    with tarfile.open(path, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(entries):
            _add(tar, name, entries[name], epoch)


def pack_compressed(folder: Path, path: Path, *, epoch: int) -> None:
    """Write a folder as `.tar.zst`, the folder's own name on top. BuildError without zstd."""
    program = shutil.which("zstd")
    if program is None:
        raise BuildError("zstd is missing; on Debian: apt-get install zstd")
    entries: dict[str, Path | bytes] = {
        f"{folder.name}/{file.relative_to(folder)}": file for file in files_in(folder)
    }
    with tempfile.NamedTemporaryFile(suffix=".tar") as tar:
        pack(entries, Path(tar.name), epoch=epoch)
        command = [program, "--quiet", "--force", "-T0", LEVEL, WINDOW, tar.name, "-o", str(path)]
        if subprocess.run(command, check=False).returncode:
            raise BuildError(f"zstd could not write {path}")
    path.chmod(0o644)


def files_in(folder: Path) -> Iterable[Path]:
    """Every file below a folder."""
    return (path for path in folder.rglob("*") if path.is_file())


def _add(tar: tarfile.TarFile, name: str, content: Path | bytes, epoch: int) -> None:
    info = tarfile.TarInfo(name)
    info.mtime = epoch
    info.mode = 0o644
    if isinstance(content, bytes):
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
        return
    status = content.stat()
    info.size = status.st_size
    info.mode = 0o755 if status.st_mode & 0o100 else 0o644
    with content.open("rb") as source:
        tar.addfile(info, source)
