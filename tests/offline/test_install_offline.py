"""An installation from the archive needs nothing from outside; one from a package index gives the same."""

import contextlib
import functools
import http.server
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import __version__
from deploy.offline.targets import Target
from tests.needs import lacking, need_program
from tests.server import free_port

CLEAN = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
OPTIONS = (
    "--quiet",
    "--disable-pip-version-check",
    "--no-compile",
    "--only-binary",
    ":all:",
    "--require-hashes",
)
HOW_IT_CAME = ("/direct_url.json", "/INSTALLER", "/REQUESTED")


@pytest.fixture(scope="session")
def cut_off() -> list[str]:
    """A command prefix: what follows runs in a network namespace without any interface that is up."""
    need_program("unshare")
    prefix = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        lacking("the right to make a network namespace")
    return prefix


@pytest.fixture(scope="session")
def wheelhouse(archive: Path, here: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheelhouse")
    with tarfile.open(archive / "wheelhouse" / f"{here.name}.tar") as tar:
        tar.extractall(folder, filter="data")
    return folder


def make_venv(venv: Path, wheels: Path, *options: str, prefix: list[str] | None = None) -> None:
    """As the role does it: no ensurepip, pip out of its own wheel."""
    [pip] = wheels.glob("pip-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, env=CLEAN)
    command = [*(prefix or []), sys.executable, f"{pip}/pip", "--python", f"{venv}/bin/python", "install"]
    command += [*OPTIONS, *options, "--requirement", f"{wheels}/requirements.txt"]
    done = subprocess.run(command, env=CLEAN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def venv(wheelhouse: Path, cut_off: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    venv = tmp_path_factory.mktemp("offline") / "venv"
    make_venv(venv, wheelhouse, "--no-index", "--find-links", str(wheelhouse), prefix=cut_off)
    return venv


def contents(venv: Path) -> dict[str, list[str]]:
    """Each installed distribution with the digests of its files; of scripts, which name their venv, only names."""
    return {
        record.parent.name: sorted(
            line.split(",")[0] if "/bin/" in line else line
            for line in record.read_text().splitlines()
            if not line.split(",")[0].endswith(HOW_IT_CAME)
        )
        for record in venv.glob("lib/python*/site-packages/*.dist-info/RECORD")
    }


def test_it_installs_and_serves_without_a_network(venv: Path, cut_off: list[str], tmp_path: Path) -> None:
    need_program("ip")
    command = str(venv / "bin" / "threatcloud")
    said = subprocess.run(
        [*cut_off, command, "--version"], capture_output=True, text=True, check=True, env=CLEAN
    )
    assert __version__ in said.stdout
    serve = 'ip link set lo up && exec "$0" serve'
    environment = {**CLEAN, "THREATCLOUD_STATE_DIR": str(tmp_path), "THREATCLOUD_PORT": str(free_port())}
    log = tmp_path / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen([*cut_off, "sh", "-c", serve, command], env=environment, stderr=errors) as server,
    ):
        try:
            health, ready = answers(tmp_path / "control.sock", log)
        finally:
            server.terminate()
    assert health["version"] == __version__
    assert ready["serial"] >= 1
    assert server.returncode == 0


def answers(control: Path, log: Path) -> list[dict[str, Any]]:
    """Ask over the control socket, which no network namespace holds back, until the server is ready."""
    deadline = time.monotonic() + 60
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(control)), base_url="http://control") as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if client.get("/ready").status_code == 200:
                    return [client.get(path).json()["data"] for path in ("/health", "/ready")]
            time.sleep(0.05)
    raise AssertionError(log.read_text()[-4000:])


def test_a_changed_wheel_is_not_installed(wheelhouse: Path, tmp_path: Path) -> None:
    wheels = shutil.copytree(wheelhouse, tmp_path / "wheels")
    [wheel] = wheels.glob("h11-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b" ")
    with pytest.raises(AssertionError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        make_venv(tmp_path / "venv", wheels, "--no-index", "--find-links", str(wheels))


@pytest.fixture
def index(wheelhouse: Path, tmp_path: Path) -> Iterator[str]:
    """A static simple index (PEP 503) of the dependencies, without our wheel: a company's mirror has not got it."""
    for wheel in wheelhouse.glob("*.whl"):
        project = tmp_path / "simple" / wheel.name.split("-")[0].lower().replace("_", "-").replace(".", "-")
        if project.name != "threatcloud":
            project.mkdir(parents=True)
            shutil.copy(wheel, project)
            (project / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def test_a_package_index_gives_the_same(archive: Path, venv: Path, index: str, tmp_path: Path) -> None:
    online = archive / "online"
    make_venv(tmp_path / "venv", online, "--index-url", index, "--find-links", str(online))
    assert contents(tmp_path / "venv") == contents(venv)
    assert f"threatcloud-{__version__}.dist-info" in contents(venv)


def test_ansible_installs_without_a_network(archive: Path, cut_off: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*cut_off, archive / "control" / "install", tmp_path / "venv"],
        env={**CLEAN, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ansible-playbook [core ")


def test_a_python_that_there_are_no_wheels_for_is_said(archive: Path, here: Target, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho cp39-riscv64\n")
    other.chmod(0o755)
    done = subprocess.run(
        [archive / "control" / "install", tmp_path / "venv"],
        env={**CLEAN, "PYTHON": str(other)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"control/install: there are no wheels for cp39-riscv64, only for: {here.name}; set PYTHON\n"
    )
