"""`threatcloud rule check --for guard` over the rules in service, and over files."""

from pathlib import Path

from tests.flows.fleet import guard_rules, new_id, rule
from tests.server import Server

GENTLE, HARSH = r"send (me )?the registry signing key", r"(a+)+b"


def test_it_counts_what_is_in_service(official: Server) -> None:
    found = official.cli_json("rule", "check", "--for", "guard")
    served = guard_rules(official)
    by_versions = {guard["versions"]: guard for guard in found["guards"]}
    assert by_versions["1.4.6 and older"]["loads"] == len(served)
    newest = by_versions["1.8.2 to 1.9.0"]
    assert newest["dropped"] == {}
    assert newest["loads"] == 500
    assert len(newest["overCap"]) == len(served) - 500
    assert found["refused"].keys() & served.keys() == set()
    with official.client(official.issue("partner")) as partner:
        everything = partner.get("/api/atr-rules", params={"format": "yaml"}).json()["meta"]["total"]
    assert len(found["refused"]) == everything - len(served)


def test_an_own_rule_comes_before_the_cap_and_a_refused_one_says_why(server: Server, tmp_path: Path) -> None:
    good, bad = new_id(), new_id()
    for rule_id, pattern in ((good, GENTLE), (bad, HARSH)):
        (tmp_path / f"{rule_id}.yaml").write_text(rule(rule_id=rule_id, pattern=pattern))
    server.cli("rule", "import", str(tmp_path))
    found = server.cli_json("rule", "check", "--for", "guard")
    assert "repeats a group" in found["refused"][bad]
    assert good in guard_rules(server)
    shown = server.cli("rule", "check", "--for", "guard").stdout
    assert f"{bad}: served to no Guard: condition 0" in shown
    assert good not in shown, "only objections are listed"


def test_files_are_checked_without_an_instance(server: Server, tmp_path: Path) -> None:
    rule_id = new_id()
    bounded = tmp_path / "bounded.yaml"
    bounded.write_text(rule(rule_id=rule_id, pattern=r"(?:\w+\s+){2}key"))
    done = server.cli("rule", "check", "--for", "guard", str(bounded))
    assert "bounded.yaml: dropped, condition 0" in done.stdout
    assert "(Guard 1.7.0 to 1.8.0)" in done.stdout

    harsh = tmp_path / "harsh.yaml"
    harsh.write_text(rule(pattern=HARSH))
    done = server.cli("rule", "check", "--for", "guard", str(bounded), str(harsh), check=False)
    assert done.returncode == 1
    assert "harsh.yaml: served to no Guard" in done.stdout
    assert server.cli("rule", "check", check=False).returncode == 2
