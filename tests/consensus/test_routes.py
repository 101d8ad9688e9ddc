"""Consensus over HTTP, with the real guards; the edge is commanded by the tests."""

from collections.abc import Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from litestar.types import ASGIApp, Receive, Scope, Send

from app.access.gatekeeper import Gatekeeper
from app.access.key_store import issuer_of
from app.access.policy import AccessPolicy, LimitPolicy
from app.access.principal import Role
from app.consensus.policy import ConsensusPolicy
from app.consensus.routes import consensus_handlers
from app.consensus.service import Consensus
from app.sandbox import Sandbox
from app.signing.keys import SigningKeys
from app.storage import Storage
from app.web.application import serve_handlers
from tests.clock import NOW
from tests.consensus.harness import DRAFT
from tests.example_rules import short_rule_text

Json = dict[str, Any]
PROPOSALS = "/api/atr-proposals"


class Server:
    """The consensus routes and a key for everybody who is named."""

    def __init__(self, state: Path) -> None:
        self.now = NOW
        self.published: list[str] = []
        self.tokens: dict[str, str] = {}

        @asynccontextmanager
        async def lifespan(app: Litestar) -> Any:
            storage, sandbox = Storage(state), Sandbox(5.0)
            keys = SigningKeys.open(state, NOW)
            issuer = await storage.write(issuer_of)
            gatekeeper = Gatekeeper(storage, keys, AccessPolicy(), LimitPolicy(), issuer)
            for role in Role:
                for number in range(4):
                    _, token = await gatekeeper.issue(
                        role=role,
                        subject=f"{role}-{number}",
                        expires=None,
                        site=None,
                        actor="test",
                        now=NOW,
                    )
                    self.tokens[f"{role}-{number}"] = token
            app.state.gatekeeper = gatekeeper
            app.state.consensus = Consensus(storage, sandbox, sandbox, ConsensusPolicy(), self.publish)
            yield
            await sandbox.close()
            await storage.close()

        def edge(app: ASGIApp) -> ASGIApp:
            async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
                self.now += timedelta(seconds=1)
                headers = {name.decode(): value.decode() for name, value in scope["headers"]}
                scope["state"].update(
                    headers=headers, client_address="10.0.0.1", request_id="r-1", now=self.now
                )
                await app(scope, receive, send)

            return middleware

        self.client = TestClient(serve_handlers(consensus_handlers, middleware=[edge], lifespan=[lifespan]))

    async def publish(self, reason: str) -> None:
        self.published.append(reason)

    def ask(
        self, who: str | None, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Json]:
        if who is not None:
            headers["authorization"] = f"Bearer {self.tokens[who]}"
        response = self.client.request(method, path, json=body, headers=headers)
        return response.status_code, response.json()

    def propose(
        self, number: int, text: str = "", pattern_hash: str = "hash-1", **more: Any
    ) -> tuple[int, Json]:
        body = {
            "patternHash": pattern_hash,
            "ruleContent": text or short_rule_text(),
            "llmProvider": "ollama",
            "llmModel": "llama3",
            "selfReviewVerdict": "{}",
        } | more
        return self.ask(f"agent-{number}", "POST", PROPOSALS, body)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    with made.client:
        yield made


def test_from_proposal_to_rule_as_stock_clients_and_seed_say(server: Server) -> None:
    answers = [server.propose(number) for number in (0, 0, 1, 2)]
    assert [status for status, _ in answers] == [201, 200, 200, 200]
    assert [body["data"]["message"] for _, body in answers] == [
        "Proposal submitted",
        "Already submitted",
        "Proposal confirmed",
        "Proposal confirmed",
    ]
    assert answers[3][1]["data"] == {
        "message": "Proposal confirmed",
        "patternHash": "hash-1",
        "status": "confirmed",
        "confirmations": 3,
        "required": 3,
    }
    status, body = server.ask("admin-0", "POST", "/api/admin/promote")
    assert (status, body["data"]["promoted"]) == (200, ["hash-1"])
    assert server.published == ["promotion cycle: hash-1 promoted"]


