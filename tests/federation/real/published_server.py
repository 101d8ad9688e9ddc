"""The published Threat Cloud server, put together from npm and kept under .cache/ of the repository.

Its package cannot be installed as it is: it asks for a version of the rules' package that was never published
under that name, and for a database driver whose binary has to be compiled. So each package is fetched alone, in
exactly the version and with exactly the SHA-512 below, and laid where the server looks for it. Three stand under
another name: the rules' package (its quality gate is what the server uses), SQLite's driver (the same programming
interface, with a prebuilt binary in the package), and the error reporter (its core; the server only starts the
rest with an address to report to). The server's own code is untouched.
"""

import platform
import tarfile
from pathlib import Path

from tests.needs import lacking
from tests.npm_pack import fetch, kept

SERVER = "@panguard-ai/threat-cloud"
VERSION = "1.6.1"

_BINARIES = {
    "x86_64": (
        "@libsql/linux-x64-gnu",
        "@libsql/linux-x64-gnu@0.5.29",
        "y14V0vY0nmMC6G0pHeJcEarcnGU2H6cm21ZceRkacWHvQAEhAG0latQkCtoS2njFOXiYIg+JYPfAoWKbi82rkg==",
    ),
    "aarch64": (
        "@libsql/linux-arm64-gnu",
        "@libsql/linux-arm64-gnu@0.5.29",
        "gURBqaiXIGGwFNEaUj8Ldk7Hps4STtG+31aEidCk5evMMdtsdfL3HPCpvys+ZF/tkOs2MWlRWoSq7SOuCE9k3w==",
    ),
}
_PACKAGES = (
    (
        SERVER,
        f"{SERVER}@{VERSION}",
        "1A2n6e2cbh3PPl7zHKN2GxuRYI7wsTh4Ewydg0Rpqn21KvJCVuSIxXS/Y8xSaJ4IgYsy2HsxwxWL94+YU4wGDw==",
    ),
    (
        "@panguard-ai/atr",
        "agent-threat-rules@4.0.0",
        "LMc1Sy+PZUM37CG7BX6FbluQOkLPeP1AaLbDxKsftMVdOC7WxBqL0gaUg7IY/bELuANsWGM96grNjilA0KhO8A==",
    ),
    (
        "@panguard-ai/core",
        "@panguard-ai/core@1.3.2",
        "3/qGEU/7nGwtr+WoFrCRhGCJcevs4KazMSJFAaZmy+jC84K2xjBYRc7f9zptnbFcdeJperDk9FEPbnGOEyeOUA==",
    ),
    (
        "better-sqlite3",
        "libsql@0.5.29",
        "8lMP8iMgiBzzoNbAPQ59qdVcj6UaE/Vnm+fiwX4doX4Narook0a4GPKWBEv+CR8a1OwbfkgL18uBfBjWdF0Fzg==",
    ),
    (
        "@neon-rs/load",
        "@neon-rs/load@0.0.4",
        "kTPhdZyTQxB+2wpiRcFWrDcejc4JI6tkPuS7UZCG4l6Zvc5kU/gGQ/ozvHTh1XR5tS+UlfAfGuPajjzQjCiHCw==",
    ),
    (
        "detect-libc",
        "detect-libc@2.0.2",
        "UX6sGumvvqSaXgdKGUsgZWqcUyIXZ/vZTrlRT/iobiKhGL0zL4d3osHj3uqllWJK+i+sixDS/3COVEOFbupFyw==",
    ),
    (
        "@sentry/node",
        "@sentry/core@8.55.0",
        "6g7jpbefjHYs821Z+EBJ8r4Z7LT5h80YSWRJaylGS4nW5W5Z2KXzpdnyFarv37O7QjauzVC2E+PABmpkw5/JGA==",
    ),
    (
        "i18next",
        "i18next@24.2.3",
        "lfbf80OzkocvX7nmZtu7nSTNbrTYR52sLWxPtlXX1zAhVw8WEnFk4puUkCR4B1dNQwbSpEHHHemcZu//7EcB7A==",
    ),
    (
        "@babel/runtime",
        "@babel/runtime@7.29.14",
        "Y5tqevQaUAZhhj82BpYMNC1ssvLQTVAfwKdm8iy8qwmhvC2/CpcAu8OC+QEtjM7pMk7knx83u1Qj8gzkicyelw==",
    ),
    (
        "js-yaml",
        "js-yaml@4.3.2",
        "SFNOvSJ+Dgf/9An904Yx+CgSlIPCkIpao4qo51lpee25TIRejdH3rhR4EZMGoNx3/TP3O+wzWuiTFl4sqbltzA==",
    ),
    (
        "argparse",
        "argparse@2.0.1",
        "8+9WqebbFzpX9OR+Wa6O29asIogeRMzcGtAINdpMHHyAg10f05aSFVBbcEqGf/PXw1EjAZ+q2/bEBg3DvurK3Q==",
    ),
    (
        "zod",
        "zod@3.25.76",
        "gzUt/qt81nXsFGKIFcC3YnfEAx5NkunCfnDlvuBSSFS02bcXu4Lmea0AFIUwbLWxWPx3d9p8S5QoaujKcNQxcQ==",
    ),
)
"""Where each package lies below node_modules, what npm calls it, and its SHA-512 (base64)."""


def published_server() -> Path:
    """Return the folder whose `node_modules` has the server, fetching 13 packages (12 MB) the first time."""
    return kept(f"{SERVER.replace('/', '+')}@{VERSION}", _install)


def _install(work: Path) -> Path:
    machine = platform.machine()
    if machine not in _BINARIES:
        lacking(f"a prebuilt SQLite driver for {machine}")
    for number, (name, spec, sha512) in enumerate((*_PACKAGES, _BINARIES[machine])):
        _unpack(fetch(spec, sha512, work / str(number)), work / "server" / "node_modules" / name)
    return work / "server"


def _unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as members:
        for member in members:
            _, _, name = member.name.partition("/")  # the first folder has another name in each package
            content = members.extractfile(member) if member.isfile() else None
            if content:
                place = target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read())
