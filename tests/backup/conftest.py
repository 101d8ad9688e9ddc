"""One instance with rules, keys and history, and the backups that were made of it beside its running server."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.example_rules import rule_text
from tests.server import Server

RULES = [f"ATR-2026-{95_000 + number}" for number in range(8)]
LIVE = "/api/atr-rules/live"


@dataclass(frozen=True)
class Origin:
    """The instance, stopped; `state` is its folder, `crashed` a copy of it as kill -9 would have left it."""

    config: str
    state: Path
    crashed: Path
    plain: Path
    whole: Path
    encrypted: Path
    identity: Path
    recipient: str
    manifest_key: Path
    agent: str
    partner: str
    etag: str
    made: dict[str, Any]

    def server(self, folder: Path, **options: object) -> Server:
        """A server with the same configuration and a state folder of its own, not started."""
        server = Server(folder, config=self.config, **options)
        server.environ["THREATCLOUD_CONFIG"] = str(server.config)
        return server


def poll(server: Server, token: str) -> str | None:
    """The ETag of the live endpoint, for a partner's key; None when the key is refused."""
    with server.client(token) as client:
        answer = client.head(LIVE)
    return answer.headers["etag"] if answer.status_code == 200 else None


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    place = tmp_path_factory.mktemp("origin")
    rules = place / "rules"
    rules.mkdir()
    for rule_id in RULES:
        (rules / f"{rule_id}.yaml").write_text(rule_text(rule_id))
    config = f'[[upstream]]\nname = "atr"\nkind = "directory"\npath = {json.dumps(str(rules))}\n'
    server = Server(place / "instance", config=config)
    server.environ["THREATCLOUD_CONFIG"] = str(server.config)
    with server:
        agent, partner = server.issue("agent", "host-1"), server.issue("partner", "partner-1")
        plain = server.cli_json("backup", "create")
        server.environ["THREATCLOUD_BACKUP_KEYS"] = "always"
        whole = server.cli_json("backup", "create", "--label", "with-keys")
        del server.environ["THREATCLOUD_BACKUP_KEYS"]
        made = server.cli_json("backup", "keygen", "--output", str(place / "identity.txt"))
        server.environ["THREATCLOUD_BACKUP_RECIPIENTS"] = made["recipient"]
        encrypted = server.cli_json("backup", "create")
        manifest_key = place / "manifest-key.pem"
        with server.client() as anybody:
            manifest_key.write_bytes(anybody.get("/.well-known/manifest-key.pem").content)
        etag = poll(server, partner)
        assert etag is not None
        crashed = place / "crashed"
        shutil.copytree(
            server.state_dir, crashed, ignore=shutil.ignore_patterns("*.sock", "backups", "*.lock")
        )
    return Origin(
        config=config,
        state=server.state_dir,
        crashed=crashed,
        plain=Path(plain["file"]),
        whole=Path(whole["file"]),
        encrypted=Path(encrypted["file"]),
        identity=place / "identity.txt",
        recipient=made["recipient"],
        manifest_key=manifest_key,
        agent=agent,
        partner=partner,
        etag=etag,
        made={"plain": plain, "whole": whole, "encrypted": encrypted},
    )


@pytest.fixture
def host(origin: Origin, tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Makes hosts with the instance's configuration and nothing else; what was started is stopped."""
    servers: list[Server] = []

    def make() -> Server:
        servers.append(origin.server(tmp_path / f"host-{len(servers)}"))
        return servers[-1]

    yield make
    for server in servers:
        if server.process is not None and server.process.poll() is None:
            server.stop()
