"""`threatcloud upstream` against a real instance and a real folder of rules: pull, look, decide, exit codes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.changes import DIGEST_CHARACTERS
from tests.example_rules import rule_text
from tests.flows.fleet import eventually, instance, live_rules
from tests.server import Server

COUNT = 20
RULES = [f"ATR-2026-{95_000 + number}" for number in range(COUNT)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of rules, as an upstream would have it."""
    folder = tmp_path / "rules"
    folder.mkdir()
    for rule_id in RULES:
        (folder / f"{rule_id}.yaml").write_text(rule_text(rule_id))
    return folder


def config(folder: Path, **options: object) -> str:
    """A directory upstream that is pulled when a test says so."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    return "\n".join(
        [
            "[[upstream]]",
            'name = "atr"',
            'kind = "directory"',
            f'path = "{folder}"',
            "interval = 86400",
            *lines,
        ]
    )


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[Server]:
    """An instance that has pulled the folder once, at its start."""
    with instance(tmp_path / "instance", config=config(folder)) as running:
        eventually(lambda: bool(running.cli_json("upstream", "show")[0]["lastSuccess"]), "the first pull")
        yield running


def change(folder: Path, rule_id: str, **different: str) -> None:
    (folder / f"{rule_id}.yaml").write_text(rule_text(rule_id, **different))


def fails(server: Server, *verb: str) -> subprocess.CompletedProcess[str]:
    done = server.cli(*verb, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done


def held(server: Server, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = server.cli_json("upstream", "list-pending", "atr", *options)
    return found


def one_held(server: Server, rule_id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.cli_json("upstream", "show-pending", "atr", rule_id)
    return found


def changes(found: dict[str, Any]) -> dict[str, str]:
    return {item["ruleId"]: item["change"] for item in found["changes"]}


def test_an_upstream_is_listed_and_says_how_it_is(server: Server) -> None:
    (listed,) = server.cli_json("upstream", "list")
    assert (listed["name"], listed["kind"], listed["policy"], listed["state"]) == (
        "atr",
        "directory",
        "mirror",
        "ok",
    )
    assert (listed["rules"], listed["held"], listed["setAside"]) == (COUNT, 0, 0)
    line = server.cli("upstream", "list").stdout.splitlines()[1].split()
    assert line[:6] == ["atr", "directory", "mirror", "ok", str(COUNT), "0"]
    one, (of_all,) = server.cli_json("upstream", "show", "atr"), server.cli_json("upstream", "show")
    assert one | {"staleSeconds": 0} == of_all | {"staleSeconds": 0}
    assert server.cli("upstream", "show").stdout.startswith("atr: ok\n")
    assert live_rules(server).keys() == set(RULES)


def test_a_pull_says_what_it_brought(server: Server, folder: Path) -> None:
    assert ": 20 rules, nothing new, " in server.cli("upstream", "pull").stdout
    change(folder, RULES[0], severity="low")
    change(folder, "ATR-2026-95900")
    (folder / f"{RULES[1]}.yaml").unlink()
    done = server.cli("upstream", "pull", "atr")
    assert done.stdout.startswith("atr: 20 rules, 1 added, 1 changed, 1 withdrawn, ")
    assert done.stdout.endswith(" s\n")
    assert "atr: " in done.stderr and "\x1b" not in done.stderr  # a line for each stage: this is no terminal
    assert live_rules(server).keys() == {*RULES, "ATR-2026-95900"} - {RULES[1]}
    (folder / "broken.yaml").write_text("title: [")
    (pulled,) = server.cli_json("upstream", "pull")
    assert (pulled["result"]["outcome"], pulled["status"]["setAside"]) == ("unchanged", 1)


def test_a_failed_pull_keeps_the_last_good_set_and_says_what_to_do(server: Server, folder: Path) -> None:
    moved = folder.rename(folder.with_name("elsewhere"))
    done = fails(server, "upstream", "pull")
    assert "atr: failed (not-found): " in done.stdout
    assert "Check `path`" in done.stdout
    assert f"Still served: the {COUNT} rules" in done.stdout
    failing = fails(server, "upstream", "show", "atr")
    assert failing.stdout.startswith("atr: failing\n")
    assert "failed (not-found): " in failing.stdout
    assert server.cli("upstream", "list").returncode == 0
    assert live_rules(server).keys() == set(RULES)
    moved.rename(folder)
    server.cli("upstream", "pull", "atr")
    assert server.cli("upstream", "show").stdout.startswith("atr: ok\n")


def test_what_looks_like_an_accident_is_held_shown_and_approved_in_part(server: Server, folder: Path) -> None:
    for rule_id in RULES[:5]:
        (folder / f"{rule_id}.yaml").unlink()
    change(folder, RULES[5], severity="low", title="Another title")
    change(folder, "ATR-2026-95901")
    done = server.cli("upstream", "pull")
    assert "7 held" in done.stdout
    assert "threatcloud upstream list-pending atr" in done.stdout
    assert live_rules(server).keys() == set(RULES)

    found = held(server)
    assert changes(found) == {
        **dict.fromkeys(RULES[:5], "withdrawn"),
        RULES[5]: "changed",
        "ATR-2026-95901": "added",
    }
    text = server.cli("upstream", "list-pending", "atr").stdout
    assert text.startswith(
        "atr: 7 held (1 added, 1 changed, 5 withdrawn)\n  a larger share of the rules than"
    )
    assert f"\n- {RULES[0]}  " in text and f"\n~ {RULES[5]}  " in text and "\n+ ATR-2026-95901  " in text
    seen = found["digest"][:DIGEST_CHARACTERS]
    assert f"threatcloud upstream approve atr --digest {seen}\n" in text

    one = server.cli("upstream", "show-pending", "atr", RULES[5]).stdout
    assert "\nseverity: high -> low\n" in one
    assert "\ntitle: " in one and "-> Another title" in one
    assert f"approve:  threatcloud upstream approve atr {RULES[5]}\n" in one
    assert "detection:" in server.cli("upstream", "show-pending", "atr", "ATR-2026-95901").stdout
    assert {f["path"] for f in one_held(server, RULES[5])["fields"]} == {"severity", "title"}

    approved = server.cli_json("upstream", "approve", "atr", RULES[0], RULES[5], "--reason", "checked")
    assert sorted(approved["approved"]) == [RULES[0], RULES[5]]
    assert approved["published"] == server.cli_json("publication", "show")["serial"]
    served = live_rules(server)
    assert served.keys() == set(RULES) - {RULES[0]}
    assert "severity: low" in served[RULES[5]]["ruleContent"]
    assert len(held(server)["changes"]) == 5

    moved = fails(server, "upstream", "approve", "atr", "--digest", seen)
    assert "other changes are held now" in moved.stderr
    rest = server.cli("upstream", "approve", "atr", "--digest", held(server)["digest"][:DIGEST_CHARACTERS])
    assert rest.stdout.startswith("atr: 5 approved\n")
    assert live_rules(server).keys() == {*RULES[5:], "ATR-2026-95901"}
    assert server.cli("upstream", "list-pending", "atr").stdout == "atr: nothing is held\n"
    actions = [entry["action"] for entry in server.cli_json("audit", "list")]
    assert sum("approve" in action for action in actions) == 2


def test_what_was_rejected_stays_out_until_it_changes(tmp_path: Path, folder: Path) -> None:
    with instance(tmp_path / "careful", config=config(folder, policy="review")) as server:
        eventually(lambda: bool(server.cli_json("upstream", "show")[0]["lastSuccess"]), "the first pull")
        assert len(held(server)["changes"]) == COUNT
        server.cli("upstream", "approve", "atr", *RULES[1:])
        assert server.cli("upstream", "reject", "atr", check=False).returncode == 2  # a reason is needed
        refused = server.cli_json("upstream", "reject", "atr", "--reason", "too noisy for us")
        assert refused == {"refused": [RULES[0]], "published": None}
        assert "nothing new" in server.cli("upstream", "pull").stdout
        assert held(server)["changes"] == []
        (turned_down,) = held(server, "--rejected")["changes"]
        assert (turned_down["ruleId"], turned_down["note"]) == (RULES[0], "too noisy for us")
        text = server.cli("upstream", "show-pending", "atr", RULES[0]).stdout
        assert f"+ {RULES[0]}: added, rejected since " in text and "  rejected by local (" in text
        assert "too noisy for us" in server.cli("upstream", "list-pending", "atr", "--rejected").stdout
        assert live_rules(server).keys() == set(RULES[1:])

        change(folder, RULES[0], severity="low")
        assert "1 held" in server.cli("upstream", "pull").stdout
        assert changes(held(server)) == {RULES[0]: "added"}


def test_names_that_are_none_are_refused(server: Server) -> None:
    for verb in (
        ["show", "nobody"],
        ["pull", "nobody"],
        ["list-pending", "nobody"],
        ["show-pending", "atr", "ATR-2026-1"],
        ["approve", "atr", "ATR-2026-1"],
        ["reject", "atr", "ATR-2026-1", "--reason", "x"],
    ):
        assert fails(server, "upstream", *verb).stderr.startswith("Error: ")


def test_a_rollback_holds_pulls(server: Server, folder: Path) -> None:
    server.cli("publication", "rollback", "1", "--reason", "to be safe")
    change(folder, RULES[0], severity="low")
    done = fails(server, "upstream", "pull")
    assert done.stdout.startswith("atr: not pulled: ")
    assert "paused: " in server.cli("upstream", "show", check=False).stdout
    server.cli("publication", "resume")
    assert "1 changed" in server.cli("upstream", "pull").stdout


def test_it_works_without_a_server(tmp_path: Path, folder: Path) -> None:
    server = Server(tmp_path / "still", config=config(folder))
    server.environ["THREATCLOUD_CONFIG"] = str(server.config)
    never = fails(server, "upstream", "show")
    assert never.stdout.startswith("atr: never\n")
    assert server.cli("upstream", "pull").stdout.startswith(f"atr: {COUNT} rules, {COUNT} added, ")
    assert server.cli("upstream", "show").stdout.startswith("atr: ok\n")


def test_without_any_upstream_there_is_nothing_to_say(tmp_path: Path) -> None:
    server = Server(tmp_path / "bare")
    assert server.cli_json("upstream", "list") == []
    assert "no upstream is configured" in server.cli("upstream", "show").stdout
    assert server.cli_json("upstream", "pull") == []


def test_a_rule_cannot_rewrite_the_screen_of_its_reviewer(tmp_path: Path, folder: Path) -> None:
    """Control characters are refused in titles but not in every field, and direction marks nowhere."""
    with instance(tmp_path / "careful", config=config(folder, max_changed_percent=0)) as server:
        eventually(lambda: bool(server.cli_json("upstream", "show")[0]["lastSuccess"]), "the first pull")
        text = rule_text(RULES[0], title='"harmless\\u202e"').replace("author: ", 'author: "\\e[2K\\e[1A" #')
        (folder / f"{RULES[0]}.yaml").write_text(text)
        assert "1 held" in server.cli("upstream", "pull").stdout
        pending = ["show-pending", "atr", RULES[0]]
        for verb in (["list-pending", "atr"], pending, [*pending, "--json"]):
            shown = server.cli("upstream", *verb).stdout
            assert "harmless\\u202e" in shown
            assert not {"\x1b", "\u202e"} & set(shown)
        assert one_held(server, RULES[0])["after"] == text
