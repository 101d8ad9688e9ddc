"""`threatcloud proposal` and `threatcloud promotion`: the decisions of a reviewer."""

from pathlib import Path

from tests.flows.fleet import confirmed_by, live_rules, new_hash, new_id, rule, shown
from tests.server import Server


def pending(server: Server) -> tuple[str, str]:
    """A proposal that two of three scanners have confirmed; its pattern hash and rule id."""
    rule_id, pattern_hash = new_id(), new_hash()
    confirmed_by(server, pattern_hash, [rule(rule_id=rule_id)] * 2)
    return pattern_hash, rule_id


def promoted(server: Server) -> tuple[str, str]:
    """A proposal whose rule is served, because `promotion run` found three confirmations."""
    pattern_hash, rule_id = pending(server)
    confirmed_by(server, pattern_hash, [rule(rule_id=rule_id)])
    assert server.cli_json("promotion", "run")["promoted"] == [pattern_hash]
    return pattern_hash, rule_id


def test_a_pending_proposal_says_what_is_missing(server: Server) -> None:
    pattern_hash, _ = pending(server)
    listed = {p["patternHash"]: p for p in server.cli_json("proposal", "list", "--status", "pending")}
    assert listed[pattern_hash]["confirmations"] == 2
    assert "1 more independent confirmation." in server.cli("proposal", "show", pattern_hash).stdout
    explained = server.cli_json("proposal", "explain", pattern_hash)
    assert [vote["counted"] for vote in explained["votes"]] == [True, True]
    assert "2 of 3 independent confirmations" in server.cli("proposal", "explain", pattern_hash).stdout


def test_an_approval_chooses_the_text_and_never_waives_the_threshold(server: Server) -> None:
    pattern_hash, rule_id = pending(server)
    approved = server.cli_json("proposal", "approve", pattern_hash, "--reason", "looks right")
    assert approved["status"] == "pending"
    assert approved["missing"] == ["1 more independent confirmation."]
    confirmed_by(server, pattern_hash, [rule(rule_id=rule_id)])
    assert server.cli_json("promotion", "run")["promoted"] == [pattern_hash]
    assert "promoted: []" in server.cli("promotion", "run").stdout


def test_a_withdrawn_proposal_is_not_served_and_not_approved_until_it_is_reopened(server: Server) -> None:
    pattern_hash, rule_id = promoted(server)
    assert server.cli_json("proposal", "withdraw", pattern_hash, "--reason", "noisy")["status"] == "withdrawn"
    assert rule_id not in live_rules(server)
    refused = server.cli("proposal", "approve", pattern_hash, check=False)
    assert refused.returncode == 1
    assert "The proposal is withdrawn" in refused.stderr
    server.cli("proposal", "reopen", pattern_hash, "--reason", "noise was elsewhere")
    assert server.cli_json("promotion", "run")["promoted"] == [pattern_hash]
    assert rule_id in live_rules(server)


def test_a_text_that_the_gate_refuses_is_refused_with_the_reasons(server: Server, tmp_path: Path) -> None:
    pattern_hash = new_hash()
    confirmed_by(server, pattern_hash, [rule()])
    slow = tmp_path / "slow.yaml"
    slow.write_text(rule(pattern="(a|a|aa)+$"))
    done = server.cli("proposal", "set-text", pattern_hash, str(slow), check=False)
    assert done.returncode == 1
    assert "The gate refuses this text." in done.stderr
    assert "exponential" in done.stderr
    assert len(shown(server, pattern_hash)["variants"]) == 1
