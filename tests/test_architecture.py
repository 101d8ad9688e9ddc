"""The architecture, checked: layers, import cycles, where SQL stands, sizes, and what a commit must not contain."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "app"
LAYERS: dict[str, int] = {
    "storage": 0,
    "sandbox": 0,
    "http": 1,
    "signing": 2,
    "archives": 2,
    "access": 3,
    "rules": 4,
    "privacy": 4,
    "consensus": 5,
    "overlay": 5,
    "bundles": 5,
    "fleet": 5,
    "federation": 6,
    "publication": 7,
    "intel": 8,
    "backup": 8,
    "releases": 8,
    "config": 9,
    "config_example": 10,
    "doctor": 10,
    "metrics_store": 10,
    "jobs": 10,
    "web": 11,
    "cli": 12,
}
"""A package imports only from lower layers, or from itself. Packages of one layer stand side by side and know nothing
of each other."""

SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE FROM|REPLACE|WITH|CREATE|DROP|ALTER|PRAGMA|BEGIN|VACUUM|ATTACH)\s+\S"
)


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
        assert there == here or LAYERS[there] < LAYERS[here], f"{path}: {here} must not import {name}"


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


def is_store(path: Path) -> bool:
    """True for a module about SQL: `store`, `*_store`, and the package of the database itself."""
    return path.stem == "store" or path.stem.endswith("_store") or package_of(path) == "storage"


def statements_in(path: Path) -> Iterator[str]:
    """SQL in the string literals of a module, docstrings left out."""
    tree = ast.parse(path.read_text())
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or node in docstrings or not isinstance(node.value, str):
            continue
        if SQL.match(node.value):
            yield node.value


@pytest.mark.parametrize(
    "path", [p for p in MODULES if not is_store(p)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_sql_stands_in_stores_only(path: Path) -> None:
    found = [*statements_in(path)]
    assert not found, f"{path} holds SQL: {found}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400, f"{path} grew past one idea"


def test_stores_know_nothing_of_http() -> None:
    for path in MODULES:
        if is_store(path):
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
