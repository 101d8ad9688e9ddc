"""A server in use: its agent has a key and a proposal. The evidence must survive every operation."""

from dataclasses import dataclass, replace
from typing import Self

from tests.example_rules import proposal
from tests.flows.fleet import rule
from tests.machines.installation import Installation

PATTERN = "5e" * 32


@dataclass(frozen=True, slots=True)
class Evidence:
    """The rules that clients are served, their keys, and their proposals."""

    etag: str
    rules: int
    keys: tuple[str, ...]
    proposals: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Running:
    """An installed server, and the token of the agent that uses it."""

    installation: Installation
    token: str

    @classmethod
    def begin(cls, installation: Installation) -> Self:
        """Enrol the agent and let it propose a rule."""
        token = installation.issue("agent", "guard-1")
        answer = installation.visitor(token).post("/api/atr-proposals", proposal(PATTERN, rule()))
        assert answer.status == 201, answer
        return cls(installation, token)

    def on(self, installation: Installation) -> Self:
        """Return the same agent with another server."""
        return replace(self, installation=installation)

    def evidence(self) -> Evidence:
        """Return what the agent and the command line see now. Raise Failed if the audit chain is broken."""
        answer = self.installation.visitor(self.token).get("/api/atr-rules")
        assert answer.status == 200, answer
        self.installation.cli("audit", "verify")
        keys = self.installation.cli_json("key", "list")
        proposals = self.installation.cli_json("proposal", "list")
        return Evidence(
            answer.headers["etag"],
            answer.json["meta"]["total"],
            tuple(sorted(key["id"] for key in keys)),
            tuple(sorted((item["patternHash"], item["status"]) for item in proposals)),
        )