def test_a_client_id_is_never_an_identity(server: Server) -> None:
    for client_id in ("one", "two", "three" * 100):
        body = {
            "patternHash": "hash-1",
            "ruleContent": short_rule_text(),
            "llmProvider": "p",
            "llmModel": "m",
            "selfReviewVerdict": "v",
        }
        _, answer = server.ask("agent-0", "POST", PROPOSALS, body, **{"x-panguard-client-id": client_id})
    assert (answer["data"]["message"], answer["data"]["confirmations"]) == ("Already submitted", 1)


def test_a_draft_is_accepted_and_told_why_it_is_one(server: Server) -> None:
    status, body = server.propose(0, DRAFT)
    assert (status, body["data"]["status"]) == (201, "draft")
    assert any(reason.startswith("detection: ") for reason in body["data"]["reasons"])


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"patternHash": ""}, 400, "patternHash"),
        ({"patternHash": "a/b"}, 400, "patternHash"),
        ({"patternHash": "a\n"}, 400, "patternHash"),
        ({"patternHash": "x" * 129}, 400, "patternHash"),
        ({"ruleContent": "- a"}, 400, "ruleContent"),
        ({"ruleContent": "just words"}, 400, "ruleContent"),
        ({"ruleContent": "a: 1\na: 2"}, 400, "ruleContent"),
        ({"ruleContent": "a: " + "x" * 65_536}, 413, "ruleContent"),
        ({"llmProvider": "x" * 129}, 400, "llmProvider"),
        ({"llmModel": ""}, 400, "llmModel"),
        ({"selfReviewVerdict": "x" * 16_385}, 400, "selfReviewVerdict"),
        ({"selfReviewVerdict": None}, 400, "selfReviewVerdict"),
    ],
)
def test_what_cannot_be_taken_names_its_field_and_leaves_nothing(
    server: Server, change: Json, status: int, field: str
) -> None:
    got, body = server.propose(0, **change)
    assert (got, body["detail"]["field"]) == (status, field)
    assert body["error"].startswith(f"{field}: ")
    assert server.ask("reviewer-0", "GET", PROPOSALS)[1]["data"] == []


def test_the_list_pages_filters_and_says_what_waits_for_a_reviewer(server: Server) -> None:
    for name in ("a", "b", "c"):
        server.propose(0, pattern_hash=name)
    for number in range(3):
        server.propose(number, DRAFT, pattern_hash="stuck")
    _, first = server.ask("reviewer-0", "GET", f"{PROPOSALS}?limit=3")
    _, second = server.ask("reviewer-0", "GET", f"{PROPOSALS}?limit=3&cursor={first['meta']['next']}")
    assert [row["patternHash"] for row in first["data"] + second["data"]] == ["stuck", "c", "b", "a"]
    assert second["meta"]["next"] is None
    _, waiting = server.ask("reviewer-0", "GET", f"{PROPOSALS}?waitingFor=reviewer")
    assert [row["patternHash"] for row in waiting["data"]] == ["stuck"]
    _, drafts = server.ask("reviewer-0", "GET", f"{PROPOSALS}?status=draft")
    assert [(row["patternHash"], row["confirmations"], row["required"]) for row in drafts["data"]] == [
        ("stuck", 3, 3)
    ]
    for query in ("status=approved", "waitingFor=me", "limit=0"):
        assert server.ask("reviewer-0", "GET", f"{PROPOSALS}?{query}")[0] == 400


def test_a_reviewer_sees_texts_side_by_side_and_why(server: Server) -> None:
    for number, pattern in enumerate(("signing key", "signing.key", "the signing")):
        server.propose(number, short_rule_text(pattern=pattern))
    _, shown = server.ask("reviewer-0", "GET", f"{PROPOSALS}/hash-1")
    assert len(shown["data"]["variants"]) == shown["data"]["variantsTotal"] == 3
    assert {v["counted"] for v in shown["data"]["variants"]} == {1}
    _, why = server.ask("reviewer-0", "GET", f"{PROPOSALS}/hash-1/why")
    assert [(v["subject"], v["address"], v["counted"]) for v in why["data"]["votes"]] == [
        (f"agent-{number}", "10.0.0.1", True) for number in range(3)
    ]
    assert why["data"]["missing"][0].startswith("A common text")
    variant = shown["data"]["variants"][1]["variant"]
    status, body = server.ask("reviewer-0", "POST", f"{PROPOSALS}/hash-1/approve", {"variant": variant})
    assert (status, body["data"]["status"], body["data"]["missing"]) == (200, "confirmed", [])


