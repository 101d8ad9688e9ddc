"""docs/install.md says what the playbooks take."""

import re
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml

from app.config import load_config
from deploy.variables import GUARD, GUIDE, SERVER, specs, tables, with_tables

TEXT = GUIDE.read_text()


class Loader(yaml.SafeLoader):
    """Reads an inventory; a secret is only a mark."""


Loader.add_constructor("!vault", lambda _, node: f"encrypted, {len(node.value)} characters")


def known() -> set[str]:
    return {
        name for role in (SERVER, GUARD) for spec in specs(role).values() for name in spec.get("options", {})
    }


def examples() -> list[dict[str, Any]]:
    return [yaml.load(block, Loader) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


def test_the_tables_of_variables_are_those_of_the_roles() -> None:
    assert with_tables(TEXT) == TEXT, "run: .venv/bin/python -m deploy.variables"
    assert sum(table.count("\n") - 2 for table in tables().values()) == len(known())


def test_the_guide_names_no_variable_that_there_is_not() -> None:
    groups = {SERVER, GUARD}
    assert set(re.findall(r"threatcloud_\w+", TEXT)) - groups <= known()


@pytest.mark.parametrize("example", examples(), ids=lambda example: next(iter(example)))
def test_the_examples_are_inventories_that_the_server_accepts(
    example: dict[str, Any], tmp_path: Path
) -> None:
    assert set(example) <= known()
    document = {**example.get("threatcloud_config", {}), "upstream": example.get("threatcloud_upstreams", [])}
    (tmp_path / "config.toml").write_text(tomlkit.dumps(document))
    config = load_config(tmp_path / "config.toml", {})
    assert len(config.upstream) == len(document["upstream"])
