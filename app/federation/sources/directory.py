"""Kind `directory`: a folder, or a checkout, of rule files."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.federation.sources.collected import Collected, Memory, SourceError
from app.federation.sources.spool import MAX_BYTES, MAX_ITEMS, Spool
from app.federation.upstream import DirectoryUpstream
from app.http.problem import printable

MAX_ENTRIES = 200_000
"""Most files and folders to pass on the way, so that `path = "/"` ends soon."""

_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, slots=True, order=True)
class _File:
    name: str
    """Path below the folder, with `/`."""
    path: Path
    """Where its content is: a symbolic link inside the folder is resolved."""
    size: int
    mtime_ns: int
    ctime_ns: int


def collect_directory(upstream: DirectoryUpstream, memory: Memory, spool: str) -> Collected:
    """Read every `.yaml` and `.yml` file in and below the folder, unless none was touched since.

    Names that begin with a dot are passed over (`.git`, `.github`), and so are links to folders and links that
    lead out. Raises `OSError`, and `SourceError` too-large, or mixed-up when a file changes while it is read.
    """
    root = Path(os.path.realpath(upstream.path, strict=True))
    files = sorted(_rule_files(root))
    fingerprint = _fingerprint(files)
    if fingerprint == memory.fingerprint:
        return Collected("unchanged", label=memory.label, memory=memory)
    with Spool(spool, MAX_BYTES) as texts:
        for file in files:
            texts.add(file.name, _content(file))
    names = "".join(f"{item.name}\0{item.digest}\0" for item in texts.items)
    label = hashlib.sha256(names.encode()).hexdigest()[:12]
    remembered = Memory(label=label, fingerprint=fingerprint)
    return Collected("changed", label=label, items=texts.items, memory=remembered)


def _rule_files(root: Path) -> Iterator[_File]:
    folders = [root]
    passed = found = 0
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                passed += 1
                if passed > MAX_ENTRIES:
                    raise SourceError("too-large", f"The folder has more than {MAX_ENTRIES} entries.")
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.name.endswith(_ENDINGS) and (file := _file(root, Path(entry.path))):
                    found += 1
                    if found > MAX_ITEMS:
                        raise SourceError("too-large", f"The folder has more than {MAX_ITEMS} rule files.")
                    yield file


def _file(root: Path, path: Path) -> _File | None:
    try:
        content = Path(os.path.realpath(path, strict=True))
    except OSError:  # a link to nothing, or in a circle
        return None
    if not content.is_relative_to(root) or not content.is_file():
        return None
    state = content.stat()
    name = printable(path.relative_to(root).as_posix())
    return _File(name, content, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def _fingerprint(files: Sequence[_File]) -> str:
    """Digest names, sizes and times; the time of the last status change also shows copies that keep their date."""
    lines = "".join(f"{file.name}\0{file.size}\0{file.mtime_ns}\0{file.ctime_ns}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _content(file: _File) -> bytes:
    """Return the bytes if the file still is what was listed: half of a checkout must not become a version."""
    descriptor = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        state = os.fstat(opened.fileno())
        is_same = stat.S_ISREG(state.st_mode) and (state.st_size, state.st_mtime_ns) == (
            file.size,
            file.mtime_ns,
        )
        if is_same and file.size <= MAX_BYTES:
            content = opened.read(file.size + 1)
            if len(content) == file.size:
                return content
    if file.size > MAX_BYTES:
        raise SourceError("too-large", f"{file.name} is larger than {MAX_BYTES} bytes.")
    raise SourceError("mixed-up", f"{file.name} changed while it was read; the next pull reads it again.")
