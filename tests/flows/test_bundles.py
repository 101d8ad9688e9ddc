"""Two instances with nothing between them but files that somebody carries."""

import base64
import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bundles.exporter import members_of, repacked
from tests.example_rules import rule_text
from tests.flows.fleet import confirmed_by, cycle, instance, new_hash
from tests.server import Server

IDS = [f"ATR-2026-930{number:02d}" for number in range(20)]
UPSTREAM = """\
[[upstream]]
name = "outside"
kind = "bundle"
key_file = "{pem}"
max_withdrawn_percent = 10
"""


def import_rules(server: Server, *rules: tuple[str, str]) -> int:
    """Import local rules `(id, title)`; returns the serial that serves them."""
    files = [{"name": f"{rule_id}.yaml", "text": rule_text(rule_id, title=title)} for rule_id, title in rules]
    with server.admin as admin:
        answer = admin.post("/api/admin/rules/import", json={"rules": files})
        assert answer.status_code == 200, answer.text
        return int(admin.get("/api/publications/current").json()["data"]["serial"])


def served(server: Server) -> dict[str, tuple[str, str]]:
    """`rule -> (text, source)` as a partner gets them."""
    with server.client(server.issue("partner")) as partner:
        rules = partner.get("/api/atr-rules/live").json()["data"]
    return {rule["ruleId"]: (rule["ruleContent"], rule["source"]) for rule in rules}


def serial(server: Server) -> int:
    with server.admin as admin:
        return int(admin.get("/api/publications/current").json()["data"]["serial"])


def pem(server: Server) -> bytes:
    with server.client() as nobody:
        return nobody.get("/.well-known/manifest-key.pem").content


