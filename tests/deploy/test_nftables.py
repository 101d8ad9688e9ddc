"""The packet filter: the kernel takes it, twice, and lets in what it says."""

import subprocess
from pathlib import Path

import pytest

from tests.needs import lacking, need_program, need_root
from tests.server import REPOSITORY

SHIPPED = REPOSITORY / "deploy" / "nftables"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The file, with the networks of the example."""
    text = (SHIPPED / "threatcloud.nft").read_text()
    place = "/etc/threatcloud/nftables/"
    assert place in text
    path = tmp_path / "threatcloud.nft"
    path.write_text(text.replace(place, f"{SHIPPED}/examples/"))
    return path


def inside(script: str, *words: str) -> str:
    """What a shell script prints in a network of its own; this machine's rules are never touched."""
    need_root()
    need_program("nft")
    unshare = need_program("unshare")
    if subprocess.run([unshare, "--net", "true"], capture_output=True, check=False).returncode != 0:
        lacking("network namespaces")
    done = subprocess.run(
        [unshare, "--net", "sh", "-euc", script, "sh", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_it_is_understood_as_it_is_checked_in_the_guide(rules: Path) -> None:
    assert inside('nft --check --file "$1"; nft list ruleset', str(rules)) == ""


def test_it_takes_its_own_place_and_leaves_others_alone(rules: Path) -> None:
    script = 'nft add table inet other; nft --file "$1"; nft list ruleset > "$2"; nft --file "$1"; nft list ruleset'
    first = rules.with_name("first")
    second = inside(script, str(rules), str(first))
    assert second == first.read_text()
    assert "table inet other" in second
    assert "policy drop" in second
    assert second.count("10.0.1.0/24") == 1


def test_networks_are_taken_as_they_are(rules: Path) -> None:
    listed = inside('nft --file "$1"; nft list set inet threatcloud clients4', str(rules))
    assert "10.0.0.0/8" in listed
    assert "192.168.0.0/16" in listed
