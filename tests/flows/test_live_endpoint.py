"""Partner Live Sync as its public page prints it: the polling script, the shape, the limits, the audit."""

import os
import re
import subprocess
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.flows.fleet import OFFICIAL_ID, by_id, live_rules, poll, promoted
from tests.needs import need_program
from tests.server import Server

LIVE = "/api/atr-rules/live"

PAGE = r"""
Minimum polling example

# 5-minute cadence, ETag-aware
LAST_ETAG=""
while true; do
  RESP=$(curl -sS -w '\n%{http_code}' \
    -H "Authorization: Bearer $ATR_PARTNER_KEY" \
    ${LAST_ETAG:+-H "If-None-Match: $LAST_ETAG"} \
    "https://tc.panguard.ai/api/atr-rules/live")
  STATUS=$(echo "$RESP" | tail -1)
  if [ "$STATUS" = "304" ]; then
    echo "no change"
  elif [ "$STATUS" = "200" ]; then
    echo "$RESP" | head -n-1 | jq '.data | length' # process rules
    LAST_ETAG=$(curl -sSI -H "Authorization: Bearer $ATR_PARTNER_KEY" \
      "https://tc.panguard.ai/api/atr-rules/live" | grep -i etag | cut -d' ' -f2- | tr -d '\r')
  fi
  sleep 300
done

Limits
"""
"""The part of the page with the script, as it is printed there."""

STAND_INS = r"""
set -u
rounds=0
sleep() { rounds=$((rounds + 1)); if [ "$rounds" -ge 3 ]; then exit 0; fi; }
curl() { command curl "${@//https:\/\/tc.panguard.ai/$INSTANCE}"; }
"""
"""Put in front of the script: this instance instead of the public one, and three rounds without waiting."""


def printed_script() -> str:
    """The script alone."""
    found = re.search(r"(?s)# 5-minute cadence.*?\ndone\n", PAGE)
    assert found is not None
    return found[0]


def test_the_printed_polling_script_runs_unchanged(official: Server) -> None:
    """Not one byte of the script is edited: shell functions named `curl` and `sleep`, defined before it, send it to
    this instance (plain HTTP on loopback instead of the public address) and end it after its third round.
    """
    bash, _, _ = need_program("bash"), need_program("curl"), need_program("jq")
    environ = {**os.environ, "INSTANCE": official.url, "ATR_PARTNER_KEY": official.issue("partner")}
    command = [bash, "-c", STAND_INS + printed_script()]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    total, *rest = done.stdout.splitlines()
    assert int(total) == len(live_rules(official))
    assert rest == ["no change", "no change"]


def test_the_body_has_the_members_that_the_page_prints(official: Server) -> None:
    promoted(official)
    with official.client(official.issue("partner")) as partner:
        answer = poll(partner, LIVE)
    body = answer.json()
    assert set(body) == {"ok", "data", "meta", "request_id"}
    assert body["ok"] is True
    assert set(body["meta"]) == {"total", "etag"}
    assert body["meta"]["total"] == len(body["data"]) > 800
    assert body["meta"]["etag"] == answer.headers["etag"]
    assert re.fullmatch(rf'W/"{len(body["data"])}-\d{{4}}-\d\d-\d\dT[\d:.]+Z"', answer.headers["etag"])
    for item in body["data"]:
        assert list(item) == [
            "ruleId",
            "ruleContent",
            "publishedAt",
            "source",
            "category",
            "severity",
            "mitreTechniques",
            "tags",
        ]
        assert all(isinstance(value, str) for value in item.values())
        assert f"id: {item['ruleId']}" in item["ruleContent"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item["publishedAt"])
    assert {item["source"] for item in body["data"]} == {"atr", "atr-community"}
    assert by_id(answer)[OFFICIAL_ID]["source"] == "atr"
    modified = parsedate_to_datetime(answer.headers["last-modified"])
    assert max(item["publishedAt"] for item in body["data"]).startswith(f"{modified:%Y-%m-%dT%H:%M:%S}")


