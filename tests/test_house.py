"""The house plan, checked: floors, circles, where SQL stands, sizes, and what a commit must not contain."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "app"
FLOORS: dict[str, int] = {
    "storage": 0,
    "offload": 0,
    "wire": 1,
    "access": 2,
    "rules": 3,
    "consensus": 4,
    "federation": 4,
    "publication": 5,
    "intel": 6,
    "backup": 6,
    "releases": 6,
    "config": 7,
    "config_example": 8,
    "diagnosis": 8,
    "measures": 8,
    "jobs": 8,
    "console": 9,
    "web": 9,
    "cli": 10,
}
"""What stands on what: a package may import only from lower floors, or itself. One floor is one capability each,
except that those with the same number stand side by side and know nothing of each other."""

SQL_MODULES = {"store", "listing", "schema", "migrate"}
"""Modules that are about SQL and nothing else."""

MODULES = sorted(APP.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(APP).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("app."):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("app."))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    if path == APP / "__init__.py":
        return
    here = package_of(path)
    for name in imports_of(path):
        there = name.split(".")[1]
        assert there == here or FLOORS[there] < FLOORS[here], f"{path}: {here} must not import {name}"


def test_no_two_modules_import_each_other_in_a_circle() -> None:
    graph = {module_name(path): set(imports_of(path)) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join([*trail, name])}"
        if name in done or name not in graph:
            return
        for target in graph[name]:
            visit(target, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.stem == "routes" or p.parent.name in {"web", "cli"}]
)
def test_routes_hold_no_sql(path: Path) -> None:
    if path.name == "health.py":  # its one statement is the question whether the database takes writes
        return
    text = path.read_text()
    for word in ("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM"):
        assert word not in text, f"{path} holds SQL"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400, f"{path} grew past one idea"


def test_stores_know_nothing_of_http() -> None:
    for path in MODULES:
        if path.stem in SQL_MODULES:
            assert "litestar" not in path.read_text(), f"{path} knows HTTP"


def test_the_lock_files_name_no_address() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text
        assert "--index-url" not in text
        assert all("--hash=" in block for block in text.split("\n\n") if "==" in block)


def test_nothing_unfinished_is_committed() -> None:
    files = subprocess.run(
        ["git", "ls-files", "app", "deploy", "ansible"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in files:
        path = ROOT / name
        if path.suffix == ".py" and path.exists():
            for mark in ("TO" + "DO", "FIX" + "ME", "Not" + "ImplementedError"):
                assert mark not in path.read_text(), f"{name} has {mark}"
