"""Network namespaces without names: they vanish with the process, so that nothing is ever left behind."""

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.needs import lacking, need_program, need_root

NEW_NETWORK = 0x40000000  # CLONE_NEWNET
EVERY_PROTOCOL = 3  # ETH_P_ALL
RECEIVE_BUFFER_FORCE = 33  # SO_RCVBUFFORCE
PACKET_LEVEL, PACKET_STATISTICS = 263, 6  # SOL_PACKET
SERVER_ADDRESS = "198.51.100.1"
PEER_ADDRESS = "198.51.100.2"
"""Both ends of the cable, from the block for documentation (RFC 5737)."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet as it was seen: the interface, what it carries, and where it goes."""

    interface: str
    protocol: str
    source: tuple[str, int]
    target: tuple[str, int]


class Namespace:
    """A network of its own; `inside` moves the calling thread, and the processes that it starts, into it."""

    def __init__(self) -> None:
        with Path("/proc/thread-self/ns/net").open() as home:
            _check(_libc.unshare(NEW_NETWORK), "a network namespace")
            self._file = Path("/proc/thread-self/ns/net").open()  # noqa: SIM115 - it keeps the namespace alive
            _check(_libc.setns(home.fileno(), NEW_NETWORK), "a network namespace")
        self.path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        with self.inside():
            for family in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{family}/disable_ipv6").write_text("1")
            _ip("link", "set", "lo", "up")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Everything that this thread opens or starts in here belongs to the namespace."""
        with Path("/proc/thread-self/ns/net").open() as home:
            _check(_libc.setns(self._file.fileno(), NEW_NETWORK), "a network namespace")
            try:
                yield
            finally:
                _check(_libc.setns(home.fileno(), NEW_NETWORK), "a network namespace")

    def close(self) -> None:
        """Let it go; it ends with the last process in it."""
        self._file.close()


@contextlib.contextmanager
def cabled() -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces with one cable between them and no way out; the first one sends everything through it."""
    need_root()
    need_program("ip")
    with contextlib.ExitStack() as stack:
        here, peer = Namespace(), Namespace()
        stack.callback(peer.close)
        stack.callback(here.close)
        with here.inside():
            _ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", peer.path)
            _ip("address", "add", f"{SERVER_ADDRESS}/24", "dev", "cable")
            _ip("link", "set", "cable", "up")
            _ip("route", "add", "default", "via", PEER_ADDRESS)
        with peer.inside():
            _ip("address", "add", f"{PEER_ADDRESS}/24", "dev", "cable")
            _ip("link", "set", "cable", "up")
        yield here, peer


class Recorder:
    """Sees every packet on every interface of a namespace, from now until the end of the block."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(EVERY_PROTOCOL))
        self._socket.setsockopt(socket.SOL_SOCKET, RECEIVE_BUFFER_FORCE, 1 << 24)
        self._socket.settimeout(0.2)
        self._packets: list[Packet] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._record)

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        lost = struct.unpack("II", self._socket.getsockopt(PACKET_LEVEL, PACKET_STATISTICS, 8))[1]
        self._socket.close()
        assert lost == 0, f"{lost} packets were not recorded"

    def seen(self) -> list[Packet]:
        """Every packet so far."""
        return list(self._packets)

    def _record(self) -> None:
        while True:
            try:
                content, (interface, kind, *_) = self._socket.recvfrom(65_535)
            except TimeoutError:
                if self._is_over.is_set():
                    return
                continue
            self._packets.append(_packet(content, interface, kind))


def _packet(content: bytes, interface: str, kind: int) -> Packet:
    if kind != 0x0800:
        name = {0x0806: "ARP", 0x86DD: "IPv6"}.get(kind, f"ethertype {kind:#06x}")
        return Packet(interface, name, ("", 0), ("", 0))
    length = (content[0] & 0x0F) * 4
    protocol = {1: "ICMP", 6: "TCP", 17: "UDP"}.get(content[9], f"IP protocol {content[9]}")
    ports = struct.unpack_from("!HH", content, length) if protocol in {"TCP", "UDP"} else (0, 0)
    source, target = (socket.inet_ntoa(content[start : start + 4]) for start in (12, 16))
    return Packet(interface, protocol, (source, ports[0]), (target, ports[1]))


def _ip(*words: str) -> None:
    done = subprocess.run([need_program("ip"), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        lacking(f"the right to set up a network (ip {' '.join(words)}: {done.stderr.strip()[:200]})")


def _check(result: int, what: str) -> None:
    if result:
        lacking(f"{what} ({os.strerror(ctypes.get_errno())})")
