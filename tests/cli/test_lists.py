"""`threatcloud skill-blacklist`, `skill-whitelist` and `indicator`: entries of an admin; and how lists are cut."""

import pytest

from tests.server import Server


def test_a_skill_is_blacklisted_and_removed(server: Server) -> None:
    assert server.cli_json("skill-blacklist", "add", "Bad Skill", "--reason", "seen")["added"] == 1
    assert "Bad Skill" in server.cli("skill-blacklist", "list").stdout
    assert "removed" in server.cli("skill-blacklist", "remove", "bad skill").stdout
    assert server.cli_json("skill-blacklist", "list") == []


def test_a_skill_is_whitelisted_and_removed(server: Server) -> None:
    server.cli("skill-whitelist", "add", "good", "--hash", "f")
    (good,) = server.cli_json("skill-whitelist", "list")
    assert (good["skillName"], good["status"], good["fingerprintHash"]) == ("good", "confirmed", "f")
    assert "removed" in server.cli("skill-whitelist", "remove", "good").stdout


def test_an_indicator_is_added_and_removed(server: Server) -> None:
    assert server.cli_json("indicator", "add", "evil.example.net")["kind"] == "domain"
    assert [entry["value"] for entry in server.cli_json("indicator", "list")] == ["evil.example.net"]
    refusal = server.cli("indicator", "add", "10.0.0.1", check=False)
    assert refusal.returncode == 1
    assert "value:" in refusal.stderr
    assert "removed" in server.cli("indicator", "remove", "evil.example.net").stdout


def test_a_list_ends_at_its_limit_and_says_so(server: Server) -> None:
    for number in range(51):
        server.issue("partner", f"partner-{number}")
    cut = server.cli("key", "list", "--role", "partner")
    assert len(cut.stdout.splitlines()) == 1 + 50
    assert cut.stderr == "These are the first 50; --limit all lists every one.\n"
    every = server.cli("key", "list", "--role", "partner", "--limit", "all")
    assert len(every.stdout.splitlines()) == 1 + 51
    assert every.stderr == ""
    assert len(server.cli_json("key", "list", "--role", "partner", "--limit", "51")) == 51


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5", "9" * 30])
def test_a_limit_is_a_number_or_all(server: Server, limit: str) -> None:
    done = server.cli("key", "list", f"--limit={limit}", check=False)
    assert done.returncode == 2
    assert "a number from 1 on, or all" in done.stderr
