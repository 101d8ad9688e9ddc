"""The tables of variables in docs/install.md, made from the roles' meta/argument_specs.yml.

`python -m deploy.variables` writes them anew; a test says when that is due.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
GUIDE = REPOSITORY / "docs" / "install.md"
SERVER = "threatcloud_server"
GUARD = "threatcloud_guard"


def main() -> None:
    """Write the tables into the guide."""
    GUIDE.write_text(with_tables(GUIDE.read_text()))


def with_tables(guide: str) -> str:
    """Return the guide's text with each table between its two marks as the specs say now."""
    for name, table in tables().items():
        begin, end = f"<!-- variables: {name} -->\n", "<!-- end -->"
        before, begins, rest = guide.partition(begin)
        _, ends, after = rest.partition(end)
        if not begins or not ends:
            raise ValueError(f"the guide has no place for the table {name!r}")
        guide = before + begin + table + end + after
    return guide


def tables() -> dict[str, str]:
    """Each table by its name: what the inventory says of the server, of single playbooks, and of Guard hosts."""
    server, guard = specs(SERVER), specs(GUARD)
    inventory = server.pop("main")["options"]
    single = {
        name: {**option, "playbook": playbook}
        for playbook, spec in server.items()
        for name, option in spec["options"].items()
    }
    return {
        "server": _table(inventory),
        "playbooks": _table(single, playbook=True),
        "guards": _table(guard["main"]["options"]),
    }


def specs(role: str) -> dict[str, Any]:
    """Return the entry points of a role, each with its options."""
    text = (REPOSITORY / "ansible" / "roles" / role / "meta" / "argument_specs.yml").read_text()
    specs: dict[str, Any] = yaml.safe_load(text)["argument_specs"]
    return specs


def _table(options: dict[str, dict[str, Any]], *, playbook: bool = False) -> str:
    head = ["variable", *(["playbook"] if playbook else []), "default", "what it is"]
    rows = [head, ["---"] * len(head)]
    for name, option in options.items():
        rows.append(
            [f"`{name}`", *([option["playbook"]] if playbook else []), _default(option), _text(option)]
        )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _default(option: dict[str, Any]) -> str:
    default = option.get("default")
    if option.get("required"):
        return "needed"
    if isinstance(default, str):
        return f"`{default}`" if default else ""
    return f"`{json.dumps(default)}`"


def _text(option: dict[str, Any]) -> str:
    description = option["description"]
    text = " ".join(description) if isinstance(description, list) else description
    text = re.sub(r"C\(([^)]*)\)", r"`\1`", " ".join(text.split())).replace("|", r"\|")
    if option.get("choices") and not all(f"`{choice}`" in text for choice in option["choices"]):
        text += " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "."
    return text


if __name__ == "__main__":
    main()
