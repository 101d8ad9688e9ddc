"""The real clients, as npm has them, kept under .cache/ of the repository."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

from tests.needs import lacking, need_program
from tests.npm_pack import kept

CLIENTS = {
    "@panguard-ai/panguard": "1.4.7",
    "@panguard-ai/panguard-guard": "1.4.5",
    "@panguard-ai/panguard-trap": "1.3.0",
    "agent-threat-rules": "4.0.0",
}
BEFORE = "2026-11-01"
"""What the clients depend on is installed as it was on this day."""

MIN_NODE = 20
"""What all Panguard packages ask for."""


def client_packages() -> Path:
    """Return the `node_modules` with the clients, installing them (106 MB, about 20 s) the first time.

    No install script runs: none of the clients has a native part that it cannot do without.
    """
    need_node()
    wanted = json.dumps({"private": True, "dependencies": CLIENTS}, indent=2)
    mark = hashlib.sha256(f"{wanted}{BEFORE}".encode()).hexdigest()[:12]
    return kept(f"clients-{mark}", lambda work: _install(wanted, work / "clients")) / "node_modules"


def _install(wanted: str, place: Path) -> Path:
    npm = need_program("npm")
    place.mkdir()
    (place / "package.json").write_text(wanted)
    options = ["--ignore-scripts", "--omit=optional", "--no-package-lock", "--no-audit", "--no-fund"]
    command = [npm, "install", *options, f"--before={BEFORE}", "--silent"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=280, check=False)
    if done.returncode:
        lacking(f"the clients from the npm registry ({(done.stderr or done.stdout).strip()[:200]})")
    for name, version in CLIENTS.items():
        found = json.loads((place / "node_modules" / name / "package.json").read_text())["version"]
        assert found == version, f"{name} is {found} and not {version}"
    return place


def need_node() -> str:
    """Return the path of a Node that the clients run on, or end the test."""
    node = need_program("node")
    version = subprocess.run(
        [node, "--version"], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    found = re.match(r"v(\d+)\.", version)
    if found is None or int(found[1]) < MIN_NODE:
        lacking(f"Node {MIN_NODE} or newer (this is {version.strip()})")
    return node
