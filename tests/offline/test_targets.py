"""Every target of a release has every wheel that an installation there asks for."""

import tomllib
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from deploy.offline.build import CACHE, REPOSITORY
from deploy.offline.errors import BuildError
from deploy.offline.lock import needed, read_lock
from deploy.offline.targets import EVERY, Target
from deploy.offline.wheels import Wheel, fetch
from tests.needs import lacking

REQUIREMENTS = REPOSITORY / "requirements"


def requires(wheel: Wheel) -> list[Requirement]:
    with ZipFile(wheel.path) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1]
        headers = HeaderParser().parsestr(archive.read(name).decode())
    return [Requirement(text) for text in headers.get_all("Requires-Dist", [])]


def runs_on(wheel: Wheel, target: Target) -> bool:
    major, minor = map(int, target.python.split("."))
    accepted = set(cpython_tags((major, minor), platforms=[*target.platforms()]))
    accepted |= {Tag("py3", "none", "any"), Tag(f"py{major}{minor}", "none", "any")}
    return bool(accepted & parse_wheel_filename(wheel.path.name)[3])


@pytest.mark.parametrize("target", EVERY, ids=lambda target: target.name)
@pytest.mark.parametrize("lock", ["server.txt", "control.txt"])
def test_every_wheel_is_there_runs_there_and_finds_what_it_requires(target: Target, lock: str) -> None:
    try:
        wheels = fetch(needed(read_lock(REQUIREMENTS / lock), target), target, CACHE)
    except BuildError as error:
        if "does not answer" in str(error):
            lacking("a package index, or the wheels of an earlier run in .cache/wheels")
        raise
    versions = {wheel.name: wheel.version for wheel in wheels}
    for wheel in wheels:
        assert runs_on(wheel, target), wheel.path.name
        for requirement in requires(wheel):
            if "extra" not in str(requirement.marker) and target.wants(requirement.marker):
                name = canonicalize_name(requirement.name)
                assert name in versions, f"{wheel.name} requires {requirement}"
                assert requirement.specifier.contains(versions[name], prereleases=True)


def test_a_server_has_what_the_project_asks_for_at_the_versions_that_are_tested() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["rules"]]
    server = {pin.name: pin.version for pin in read_lock(REQUIREMENTS / "server.txt")}
    tested = {pin.name: pin.version for pin in read_lock(REQUIREMENTS / "dev.txt")}
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(server[canonicalize_name(requirement.name)])
    assert server.items() <= tested.items()


def test_markers_are_judged_for_the_target_and_not_for_this_machine(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    digest = "--hash=sha256:" + "0" * 64
    lock.write_text(
        f"a==1 ; sys_platform == 'win32' {digest}\n"
        f"b==1 ; python_full_version < '3.11.3' \\\n    {digest}\n"
        f"c==1 ; platform_machine == 'aarch64' {digest}\n"
        f"d==1 ; python_version >= '3.13' {digest}\n"
        f"d==2 ; python_version < '3.13' {digest}\n"
    )
    chosen = {
        name: [f"{pin.name}{pin.version}" for pin in needed(read_lock(lock), Target.parse(name))]
        for name in ("cp311-x86_64", "cp313-aarch64")
    }
    assert chosen == {"cp311-x86_64": ["b1", "d2"], "cp313-aarch64": ["c1", "d1"]}
