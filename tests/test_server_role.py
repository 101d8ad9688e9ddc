"""The role threatcloud_server: what its variables are said to be is what they are."""

import re
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


def test_the_readme_names_every_entry_point_phase_and_tag_and_no_unknown_variable() -> None:
    text = (ROLE / "README.md").read_text()
    phases = {path.name for path in (ROLE / "tasks").iterdir() if path.is_dir()}
    tags: set[str] = set()
    for path in (ROLE / "tasks").rglob("*.yml"):
        tags.update(tag for task in yaml.safe_load(path.read_text()) for tag in task.get("tags", ()))
    names = {*SPECS, *(f"{phase}/" for phase in phases), *(tags - {"always"})}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
    assert set(re.findall(r"`(threatcloud_\w+)`", text)) - {"threatcloud_"} <= set(OPTIONS)


def test_the_files_beside_the_phases_are_the_entry_points() -> None:
    assert {path.stem for path in (ROLE / "tasks").glob("*.yml")} == {"main", *PLAYBOOKS}
