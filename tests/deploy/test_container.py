"""The container's recipe: what it copies is there and may be seen, and it does not run as root."""

import fnmatch
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server import REPOSITORY

RECIPE = REPOSITORY / "deploy" / "Containerfile"


def steps() -> list[tuple[str, str]]:
    """Instruction and its words, one for each step; continued lines are joined."""
    text = "\n".join(line for line in RECIPE.read_text().splitlines() if not line.startswith("#"))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_what_is_copied_is_there_and_may_be_seen() -> None:
    seen = [
        line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    sources = [
        source
        for instruction, words in steps()
        if instruction == "COPY" and not words.startswith("--from")
        for source in words.split()[:-1]
    ]
    assert {"app", "deploy", "pyproject.toml"} <= set(sources)
    for source in sources:
        assert (REPOSITORY / source).exists(), source
        assert any(fnmatch.fnmatch(source.split("/")[0], pattern) for pattern in seen), (
            f"{source} is not in sight"
        )


def test_the_last_stage_is_nobodys() -> None:
    found = steps()
    last = found[max(i for i, (instruction, _) in enumerate(found) if instruction == "FROM") :]
    instructions = dict(last)
    assert instructions["USER"] == "10001:10001"
    assert "/ready" in instructions["HEALTHCHECK"]
    assert all("pip" not in words for instruction, words in last if instruction == "RUN")


def test_everything_installed_is_locked() -> None:
    for instruction, words in steps():
        for command in words.split("&&") if instruction == "RUN" else ():
            if " install " in command and "pip" in command.split(" install ")[0]:
                assert "--require-hashes" in command or (
                    "--no-index" in command and "--no-deps" in command
                ), command


def test_it_can_be_built(tmp_path: Path) -> None:
    """Only where there is a builder that has the base image already: nothing is fetched for a test."""
    podman = shutil.which("podman")
    if podman is None:
        pytest.skip("podman is not here; the container is the second way, and not required")
    if subprocess.run([podman, "image", "exists", "python:3.13-slim"], check=False).returncode != 0:
        pytest.skip("podman has no python:3.13-slim")
    command = [podman, "build", "--format", "docker", "--pull=never", "--file", str(RECIPE), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