def actions(server: Server, *names: str) -> list[tuple[str, dict[str, Any]]]:
    """Audit entries of bundles, oldest first."""
    with server.admin as admin:
        entries = admin.get("/api/audit-log", params={"limit": 500}).json()["data"][::-1]
    return [(entry["action"], entry["detail"]) for entry in entries if entry["action"] in names]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The exporter: twenty local rules, and one in canary."""
    folder = tmp_path_factory.mktemp("outside")
    with instance(folder, consensus_cycle_seconds=86_400, consensus_canary_hours=24) as running:
        import_rules(running, *((rule_id, "As it was") for rule_id in IDS))
        confirmed_by(running, new_hash(), [rule_text("ATR-2026-93999", title="In canary")] * 3)
        assert cycle(running)["promoted"] == []
        yield running


@pytest.fixture
def inside(outside: Server, tmp_path: Path) -> Iterator[Server]:
    """The importer."""
    key = tmp_path / "outside.pem"
    key.write_bytes(pem(outside))
    with instance(tmp_path / "inside", config=UPSTREAM.format(pem=key)) as running:
        yield running


def exported(server: Server, folder: Path, name: str, *options: str) -> Path:
    path = folder / name
    server.cli("bundle", "export", "--output", str(path), *options)
    return path


def test_a_set_and_its_changes_are_carried_over(outside: Server, inside: Server, tmp_path: Path) -> None:
    full = exported(outside, tmp_path, "full.tcbundle")
    assert stat.S_IMODE(full.stat().st_mode) == 0o600
    with outside.admin as admin:
        assert admin.get("/api/publications/current").json()["data"]["canary"] == 1
    assert b"In canary" not in b"".join(content for _, content in members_of(full.read_bytes()))
    taken = inside.cli_json("bundle", "import", str(full))
    assert (taken["result"]["outcome"], taken["result"]["added"]) == ("changed", 20)
    assert taken["bundle"]["digest"] == hashlib.sha256(full.read_bytes()).hexdigest()
    assert served(inside) == served(outside)
    assert {source for _, source in served(inside).values()} == {"atr-community"}
    assert taken["publication"] == serial(inside)

    again = inside.cli_json("bundle", "import", str(full))
    assert again["result"]["outcome"] == "unchanged"
    assert again["publication"] == taken["publication"]

    since = serial(outside)
    import_rules(outside, (IDS[0], "Another title"), ("ATR-2026-93050", "A new one"))
    with outside.admin as admin:
        admin.post(f"/api/admin/rules/{IDS[1]}/withdraw", json={"reason": "too noisy"})
    delta = exported(outside, tmp_path, "delta.tcbundle", "--since", str(since))
    assert delta.stat().st_size < full.stat().st_size
    taken = inside.cli_json("bundle", "import", str(delta))
    counts = [taken["result"][name] for name in ("added", "changed", "withdrawn", "held", "setAside")]
    assert counts == [1, 1, 1, 0, 0]
    assert served(inside) == served(outside)
    status = inside.cli_json("upstream", "show", "outside")
    assert status["version"].startswith(f"serial {serial(outside)}, exported ")


def test_a_receipt_proves_which_bundle_was_imported(outside: Server, inside: Server, tmp_path: Path) -> None:
    full = exported(outside, tmp_path, "full.tcbundle")
    receipt, key = tmp_path / "receipt.jwt", tmp_path / "inside.pem"
    printed = inside.cli("bundle", "import", str(full), "--receipt", str(receipt)).stdout
    assert f"receipt: {receipt}" in printed
    key.write_bytes(pem(inside))
    command = ("bundle", "verify", str(receipt), "--receipt", "--key")
    assert "bundle.serial: " in outside.cli(*command, str(key)).stdout
    said = outside.cli_json(*command, str(key))
    assert said["bundle"]["digest"] == hashlib.sha256(full.read_bytes()).hexdigest()
    assert said["bundle"]["serial"] == serial(outside)
    assert (said["upstream"], said["result"]["outcome"]) == ("outside", "changed")
    assert said["publication"] == serial(inside)
    assert outside.cli(*command, str(tmp_path / "outside.pem"), check=False).returncode == 1
    assert (
        "exists already"
        in inside.cli("bundle", "import", str(full), "--receipt", str(receipt), check=False).stderr
    )
    with inside.admin as admin:
        (kid,) = [
            k["kid"] for k in admin.get("/api/admin/signing-keys").json()["data"] if k["use"] == "manifest"
        ]
    header = json.loads(base64.urlsafe_b64decode(receipt.read_text().split(".")[0] + "=="))
    assert header == {"alg": "EdDSA", "kid": kid, "typ": "receipt+jwt"}


def refused(server: Server, path: Path, *options: str) -> str:
    """Assert that an import is refused and changes nothing that is served; returns the sentence."""
    before, number = served(server), serial(server)
    done = server.cli("bundle", "import", str(path), *options, check=False)
    assert done.returncode == 1, done.stdout
    assert (served(server), serial(server)) == (before, number)
    return done.stderr


def test_gaps_rollback_and_tampering_are_refused_and_audited(
    outside: Server, inside: Server, tmp_path: Path
) -> None:
    import_rules(outside, (IDS[2], "First"))
    first = exported(outside, tmp_path, "first.tcbundle")
    import_rules(outside, (IDS[2], "Second"))
    middle = serial(outside)
    import_rules(outside, (IDS[2], "Third"))
    last = exported(outside, tmp_path, "last.tcbundle")
    gap = exported(outside, tmp_path, "gap.tcbundle", "--since", str(middle))

    assert "nothing was taken yet" in refused(inside, gap)
    inside.cli("bundle", "import", str(first))
    assert f"starts after publication {middle}" in refused(inside, gap)
    status = json.loads(inside.cli("upstream", "show", "outside", "--json", check=False).stdout)
    assert (status["state"], status["failure"]["code"]) == ("failing", "gap")
    members = members_of(last.read_bytes())
    forged = tmp_path / "forged.tcbundle"
    forged.write_bytes(repacked([*members[:-1], (members[-1][0], b"title: forged")]))
    assert "another digest" in refused(inside, forged)
    assert "another digest" in refused(inside, forged, "--force", "--reason", "trust me")
    inside.cli("bundle", "import", str(last))
    assert served(inside) == served(outside)
    assert "was taken before" in refused(inside, first)

    usage = inside.cli("bundle", "import", str(first), "--force", check=False)
    assert (usage.returncode, "--reason" in usage.stderr) == (2, True)
    inside.cli("bundle", "import", str(first), "--force", "--reason", "the last set broke the build")
    assert "First" in served(inside)[IDS[2]][0]
    inside.cli("bundle", "import", str(gap), "--force", "--reason", "catching up")
    assert served(inside) == served(outside)

    audited = actions(inside, "bundle.import", "bundle.import.refused", "bundle.import.forced")
    assert [action.removeprefix("bundle.import") for action, _ in audited] == [
        *(".refused", "", ".refused", ".refused", ".refused", "", ".refused", ".forced", ".forced")
    ]
    assert audited[-2][1]["reason"] == "the last set broke the build"
    assert audited[-2][1]["result"]["changed"] == 1
    assert audited[2][1]["result"]["failure"]["code"] == "gap"
    ((_, said), *_) = actions(outside, "bundle.export")[::-1]
    assert said["since"] == middle


def test_a_shrinking_bundle_is_held_until_an_admin_approves_it(
    outside: Server, inside: Server, tmp_path: Path
) -> None:
    inside.cli("bundle", "import", str(exported(outside, tmp_path, "full.tcbundle")))
    before, since = served(inside), serial(outside)
    with outside.admin as admin:
        for rule_id in IDS[10:15]:
            assert admin.post(f"/api/admin/rules/{rule_id}/withdraw", json={"reason": "gone"}).is_success
    taken = inside.cli_json(
        "bundle",
        "import",
        str(exported(outside, tmp_path, "shrunk.tcbundle", "--since", str(since))),
    )
    assert (taken["result"]["outcome"], taken["result"]["held"]) == ("held", 5)
    assert served(inside) == before
    inside.cli("upstream", "approve", "outside")
    assert served(inside) == served(outside)
    import_rules(outside, (IDS[3], "After the shrink"))
    delta = exported(outside, tmp_path, "delta.tcbundle", "--since", str(serial(outside) - 1))
    inside.cli("bundle", "import", str(delta))
    assert served(inside) == served(outside)


def test_imports_wait_while_a_rollback_holds(outside: Server, inside: Server, tmp_path: Path) -> None:
    full = exported(outside, tmp_path, "full.tcbundle")
    inside.cli("bundle", "import", str(full))
    import_rules(outside, (IDS[4], "Later"))
    later = exported(outside, tmp_path, "later.tcbundle")
    inside.cli("publication", "rollback", str(serial(inside)), "--reason", "looking into it")
    assert "rollback" in refused(inside, later)
    inside.cli("publication", "resume")
    inside.cli("bundle", "import", str(later))
    assert served(inside) == served(outside)


def test_without_a_server(outside: Server, tmp_path: Path) -> None:
    key = tmp_path / "outside.pem"
    key.write_bytes(pem(outside))
    full = exported(outside, tmp_path, "full.tcbundle")
    alone = Server(tmp_path / "alone", config=UPSTREAM.format(pem=key))
    configured = ("--config", str(alone.config))
    assert alone.cli_json("bundle", "import", str(full), *configured)["result"]["outcome"] == "changed"
    copy = alone.cli_json("bundle", "export", "--output", str(tmp_path / "copy.tcbundle"))
    assert (copy["serial"], copy["since"], copy["rules"]) == (1, 0, len(served(outside)))
    assert (
        "exists already"
        in alone.cli("bundle", "export", "--output", str(tmp_path / "copy.tcbundle"), check=False).stderr
    )
    alone.cli("bundle", "export", "--output", str(tmp_path / "copy.tcbundle"), "--overwrite")
    assert (
        "no publication"
        in alone.cli("bundle", "export", "--since", "7", "--output", str(tmp_path / "x"), check=False).stderr
    )
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name or path.name == "x"] == []


def test_verify_needs_no_instance(outside: Server, tmp_path: Path) -> None:
    full = exported(outside, tmp_path, "full.tcbundle")
    key = tmp_path / "outside.pem"
    key.write_bytes(pem(outside))
    said = outside.cli_json("bundle", "verify", str(full), "--key", str(key))
    assert (said["serial"], said["since"], said["rules"]) == (serial(outside), 0, len(served(outside)))
    full.write_bytes(full.read_bytes()[:-9])
    done = outside.cli("bundle", "verify", str(full), "--key", str(key), check=False)
    assert (done.returncode, "ends in the middle" in done.stderr) == (1, True)


IMPORT = "/api/admin/bundles/import"
EXPORT = "/api/admin/bundles/export"


def test_over_the_network(outside: Server, inside: Server) -> None:
    with outside.admin as admin:
        answer = admin.get(EXPORT)
        digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
        assert answer.headers["content-type"] == "application/octet-stream"
        name = f'attachment; filename="threatcloud-{serial(outside)}.tcbundle"'
        assert answer.headers["content-disposition"] == name
        for since, status in (("x", 400), ("-1", 400), ("999999", 404), (str(serial(outside)), 409)):
            assert admin.get(EXPORT, params={"since": since}).status_code == status
        assert failed(admin, answer.content) == (409, None)
    with inside.admin as admin:
        taken = admin.post(IMPORT, content=answer.content)
        assert taken.status_code == 200, taken.text
        for params, status in (
            ({"upstream": "nobody"}, 404),
            ({"force": "maybe"}, 400),
            ({"force": "true"}, 400),
            ({"reason": ""}, 400),
        ):
            assert failed(admin, answer.content, **params)[0] == status
        assert failed(admin, b"") == (422, "truncated")
        assert failed(admin, b"no bundle") == (422, "shape")
        assert failed(admin, answer.content[:-1]) == (422, "truncated")
    assert list((inside.state_dir / "spool").iterdir()) == []
    for role in ("agent", "partner", "reviewer"):
        with inside.client(inside.issue(role)) as other:
            assert other.get(EXPORT).status_code == 403
            assert other.post(IMPORT, content=answer.content).status_code == 403


def failed(admin: httpx.Client, content: bytes, **params: str) -> tuple[int, str | None]:
    """Status and code of an import that is refused."""
    answer = admin.post(IMPORT, content=content, params=params)
    body = answer.json()
    assert body["ok"] is False
    return answer.status_code, (body.get("detail") or {}).get("code")


def test_several_upstreams_of_the_kind_and_others(outside: Server, tmp_path: Path) -> None:
    key = tmp_path / "outside.pem"
    key.write_bytes(pem(outside))
    (tmp_path / "rules").mkdir()
    config = UPSTREAM.format(pem=key) + UPSTREAM.format(pem=key).replace('outside"', 'second"', 1)
    folder = f'[[upstream]]\nname = "folder"\nkind = "directory"\npath = "{tmp_path / "rules"}"\n'
    full = exported(outside, tmp_path, "full.tcbundle").read_bytes()
    with instance(tmp_path / "several", config=config + folder) as server, server.admin as admin:
        assert failed(admin, full)[0] == 400
        assert failed(admin, full, upstream="folder")[0] == 409
        assert admin.post(IMPORT, content=full, params={"upstream": "second"}).status_code == 200


def test_a_bundle_at_a_path_is_looked_for(outside: Server, tmp_path: Path) -> None:
    key, place = tmp_path / "outside.pem", tmp_path / "in.tcbundle"
    key.write_bytes(pem(outside))
    full = exported(outside, tmp_path, "full.tcbundle")
    config = UPSTREAM.format(pem=key) + f'path = "{place}"\n'
    with instance(tmp_path / "watching", config=config) as server:
        full.rename(place)
        server.cli("upstream", "pull", "outside")
        assert served(server) == served(outside)
        place.write_bytes(place.read_bytes()[:-1])
        assert server.cli("upstream", "pull", "outside", check=False).returncode == 1
        assert served(server) == served(outside)
