"""Upgrading under a polling agent, going back by itself from a release that fails, and rolling back by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import __version__
from app.storage.schema import MIGRATIONS
from tests.machines.conftest import Server
from tests.machines.installation import Installation
from tests.machines.poller import Poller
from tests.machines.releases import later, migration, release, replaced
from tests.machines.running import Running
from tests.machines.testbed import Recap

NEXT, NEWER, BROKEN, BREAKING = later(1), later(2), later(3), later(4)
"""The same release again; one with another schema; one that cannot start; one that needs consent."""

FURTHER = len(MIGRATIONS) + 1
NEXT_FIREWALL = "table inet threatcloud {\n    set later { type ipv4_addr; }"
REASON = "this release was broken on purpose"
TABLE = f"""BREAKING: tuple[Breaking, ...] = (
    Breaking("{BREAKING}", "Bundles have another form.", "Export them anew."),
)"""


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build later releases, unpacked, by their versions."""
    folder = tmp_path_factory.mktemp("releases")
    refuses = replaced("app/releases.py", r"(?m)^BREAKING: tuple\[Breaking, \.\.\.\] = \(\)$", TABLE)
    # It has migrated the database already when it fails.
    broken = replaced(
        "app/web/lifespan.py", r"(?m)^(?=        yield$)", f"        raise RuntimeError({REASON!r})\n"
    )
    firewall = replaced("deploy/nftables/threatcloud.nft", r"(?m)^table inet threatcloud \{$", NEXT_FIREWALL)
    return {
        NEXT: release(folder, NEXT, firewall),
        NEWER: release(folder, NEWER, migration(FURTHER)),
        BROKEN: release(folder, BROKEN, migration(FURTHER), broken),
        BREAKING: release(folder, BREAKING, migration(FURTHER), refuses),
    }


@pytest.fixture(params=["bookworm"])
def running(server: Server, request: pytest.FixtureRequest) -> Iterator[Running]:
    installation = server("upgrade", request.param)
    yield Running.begin(installation)
    installation.machine.destroy()


def one_line(recap: Recap) -> str:
    """Return the output without line breaks."""
    return " ".join(recap.output.split())


def upgraded(running: Running, folder: Path, version: str) -> Installation:
    """Upgrade under a polling agent; assert that it needs at most one retry per answer and that nothing is lost."""
    before = running.evidence()
    installation = running.installation.at(folder)
    with Poller(installation, running.token) as poller:
        recap = installation.playbook("upgrade")
    assert recap.clean, recap.output
    assert installation.version == version
    assert running.evidence() == before
    assert len(poller.pulls) > 10
    assert poller.failed == []
    return installation


def test_up_and_back_and_up_again(running: Running, releases: dict[str, Path]) -> None:
    """Upgrade, roll back without losing what was written since, and upgrade to a release with another schema."""
    nothing = running.installation.playbook("rollback")
    assert nothing.failed == 1
    assert f"upgrade has no release before {__version__} to go back to." in one_line(nothing)

    installation = upgraded(running, releases[NEXT], NEXT)
    assert "set later" in installation.machine.run("nft list table inet threatcloud").out
    late = installation.issue("agent", "enrolled-after-the-upgrade")
    before = running.evidence()
    with Poller(installation, running.token) as poller:
        back = installation.playbook("rollback")
    assert back.clean, back.output
    assert "set later" not in installation.machine.run("nft list table inet threatcloud").out
    assert installation.version == __version__
    assert poller.failed == []
    assert running.evidence() == before, "what came after the upgrade is lost"
    assert installation.visitor(late).get("/api/atr-rules").status == 200

    installation = upgraded(running, releases[NEWER], NEWER)
    assert installation.machine.run("ls /opt/threatcloud/releases").text.split() == [__version__, NEWER]
    labels = {item["label"] for item in installation.cli_json("backup", "list")}
    assert labels == {f"before-{NEXT}", f"before-{NEWER}"}
    again = installation.playbook("install")
    assert (again.clean, again.changed) == (True, 0), again.output


@pytest.mark.parametrize("running", ["trixie"], indirect=True)
def test_a_release_that_cannot_start_is_taken_back(running: Running, releases: dict[str, Path]) -> None:
    before = running.evidence()
    installation = running.installation.at(releases[BROKEN])
    recap = installation.playbook("upgrade", threatcloud_health_seconds=20)
    assert recap.failed == 1, recap.output
    output = one_line(recap)
    assert f"The upgrade of upgrade to {BROKEN} was taken back, and {__version__} serves again" in output, (
        output
    )
    assert REASON in output
    assert installation.version == __version__
    assert installation.ready
    assert running.evidence() == before
    aside = installation.machine.run("ls -d /var/lib/threatcloud/replaced-*/threatcloud.db").text.splitlines()
    assert len(aside) == 1, "the database that the broken release had changed is kept"
    again = running.installation.playbook("install")
    assert (again.clean, again.changed) == (True, 0), again.output


@pytest.mark.parametrize("running", ["trixie"], indirect=True)
def test_a_breaking_release_wants_consent_and_so_does_the_way_back(
    running: Running, releases: dict[str, Path]
) -> None:
    before = running.evidence()
    installation = running.installation.at(releases[BREAKING])
    refused = installation.playbook("upgrade")
    assert refused.failed == 1, refused.output
    assert f"{BREAKING} breaks something: Bundles have another form. Export them anew." in one_line(refused)
    assert installation.version == __version__
    assert running.evidence() == before

    accepted = installation.playbook("upgrade", threatcloud_accept_breaking=[BREAKING])
    assert accepted.clean, accepted.output
    assert installation.version == BREAKING
    assert running.evidence() == before

    late = installation.issue("agent", "enrolled-after-the-upgrade")
    refused = installation.playbook("rollback")
    assert refused.failed == 1, refused.output
    assert "add -e threatcloud_rollback_accept_loss=true" in one_line(refused)
    assert installation.version == BREAKING

    accepted = installation.playbook("rollback", threatcloud_rollback_accept_loss=True)
    assert accepted.clean, accepted.output
    assert installation.version == __version__
    assert running.evidence() == before
    assert installation.visitor(late).get("/api/atr-rules").status == 401
