"""A backup restores a lost machine's instance on a new one; damaged and other instances' backups are refused."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.machines.conftest import Server
from tests.machines.installation import Installation
from tests.machines.running import Evidence, Running
from tests.machines.testbed import Testbed
from tests.server import Server as Local


def backups(**options: object) -> dict[str, Any]:
    """Return the configuration of these tests with such options for backups."""
    return {"threatcloud_config": {"access": {"networks": ["198.51.100.0/24"]}, "backup": options}}


WITH_KEYS = backups(keys="always")


@pytest.fixture(scope="module")
def before(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Running, Evidence, Path]:
    """Create an instance in use, its evidence and its last backup. Its machine is not used any more."""
    installation = server("lost", "bookworm")
    configured = installation.playbook("install", **WITH_KEYS)
    assert configured.clean, configured.output
    running = Running.begin(installation)
    evidence = running.evidence()
    folder = tmp_path_factory.mktemp("fetched")
    recap = installation.playbook("backup", threatcloud_backup_fetch=str(folder), **WITH_KEYS)
    assert recap.clean, recap.output
    [file] = folder.iterdir()
    assert file.stat().st_size > 10_000
    return running, evidence, file


@pytest.fixture(scope="module")
def restored(
    testbed: Testbed, this_release: Path, before: tuple[Running, Evidence, Path]
) -> Iterator[tuple[Running, Evidence]]:
    """Restore the same instance on a machine on which nothing was installed."""
    running, evidence, file = before
    installation = Installation(testbed, testbed.machine("new", "trixie"), this_release)
    recap = installation.playbook("restore", threatcloud_restore_file=str(file), **WITH_KEYS)
    assert recap.clean, recap.output
    yield running.on(installation), evidence
    installation.machine.destroy()


def test_a_new_machine_carries_on(restored: tuple[Running, Evidence]) -> None:
    running, evidence = restored
    assert running.evidence() == evidence
    doctor = running.installation.playbook("doctor")
    assert doctor.clean, doctor.output
    assert "instance.restored" in {
        entry["action"] for entry in running.installation.cli_json("audit", "list")
    }
    again = running.installation.playbook("install", **WITH_KEYS)
    assert (again.clean, again.changed) == (True, 0), again.output


def flipped(file: Path, folder: Path) -> Path:
    made = folder / file.name
    made.write_bytes(with_a_bit_flipped(file.read_bytes(), 1 / 3))
    return made


def with_a_bit_flipped(content: bytes, where: float) -> bytes:
    place = int(len(content) * where)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def of_another_instance(_file: Path, folder: Path) -> Path:
    with Local(folder / "other", backup_keys="always") as other:
        made: str = json.loads(other.cli("backup", "create", "--json").stdout)["file"]
    return Path(made)


@pytest.mark.parametrize(
    ("damage", "words"), [(flipped, "is not restored"), (of_another_instance, "it is of another instance")]
)
def test_a_damaged_backup_and_one_of_another_instance_are_refused(
    before: tuple[Running, Evidence, Path],
    restored: tuple[Running, Evidence],
    tmp_path: Path,
    damage: Callable[[Path, Path], Path],
    words: str,
) -> None:
    running, evidence = restored
    bad = damage(before[2], tmp_path)
    recap = running.installation.playbook("restore", threatcloud_restore_file=str(bad), **WITH_KEYS)
    output = " ".join(recap.output.split())
    assert recap.failed == 1, output
    assert "Nothing was restored on new:" in output, output
    assert words in output, output
    assert running.installation.ready
    assert running.evidence() == evidence


def test_no_damage_goes_unnoticed(
    before: tuple[Running, Evidence, Path], restored: tuple[Running, Evidence]
) -> None:
    """Cut off or changed anywhere, a backup does not verify on the machine; whole, it does."""
    installation, content = restored[0].installation, before[2].read_bytes()
    damaged = [content[: int(len(content) * part)] for part in (0, 0.5, 0.999)]
    damaged += [with_a_bit_flipped(content, where) for where in (0.001, 0.5, 0.95)]
    for number, bad in enumerate((content, *damaged)):
        installation.machine.put(bad, "/root/candidate")
        verified = installation.machine.run(
            "/opt/threatcloud/current/bin/threatcloud backup verify /root/candidate", check=False
        )
        assert (verified.code == 0) == (number == 0), (number, verified)


def test_an_encrypted_backup_on_the_same_machine(restored: tuple[Running, Evidence], tmp_path: Path) -> None:
    running, _ = restored
    installation = running.installation
    identity = tmp_path / "identity"
    pair = installation.cli_json("backup", "keygen")
    identity.write_text(pair["identity"] + "\n")
    encrypted = backups(recipients=[pair["recipient"]])
    configured = installation.playbook("install", **encrypted)
    assert configured.clean, configured.output
    evidence = running.evidence()
    recap = installation.playbook("backup", threatcloud_backup_fetch=str(tmp_path / "fetched"), **encrypted)
    assert recap.clean, recap.output
    [file] = (tmp_path / "fetched").iterdir()
    assert file.read_bytes().startswith(b"age-encryption.org/v1\n")

    late = installation.issue("agent", "enrolled-after-the-backup")
    variables = encrypted | {"threatcloud_restore_file": str(file)}
    recap = installation.playbook("restore", threatcloud_restore_identity=str(identity), **variables)
    assert recap.clean, recap.output
    assert running.evidence() == evidence
    assert installation.visitor(late).get("/api/atr-rules").status == 401
    assert pair["identity"] not in recap.output
