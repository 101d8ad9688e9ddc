"""`pga audit skill` of panguard 1.4.7, and the uploader of the stock trap 1.3.0."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.host import Host, failures, mark, requests_since
from tests.clients.skills import CLEAN_SKILL, MALICIOUS_SKILL
from tests.server import Server

ALWAYS = {"/api/skill-blacklist", "/api/atr-rules", "/api/scan-events", "/api/usage"}


def audit(host: Host, server: Server, name: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run `pga audit skill` on a skill."""
    folder = host.folder / name
    folder.mkdir()
    (folder / "SKILL.md").write_text(text)
    program = host.packages / "@panguard-ai" / "panguard" / "bin" / "panguard.cjs"
    done: subprocess.CompletedProcess[str] = host.run(
        program, "audit", "skill", str(folder), "--json", "--tc-endpoint", server.url
    )
    assert json.loads(done.stdout[done.stdout.index("{") :])["manifest"]["name"] == name
    return done


@pytest.fixture
def host(server: Server, tmp_path: Path) -> Host:
    key = server.issue("agent", f"host-of-{tmp_path.name}")
    return Host(tmp_path / "host", TC_API_KEY=key, END_IN_SPITE_OF_TIMERS="1")


def test_an_audit_reports_a_malicious_skill(server: Server, host: Host) -> None:
    start = mark(server)
    done = audit(host, server, "helper", MALICIOUS_SKILL)
    assert done.returncode == 2, "exit code 2 is CRITICAL"
    assert "failed" not in done.stderr
    requests = requests_since(server, start)
    assert failures(requests) == []
    assert {path for _, path, _ in requests} == ALWAYS | {"/api/skill-threats", "/api/atr-proposals"}
    with server.admin as admin:
        reports = admin.get("/api/skill-threats").json()["data"]
        proposals = admin.get("/api/atr-proposals").json()["data"]
    assert "helper" in {report["skillName"] for report in reports}
    assert any(proposal["status"] == "draft" for proposal in proposals), "its rule has no test cases: a draft"


def test_an_audit_of_a_clean_skill_reports_no_threat(server: Server, host: Host) -> None:
    start = mark(server)
    done = audit(host, server, "adder", CLEAN_SKILL)
    assert done.returncode == 0, done.stdout
    requests = requests_since(server, start)
    assert failures(requests) == []
    assert {path for _, path, _ in requests} == ALWAYS


def test_an_audit_obeys_the_blacklist(server: Server, host: Host) -> None:
    with server.admin as admin:
        assert admin.post("/api/skill-blacklist", json={"skillName": "calc"}).status_code == 201
    done = audit(host, server, "calc", CLEAN_SKILL.replace("adder", "calc"))
    assert done.returncode == 2, "a listed skill is CRITICAL whatever is in it"


def test_the_trap_uploads(server: Server, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    intel = {
        "timestamp": "2026-11-20T10:00:00.000Z",
        "serviceType": "ssh",
        "sourceIP": "45.83.12.77",
        "attackType": "ssh_brute_force",
        "mitreTechniques": ["T1110"],
        "skillLevel": "script_kiddie",
        "intent": "credential_harvesting",
        "tools": ["hydra"],
        "topCredentials": [{"username": "root", "count": 12}],
    }
    told = host.call("trap_reports.mjs", {"endpoint": server.url, "intel": [intel] * 3})
    assert told == {"uploaded": 3, "pending": 0}
    with server.admin as admin:
        kept = admin.get("/api/threats", params={"channel": "trap"}).json()["data"]
    assert len(kept) == 3
    assert {threat["attackType"] for threat in kept} == {"ssh_brute_force"}
    assert "root" not in json.dumps(kept)
