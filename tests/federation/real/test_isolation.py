"""What leaves the machine, counted packet by packet: nothing, except to the upstream that is configured."""

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.example_rules import rule_text
from tests.federation.real.namespaces import PEER_ADDRESS, SERVER_ADDRESS, Packet, Recorder, cabled
from tests.federation.real.pulls import pull, pulled_once, upstream
from tests.federation.real.registry import Registry, published_package
from tests.flows.fleet import guard_rules, instance, live_rules, promoted
from tests.published import COUNT
from tests.server import Server


def test_without_an_upstream_no_packet_leaves(tmp_path: Path) -> None:
    """Through start, proposals, promotion, publication, polls and the stop."""
    with cabled() as (here, _), Recorder(here) as recorder, here.inside():
        with instance(tmp_path, consensus_cycle_seconds=86_400) as server:
            _, rule_id = promoted(server)
            assert rule_id in guard_rules(server)
            assert rule_id in live_rules(server)
            server.stop()
        assert on_the_cable(recorder.seen()) == []
        assert all_with(server, recorder.seen())
        send_a_packet_out()
    assert "UDP" in {packet.protocol for packet in on_the_cable(recorder.seen())}


class ThreatCloud(Registry):
    """Like the registry a stand-in, for a Threat Cloud with one rule."""

    def answer(self, path: str) -> tuple[int, str, bytes]:
        self.asked.append(path)
        entry = {"ruleId": "ATR-2026-99001", "ruleContent": rule_text("ATR-2026-99001")}
        return (
            200,
            "application/json",
            json.dumps({"ok": True, "data": [entry], "meta": {"total": 1}}).encode(),
        )


@pytest.mark.parametrize(("kind", "stand_in", "rules"), [("live", ThreatCloud, 1), ("npm", Registry, COUNT)])
def test_with_an_upstream_packets_go_to_its_address_and_port_only(
    tmp_path: Path, kind: str, stand_in: type[Registry], rules: int
) -> None:
    """No name server is asked either, even though this registry names another host for its tarball."""
    published_package()  # fetched, if need be, where there is a way out
    with cabled() as (here, peer), Recorder(here) as recorder, contextlib.ExitStack() as stack:
        with peer.inside():
            other = stack.enter_context(stand_in(PEER_ADDRESS))
        with here.inside(), instance(tmp_path, config=upstream(kind, other.url)) as server:
            assert pulled_once(server)["rules"] == rules
            assert pull(server)["outcome"] == "unchanged"
            assert len(live_rules(server)) == rules
            server.stop()
    packets = recorder.seen()
    assert all_with(server, packets)
    assert {end for packet in on_the_cable(packets) for end in ends_of(packet)} == {
        (PEER_ADDRESS, other.port)
    }


def ends_of(packet: Packet) -> Iterator[tuple[str, int] | str]:
    """Whom a packet on the cable is exchanged with; the question for a hardware address has no port."""
    if packet.protocol == "TCP" and packet.source[0] == SERVER_ADDRESS:
        yield packet.target
    elif packet.protocol == "TCP":
        yield packet.source
    elif packet.protocol != "ARP":
        yield packet.protocol


def on_the_cable(packets: list[Packet]) -> list[Packet]:
    """The packets that left, or came from, outside."""
    return [packet for packet in packets if packet.interface != "lo"]


def all_with(server: Server, packets: list[Packet]) -> bool:
    """Inside the machine there was TCP with this server, and nothing else: no question to a local name server."""
    local = [packet for packet in packets if packet.interface == "lo"]
    return bool(local) and all(
        packet.protocol == "TCP" and server.port in {packet.source[1], packet.target[1]} for packet in local
    )


def send_a_packet_out() -> None:
    """Prove that the recorder sees what leaves: a datagram to an address that nobody has (RFC 5737)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"?", ("203.0.113.1", 53))
