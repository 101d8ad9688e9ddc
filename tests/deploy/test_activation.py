"""The server on sockets that somebody else holds: restarts refuse nobody, and verbs start nobody."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest

from app.cli.instance import connected
from app.config import load_config
from app.storage.lock import ProcessLock
from tests.deploy.manager import Activated, connections_waiting, unix_listener
from tests.flows.fleet import eventually
from tests.web.conftest import UNLIMITED


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Activated]:
    """Its sockets are open, and it was not started yet."""
    server = Activated(tmp_path, **UNLIMITED)
    yield server
    server.__exit__()


@pytest.fixture
def server(stopped: Activated) -> Activated:
    return stopped.start()


def stop(server: Activated) -> None:
    assert server.stop() == 0


class TestVerbs:
    def test_beside_a_running_server_they_go_through_the_control_socket(self, server: Activated) -> None:
        server.cli("key", "issue", "--role", "agent", "--subject", "host-1")
        with server.admin as admin:
            assert "host-1" in admin.get("/api/admin/keys").text
        eventually(lambda: '"address":"local"' in server.log.read_text(), "the line of the access log")

    def test_beside_a_stopped_server_nobody_connects(self, server: Activated) -> None:
        stop(server)
        assert server.cli_json("publication", "list")
        assert connections_waiting(server.control) == 0

    def test_beside_another_verb_they_wait_for_it_and_connect_to_nobody(self, server: Activated) -> None:
        stop(server)
        config = load_config(server.config, server.environ)

        async def list_keys() -> None:
            async with connected(config) as instance:
                await instance.call("GET", "/api/admin/keys")

        async def two() -> None:
            with ProcessLock(server.state_dir, "a threatcloud command"):
                second = asyncio.create_task(list_keys())
                await asyncio.sleep(0.3)  # it looks at the lock every 0.05 s
                assert not second.done()
            await asyncio.wait_for(second, 30)

        asyncio.run(two())
        assert connections_waiting(server.control) == 0

    def test_the_sockets_outlive_a_stop(self, server: Activated) -> None:
        stop(server)
        path = server.state_dir / "control.sock"
        assert path.is_socket()
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.create_connection(("127.0.0.1", server.port)) as waiting:
            waiting.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            server.start()
            assert waiting.recv(12) == b"HTTP/1.1 200"


class TestMistakes:
    """Each is one sentence, and nothing listens where the configuration does not say so."""

    def refusal(self, server: Activated) -> str:
        server.start(wait=False)
        assert server.process is not None
        assert server.process.wait(30) == 2
        text = server.log.read_text()
        assert "Traceback" not in text
        return text

    def test_another_port(self, stopped: Activated) -> None:
        stopped.environ["THREATCLOUD_PORT"] = "9"
        assert f"listens on 127.0.0.1:{stopped.port}, not on 127.0.0.1:9;" in self.refusal(stopped)

    def test_no_control_socket(self, stopped: Activated) -> None:
        stopped.sockets.remove(stopped.control)
        assert "no unix socket" in self.refusal(stopped)

    def test_no_address(self, stopped: Activated) -> None:
        stopped.sockets.remove(stopped.address)
        assert "no TCP socket" in self.refusal(stopped)

    def test_a_second_way_in_for_admins(self, stopped: Activated) -> None:
        stopped.sockets.append(unix_listener(stopped.folder / "other.sock", 0o600))
        assert "control.sock alone" in self.refusal(stopped)

    def test_a_control_socket_for_everybody(self, stopped: Activated) -> None:
        (stopped.state_dir / "control.sock").chmod(0o660)
        assert "has mode 0660; set SocketMode=0600" in self.refusal(stopped)

    def test_something_that_is_no_stream(self, stopped: Activated) -> None:
        stopped.sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        assert "is no stream socket" in self.refusal(stopped)

    def test_a_further_address_is_welcome(self, stopped: Activated) -> None:
        further = socket.create_server(("127.0.0.1", 0))
        stopped.sockets.append(further)
        stopped.start()
        port = further.getsockname()[1]
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


class Pollers:
    """Threads that ask again and again, each time on a connection of its own; whatever goes wrong is kept."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._poll) for _ in range(count)]
        self.answers = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _poll(self) -> None:
        while not self._done.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            try:
                connection.request("GET", "/ready")
                status = connection.getresponse().status
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                continue
            finally:
                connection.close()
            if status != 200:
                self.failures.append(f"status {status}")
            self.answers += 1

    def go_on_for(self, answers: int) -> None:
        """Wait for that many more answers, or for a failure."""
        goal = self.answers + answers
        while self.answers < goal and not self.failures:
            self._done.wait(0.01)


def test_restarts_under_load_refuse_nobody(server: Activated) -> None:
    with Pollers(server.port, 4) as pollers:
        for _ in range(3):
            pollers.go_on_for(100)
            stop(server)
            server.start()
        pollers.go_on_for(100)
    assert pollers.failures == []


def test_who_has_just_connected_is_still_answered(server: Activated) -> None:
    """A server that stops closes idle connections, but one that is about to ask for the first time could not know."""
    request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as idle,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as new,
    ):
        idle.sendall(request)
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        assert server.process is not None
        server.process.terminate()
        assert idle.recv(4096) == b"", "it is closed when the server begins to stop"
        new.sendall(request)
        answer = new.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"Connection: close" in answer
    assert server.process.wait(40) == 0