def test_decisions_over_http_end_to_end(server: Server) -> None:
    for number in range(3):
        server.propose(number, DRAFT)
    path = f"{PROPOSALS}/hash-1"
    status, body = server.ask(
        "reviewer-0", "POST", f"{path}/text", {"ruleContent": short_rule_text(agent_source=False)}
    )
    assert (status, body["detail"]["field"]) == (400, "ruleContent")
    assert any("agent_source" in reason for reason in body["detail"]["reasons"])
    assert server.ask("reviewer-0", "POST", f"{path}/text", {"ruleContent": short_rule_text()})[0] == 200
    server.ask("admin-0", "POST", "/api/admin/promote")
    assert server.ask("reviewer-0", "POST", f"{path}/withdraw", {"reason": "broad"})[0] == 200
    assert server.published[-1] == "hash-1 withdrawn"
    status, body = server.ask("reviewer-0", "POST", f"{path}/approve", {})
    assert (status, body["detail"]["status"]) == (409, "withdrawn")
    assert server.ask("reviewer-0", "POST", f"{path}/reopen", {"reason": "no"})[0] == 403
    status, body = server.ask("admin-0", "POST", f"{path}/reopen", {"reason": "it was fine"})
    assert (status, body["data"]["status"]) == (200, "confirmed")
    assert server.ask("reviewer-0", "POST", f"{path}/reject", {})[0] == 400


def test_patch_as_the_public_server_has_it_but_true(server: Server) -> None:
    server.propose(0)
    status, body = server.ask("admin-0", "PATCH", PROPOSALS, {"patternHash": "hash-1", "action": "approve"})
    assert (status, body["data"]["message"], body["data"]["status"]) == (200, "Proposal approved", "pending")
    assert body["data"]["missing"] == ["2 more independent confirmations."]
    status, body = server.ask("admin-0", "PATCH", PROPOSALS, {"patternHash": "hash-1", "action": "reject"})
    assert (status, body["data"]["status"]) == (200, "rejected")
    assert server.ask("admin-0", "PATCH", PROPOSALS, {"patternHash": "nope", "action": "reject"})[0] == 404
    assert server.ask("admin-0", "PATCH", PROPOSALS, {"patternHash": "hash-1", "action": "burn"})[0] == 400


def test_feedback_quarantines_and_publishes_at_once(server: Server) -> None:
    for number in range(3):
        server.propose(number)
    server.ask("admin-0", "POST", "/api/admin/promote")
    for number, path in enumerate(("/api/atr-feedback", "/api/rule-feedback", "/api/rule-feedback")):
        vote = {"ruleId": "ATR-2026-90001", "isTruePositive": False}
        status, body = server.ask(f"agent-{number}", "POST", path, vote)
        assert status == 201
        assert body["data"] == {"message": "Feedback received", "quarantined": number == 2, "flagged": False}
    assert server.published[-1] == "ATR-2026-90001 quarantined"
    _, listed = server.ask("reviewer-0", "GET", "/api/atr-feedback")
    assert listed["data"][0]["falsePositives"] == 3
    body = {"ruleId": "ATR-2026-90001", "reason": "seen"}
    assert server.ask("reviewer-0", "POST", "/api/atr-feedback/settle", body)[1]["data"]["settled"] == 3
    assert (
        server.ask("agent-0", "POST", "/api/atr-feedback", {"ruleId": "x", "isTruePositive": True})[0] == 404
    )


@pytest.mark.parametrize("handler", consensus_handlers, ids=lambda handler: handler.handler_name)
def test_every_route_demands_a_key_and_only_agents_vote(server: Server, handler: Any) -> None:
    for path in handler.paths:
        for method in handler.http_methods - {"OPTIONS", "HEAD"}:
            asked = path.replace("{pattern_hash:str}", "hash-1")
            assert server.ask(None, method, asked)[0] == 401
            assert server.ask("partner-0", method, asked)[0] == 403
            voting = asked.endswith("feedback") or asked == PROPOSALS
            if method == "POST" and voting:
                assert server.ask("admin-0", method, asked)[0] == 403
            else:
                assert server.ask("agent-0", method, asked)[0] == 403
