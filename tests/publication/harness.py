"""`PublicationHarness`: a publisher over a real database and real keys, and rules put into it directly.

An example:

    await harness.hold("ATR-2026-90001")
    await harness.publisher.publish("import", NOW)
    await harness.restart()
    assert harness.ids() == ["ATR-2026-90001"]
"""

import json
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from app.overlay.entries import OverlayDecision, add, recompute_overlay
from app.overlay.resolve import OverlayAction
from app.publication.publisher import Publisher
from app.publication.served_set import RepresentationName, closing
from app.publication.store import PublicationPolicy
from app.rules.store import RuleState, set_state
from app.signing.keys import SigningKeys
from app.storage import Storage
from tests.clock import NOW, NOW_TEXT
from tests.database import put_rule
from tests.example_rules import rule_text


class PublicationHarness:
    def __init__(self, folder: Path, keep: int = 200) -> None:
        self.folder = folder
        self.keep = keep
        self._open()

    def _open(self) -> None:
        self.storage = Storage(self.folder)
        self.keys = SigningKeys.open(self.folder, NOW)
        policy = PublicationPolicy(keep=self.keep)
        self.publisher = Publisher(self.storage, self.keys, policy, "urn:threatcloud:test")

    async def stop(self) -> None:
        await self.storage.close()

    async def start(self) -> None:
        """Start on the database as a server does."""
        self._open()
        await self.publisher.load()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def hold(
        self,
        rule_id: str,
        origin: str = "local",
        state: RuleState = "active",
        source: str | None = None,
        **text: str,
    ) -> None:
        """Let an origin have a rule; `text` is that of `rule_text`."""
        pattern = f"hash-of-{rule_id}" if origin == "community" else None
        content = rule_text(rule_id, **text)
        await self.storage.write(
            lambda db: put_rule(
                db, rule_id, content, origin=origin, state=state, pattern_hash=pattern, source=source
            )
        )

    async def drop(self, rule_id: str, origin: str = "local", state: RuleState = "withdrawn") -> None:
        await self.storage.write(
            lambda db: set_state(db, origin=origin, rule_id=rule_id, state=state, reason="test", at=NOW_TEXT)
        )

    async def overlay(self, rule_id: str, action: OverlayAction) -> None:
        decision = OverlayDecision(rule_id=rule_id, action=action, owner="soc", reason="test")

        def work(db: Database) -> None:
            add(db, decision, NOW_TEXT)
            recompute_overlay(db, NOW_TEXT)

        await self.storage.write(work)

    def served(self, representation: RepresentationName = "live", *, canary: bool = False) -> dict[str, Any]:
        """Return a body as it is served, its ETag and total checked."""
        served = self.publisher.served
        assert served is not None
        wanted = served.representation(representation, canary=canary)
        body: dict[str, Any] = json.loads(wanted.body.plain + closing("r1"))
        assert body["meta"]["etag"] == wanted.etag
        assert body["meta"]["total"] == len(body["data"]) == len(wanted.entries)
        return body

    def ids(self, representation: RepresentationName = "live", *, canary: bool = False) -> list[str]:
        return [rule["ruleId"] for rule in self.served(representation, canary=canary)["data"]]