@pytest.mark.parametrize("role", ["agent", "reviewer"])
def test_other_roles_are_refused(server: Server, role: str) -> None:
    with server.client(server.issue(role)) as client:
        answer = client.get(LIVE)
    assert answer.status_code == 403
    assert answer.json()["ok"] is False
    with server.client() as nobody:
        assert nobody.get(LIVE).status_code == 401
    with server.admin as admin:
        assert admin.head(LIVE).status_code == 200


def test_full_pulls_within_a_minute_are_refused_and_free_ones_are_not(server: Server) -> None:
    with server.client(server.issue("partner")) as partner:
        tag = poll(partner, LIVE).headers["etag"]
        for _ in range(300):
            assert partner.head(LIVE).status_code == 200
            assert partner.get(LIVE, headers={"If-None-Match": tag}).status_code == 304
        assert partner.get(LIVE).status_code == 200  # the second of the burst is still there

        refused = partner.get(LIVE)
        assert refused.status_code == 429
        assert 50 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["ok"] is False
        assert partner.get(LIVE, headers={"If-None-Match": 'W/"0-never"'}).status_code == 429
        assert partner.get(LIVE, headers={"If-None-Match": tag}).status_code == 304
        assert partner.head(LIVE).status_code == 200
    with server.client(server.issue("partner")) as another:
        assert another.get(LIVE).status_code == 200


def test_every_full_pull_is_audited_with_its_key(server: Server) -> None:
    with server.admin as admin:
        record = admin.post("/api/admin/keys", json={"role": "partner", "subject": "siem-vendor"}).json()[
            "data"
        ]
        with server.client(record["token"]) as partner:
            tag = poll(partner, LIVE).headers["etag"]
            poll(partner, LIVE)
            assert partner.get(LIVE).status_code == 429
            partner.head(LIVE)
            poll(partner, LIVE, **{"If-None-Match": tag})
        entries = audit_of(admin, "siem-vendor")
    assert [entry["action"] for entry in entries] == ["live.pull", "live.pull"]
    assert {entry["actor"] for entry in entries} == {f"siem-vendor (key {record['id']})"}
    assert {entry["address"] for entry in entries} == {"127.0.0.1"}


def test_unchanged_polls_are_one_audit_row_a_key_and_hour_after_a_stop(server: Server) -> None:
    with (
        server.client(server.issue("partner", "poller-a")) as one,
        server.client(server.issue("partner", "poller-b")) as other,
    ):
        tag = one.head(LIVE).headers["etag"]
        for client, polls in ((one, 7), (other, 3)):
            for _ in range(polls):
                assert client.get(LIVE, headers={"If-None-Match": tag}).status_code == 304
    server.stop()
    server.start()
    with server.admin as admin:
        for subject, polls in (("poller-a", 7), ("poller-b", 3)):
            entries = audit_of(admin, subject)
            assert {entry["action"] for entry in entries} == {"rules.unchanged"}
            assert len({entry["detail"]["hour"] for entry in entries}) == len(entries) <= 2
            assert sum(entry["detail"]["polls"] for entry in entries) == polls


def test_the_answer_is_the_whole_authoritative_set(server: Server) -> None:
    pattern_hash, rule_id = promoted(server)
    _, other = promoted(server)
    with server.client(server.issue("partner")) as partner:
        before = poll(partner, LIVE)
        assert {rule_id, other} <= by_id(before).keys()
        server.cli("proposal", "withdraw", pattern_hash, "--reason", "too broad")
        after = poll(partner, LIVE, **{"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert before.headers["etag"] != after.headers["etag"]
    assert rule_id not in by_id(after)
    assert by_id(after)[other] == by_id(before)[other]
    assert after.json()["meta"]["total"] == before.json()["meta"]["total"] - 1


def test_since_narrows_the_answer_to_what_is_newer(official: Server) -> None:
    with official.client(official.issue("partner")) as partner:
        whole = partner.get(LIVE, params={"since": "1970-01-01T00:00:00.000Z"})
        none = partner.get(LIVE, params={"since": "2099-01-01T00:00:00Z"})
    assert whole.json()["meta"]["total"] > 800
    assert none.json()["data"] == []
    assert none.headers["etag"] != whole.headers["etag"]


def audit_of(admin: httpx.Client, subject: str) -> list[dict[str, Any]]:
    """Everything that the audit log has of a subject."""
    answer = admin.get("/api/audit-log", params={"actor": subject})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])
