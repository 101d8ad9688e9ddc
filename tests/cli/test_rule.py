"""`threatcloud rule`: import, list, show, withdraw, and checks without an instance."""

import json
from pathlib import Path

from tests.flows.fleet import live_rules, new_id, rule
from tests.server import Server


def test_a_folder_of_rules_is_imported_and_served(server: Server, tmp_path: Path) -> None:
    one, other = new_id(), new_id()
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.yaml").write_text(rule(rule_id=one))
    (tmp_path / "deep" / "other.yml").write_text(rule(rule_id=other))
    (tmp_path / "notes.txt").write_text("not a rule")
    imported = server.cli_json("rule", "import", str(tmp_path))
    assert {r["name"]: (r["ruleId"], r["change"]) for r in imported} == {
        "one.yaml": (one, "added"),
        "deep/other.yml": (other, "added"),
    }
    assert {one, other} <= live_rules(server).keys()
    assert live_rules(server)[one]["ruleContent"] == (tmp_path / "one.yaml").read_text()

    (tmp_path / "one.yaml").write_text(rule(rule_id=one, title="A better title"))
    again = {r["ruleId"]: r["change"] for r in server.cli_json("rule", "import", str(tmp_path))}
    assert again == {one: "changed", other: "unchanged"}

    assert {r["ruleId"] for r in server.cli_json("rule", "list", "--origin", "local")} >= {one, other}
    (held,) = server.cli_json("rule", "show", one)
    assert (held["title"], held["state"], held["origin"]) == ("A better title", "active", "local")
    assert "A better title" in server.cli("rule", "show", one).stdout

    server.cli("rule", "withdraw", one, "--reason", "no longer needed")
    assert one not in live_rules(server)
    assert server.cli("rule", "withdraw", one, "--reason", "again", check=False).returncode == 1
    (file,) = server.cli_json("rule", "import", str(tmp_path / "deep" / "other.yml"))
    assert (file["name"], file["change"]) == ("other.yml", "unchanged")


def test_an_import_with_mistakes_imports_nothing_and_names_each(server: Server, tmp_path: Path) -> None:
    good = new_id()
    broken = {
        "bad-yaml.yaml": "title: [",
        "no-detection.yaml": f"title: t\nid: {new_id()}\nseverity: high\ntags: {{category: x}}\n",
        "severity.yaml": rule(severity="worst"),
        "twin.yaml": rule(rule_id=good),
    }
    (tmp_path / "good.yaml").write_text(rule(rule_id=good))
    for name, text in broken.items():
        (tmp_path / name).write_text(text)
    done = server.cli("rule", "import", str(tmp_path), check=False)
    assert done.returncode == 1
    assert "Nothing was imported" in done.stderr
    for name in broken:
        assert f"  {name}: " in done.stderr, name
    assert "  severity.yaml: severity: " in done.stderr
    assert "good.yaml has the same id" in done.stderr
    assert good not in live_rules(server)
    assert server.cli("rule", "show", good, check=False).returncode == 1


def test_what_is_no_rule_file_is_refused_before_anything_is_sent(server: Server, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"title: \xff")
    (tmp_path / "huge.yaml").write_bytes(b"#" * (1 << 20) + b"#")
    for name, said in (
        ("empty", "there is no .yaml, .yml or .json file below it"),
        ("latin.yaml", "not UTF-8 (byte 7)"),
        ("huge.yaml", "larger than 1048576 bytes"),
        ("missing", "does not exist"),
    ):
        done = server.cli("rule", "import", str(tmp_path / name), check=False)
        assert done.returncode in {1, 2}
        assert said in done.stderr


def test_an_import_cannot_take_the_id_of_an_official_rule(official: Server, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(rule(rule_id="ATR-2026-00003"))
    done = official.cli("rule", "import", str(tmp_path), check=False)
    assert done.returncode == 1
    assert "upstream:atr already has ATR-2026-00003; give this rule another id" in done.stderr


def test_rules_are_checked_without_an_instance(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(rule())
    (tmp_path / "slow.yaml").write_text(rule(pattern="(a|a|aa)+$"))
    (tmp_path / "wrong.yaml").write_text(rule(pattern="something else"))
    server = Server(tmp_path / "nowhere")
    done = server.cli("rule", "check", str(tmp_path), "--json", check=False)
    assert done.returncode == 1
    results = {result["name"]: result for result in json.loads(done.stdout)}
    assert results["good.yaml"]["passed"]
    assert "exponential" in results["slow.yaml"]["reasons"][0]
    assert "does not fire on its true positive" in results["wrong.yaml"]["reasons"][0]
    assert server.cli("rule", "check", str(tmp_path / "good.yaml")).stdout.strip() == "1 of 1 pass"
    assert not server.state_dir.exists()
