"""The role threatcloud_server: what its variables are said to be is what they are."""

from typing import Any

import yaml

from tests.server import REPOSITORY

ROLE = REPOSITORY / "ansible" / "roles" / "threatcloud_server"
PLAYBOOKS = {path.stem for path in (REPOSITORY / "ansible" / "playbooks").glob("*.yml")} - {"enrol_guards"}


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROLE / name).read_text())
    return found


SPECS: dict[str, dict[str, Any]] = read("meta/argument_specs.yml")["argument_specs"]
OPTIONS: dict[str, Any] = {
    name: option for spec in SPECS.values() for name, option in spec["options"].items()
}


def test_every_default_is_the_documented_one() -> None:
    documented = {name: option["default"] for name, option in OPTIONS.items() if "default" in option}
    # The one variable without a default has an empty one, so that its mistake is told with the others.
    assert read("defaults/main.yml") == documented | {"threatcloud_server_name": ""}


def test_every_variable_is_described_and_typed() -> None:
    assert [name for name, option in OPTIONS.items() if not option.get("description")] == []
    assert [name for name, option in OPTIONS.items() if "type" not in option] == []


def test_every_playbook_has_its_entry_point() -> None:
    assert set(SPECS) - {"main"} == PLAYBOOKS
    assert {path.stem for path in (ROLE / "tasks").glob("*.yml")} > PLAYBOOKS


def test_renamed_variables_lead_to_ones_that_are_there() -> None:
    renamed: dict[str, str] = read("vars/main.yml")["_threatcloud_renamed"]
    assert set(renamed.values()) <= set(OPTIONS)
    assert not set(renamed) & set(OPTIONS)
