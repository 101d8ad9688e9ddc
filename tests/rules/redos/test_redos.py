"""The library is one in itself: its examples are true, and it needs nothing of the rest of the product."""

import ast
import doctest
from pathlib import Path

import app.rules.redos as redos

FOLDER = Path(redos.__file__).parent


def test_the_examples_of_the_docstring_and_the_readme_are_true() -> None:
    assert doctest.testmod(redos).failed == 0
    result = doctest.testfile(str(FOLDER / "README.md"), module_relative=False)
    assert (result.failed, result.attempted) == (0, 3)


def test_it_imports_nothing_of_the_rest_of_the_product() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("app."):
                assert node.module.startswith("app.rules.redos"), path
