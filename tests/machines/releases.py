"""Releases to install: built from this tree, or from a copy of it that was changed as a later release would be."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from app import __version__
from deploy.offline.build import build_archive
from deploy.offline.targets import Target
from tests.machines.testbed.testbed import REPOSITORY
from tests.needs import need_program

TARGETS = [Target.parse("cp311-x86_64"), Target.parse("cp313-x86_64")]
"""The Pythons of Debian 12 and Debian 13."""

PARTS = (
    "app",
    "deploy",
    "ansible",
    "docs",
    "requirements",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
)

Change = Callable[[Path], None]


def later(patch: int) -> str:
    """Return the version that many patch releases after this one."""
    major, minor, own = (int(part) for part in __version__.split("."))
    return f"{major}.{minor}.{own + patch}"


def archive(folder: Path) -> Path:
    """Build the offline archive of this tree as `make dist-offline` does, for the machines of these tests only."""
    need_program("zstd")
    return build_archive(REPOSITORY, folder, TARGETS, environment={})


def unpack(packed: Path) -> Path:
    """Unpack an archive beside itself, as its guide says."""
    subprocess.run(["tar", "--zstd", "-xf", packed.name], cwd=packed.parent, check=True)
    return packed.with_name(packed.name.removesuffix(".tar.zst"))


def release(folder: Path, version: str, *changes: Change) -> Path:
    """Build an unpacked release of this tree with another version and with changes to its source."""
    tree = folder / f"tree-{version}"
    tree.mkdir(parents=True)
    leftovers = shutil.ignore_patterns("__pycache__")
    for name in (*PARTS, "config.example.toml"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=leftovers)
        else:
            shutil.copy(source, tree)
    for change in (version_is(version), *changes):
        change(tree)
    made = build_archive(tree, folder / version, TARGETS, unpacked=True, environment={})
    shutil.rmtree(tree)
    return made


def version_is(version: str) -> Change:
    """Return a change of the version number."""
    return replaced("app/__init__.py", r'__version__ = ".+"', f'__version__ = "{version}"')


def replaced(name: str, pattern: str, text: str) -> Change:
    """Return a change that replaces the only match of a pattern in a file."""

    def change(tree: Path) -> None:
        file = tree / name
        new, count = re.subn(pattern, lambda _: text, file.read_text())
        assert count == 1, f"{pattern} is {count} times in {name}"
        file.write_text(new)

    return change


def migration(number: int) -> Change:
    """Return a change that appends one more migration to the list, as the next release would."""
    function = (
        f"def m{number:04}_later(db: Database) -> None:\n"
        '    """What a later release adds."""\n'
        f'    db.executescript("CREATE TABLE later_{number} (name TEXT PRIMARY KEY) STRICT;")\n\n\n'
    )

    def change(tree: Path) -> None:
        file = tree / "app" / "storage" / "schema.py"
        text = file.read_text()
        head, mark, rest = text.partition("MIGRATIONS")
        names, end, tail = rest.partition("\n)")
        assert mark, "the list of migrations is not where it was"
        assert end, "the list of migrations is not where it was"
        file.write_text(f"{head}{function}{mark}{names}\n    m{number:04}_later,{end}{tail}")

    return change
