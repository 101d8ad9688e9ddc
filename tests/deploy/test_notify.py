"""What the server tells the service manager, and when it falls silent."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.publication.publisher import Publisher
from app.storage import Storage
from app.web.supervision.notify import Supervisor, watch
from tests.deploy.manager import Channel, channel, children, environment
from tests.example_rules import rule_text
from tests.server import Server


class TestSupervisor:
    def test_it_takes_its_words_out_of_the_environment(self) -> None:
        environ = {
            "NOTIFY_SOCKET": "/run/x",
            "WATCHDOG_USEC": "30000000",
            "WATCHDOG_PID": "7",
            "PATH": "/bin",
        }
        supervisor = Supervisor.take(environ, 7)
        assert environ == {"PATH": "/bin"}
        assert (supervisor.listens, supervisor.watchdog_seconds) == (True, 30.0)

    @pytest.mark.parametrize(
        "changed",
        [{"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": ""}, {"WATCHDOG_PID": "8"}],
        ids=str,
    )
    def test_a_watchdog_that_is_off_or_not_ours(self, changed: dict[str, str]) -> None:
        environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"} | changed
        assert Supervisor.take(environ, 7).watchdog_seconds is None

    @pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
    def test_without_an_address_that_it_knows_there_is_nobody(self, address: str) -> None:
        supervisor = Supervisor.take({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}, 7)
        assert not supervisor.listens
        assert supervisor.watchdog_seconds is None
        assert supervisor.tell("READY=1")

    @pytest.mark.parametrize("kind", ["path", "abstract"])
    def test_fields_arrive_in_one_message(self, kind: str, tmp_path: Path) -> None:
        name = str(tmp_path / "notify") if kind == "path" else f"@threatcloud-test-{os.getpid()}"
        with channel(name) as manager:
            assert Supervisor(name).tell("READY=1", "STATUS=Here")
            assert manager.until("READY") == {"READY": "1", "STATUS": "Here"}

    def test_a_manager_that_is_gone_is_no_reason_to_end(self, tmp_path: Path) -> None:
        assert not Supervisor(str(tmp_path / "nobody")).tell("READY=1")

    def test_patience_asks_at_once_and_ends_with_its_block(self, tmp_path: Path) -> None:
        with channel(str(tmp_path / "notify")) as manager:
            with Supervisor(manager.name).patient("Opening the database"):
                asked = manager.until("EXTEND_TIMEOUT_USEC")
            assert asked == {"STATUS": "Opening the database", "EXTEND_TIMEOUT_USEC": "60000000"}
            assert not any(thread.name == "patience" for thread in threading.enumerate())


class Steps:
    """A clock that the test moves: each `pause` waits for the test's next step."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[float] = asyncio.Queue()
        self._step = asyncio.Semaphore(0)

    async def pause(self, seconds: float) -> None:
        self._asked.put_nowait(seconds)
        await self._step.acquire()

    async def next(self) -> float:
        """Let the pause end, and wait for the one after it."""
        self._step.release()
        return await self.begun()

    async def begun(self) -> float:
        """Wait for a pause; returns how long it was to be."""
        return await asyncio.wait_for(self._asked.get(), 10)


class Served:
    serial = 17


class Publications:
    """As much of a publisher as is looked at."""

    served: Served | None = None


async def watched(
    folder: Path,
    test: "Callable[[Storage, Publications, Steps, Channel], object]",
    seconds: float | None = 30,
) -> None:
    """Run a coroutine function against a watch over a real database."""
    storage, published, steps = Storage(folder), Publications(), Steps()
    with channel(str(folder / "notify")) as manager:
        supervisor = Supervisor(manager.name, seconds)
        publisher: Publisher = published  # type: ignore[assignment]
        task = asyncio.create_task(watch(supervisor, storage, publisher, steps.pause))
        try:
            await test(storage, published, steps, manager)  # type: ignore[misc]
        finally:
            task.cancel()
            await storage.close()


class TestWatch:
    def test_ready_waits_for_the_first_publication(self, tmp_path: Path) -> None:
        async def test(storage: Storage, published: Publications, steps: Steps, manager: Channel) -> None:
            await steps.begun()
            assert await steps.next() < 1
            assert manager.waiting() == [{"STATUS": "Building the first publication"}]
            published.served = Served()
            assert await steps.next() == 10.0, "a third of the watchdog's time"
            assert manager.waiting() == [{"STATUS": "Serving publication 17", "READY": "1", "WATCHDOG": "1"}]
            await steps.next()
            assert manager.waiting() == [{"WATCHDOG": "1"}]

        asyncio.run(watched(tmp_path, test))

    def test_a_full_disk_is_not_ready_and_yet_alive(self, tmp_path: Path) -> None:
        async def test(storage: Storage, published: Publications, steps: Steps, manager: Channel) -> None:
            await steps.begun()
            await storage.write(lambda db: db.execute("PRAGMA query_only = 1"))
            published.served = Served()
            await steps.next()
            _, first = manager.waiting()
            assert first["WATCHDOG"] == "1"
            assert "does not take writes" in first["STATUS"]
            assert "READY" not in first

            storage._db.conn.execute("PRAGMA query_only = 0")
            await steps.next()
            assert manager.waiting()[0]["READY"] == "1"
            storage._db.conn.execute("PRAGMA query_only = 1")
            await steps.next()
            (later,) = manager.waiting()
            assert later["WATCHDOG"] == "1"
            assert "does not take writes" in later["STATUS"]

        asyncio.run(watched(tmp_path, test))

    @pytest.mark.parametrize("stuck", ["writer", "readers"])
    def test_a_database_that_does_not_answer_is_silence(self, stuck: str, tmp_path: Path) -> None:
        async def test(storage: Storage, published: Publications, steps: Steps, manager: Channel) -> None:
            await steps.begun()
            published.served = Served()
            await steps.next()
            assert manager.waiting()[-1]["READY"] == "1"

            release = threading.Event()
            if stuck == "writer":
                works = [asyncio.create_task(storage.write(lambda db: release.wait(30)))]
            else:
                works = [asyncio.create_task(storage.read(lambda db: release.wait(30))) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(steps.next(), 0.5)
            assert manager.waiting() == []
            release.set()
            await asyncio.gather(*works)
            await steps.begun()
            assert manager.waiting() == [{"WATCHDOG": "1"}]

        asyncio.run(watched(tmp_path, test))

    def test_without_a_watchdog_only_news_are_told(self, tmp_path: Path) -> None:
        async def test(storage: Storage, published: Publications, steps: Steps, manager: Channel) -> None:
            await steps.begun()
            published.served = Served()
            await steps.next()
            assert manager.waiting() == [
                {"STATUS": "Building the first publication"},
                {"STATUS": "Serving publication 17", "READY": "1"},
            ]
            await steps.next()
            assert manager.waiting() == []

        asyncio.run(watched(tmp_path, test, seconds=None))


def test_a_server_from_start_to_stop(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with channel(str(tmp_path / "notify")) as manager:
        server.environ |= {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "600000"}
        server.start(wait=False)
        try:
            assert server.process is not None
            manager.until("READY")
            assert httpx.get(f"{server.url}/ready").status_code == 200
            manager.until("WATCHDOG")
            said = [message.get("STATUS") for message in manager.messages]
            assert said[0] == "Opening the database"
            assert "Serving publication 1" in said

            os.kill(server.process.pid, signal.SIGHUP)
            assert int(manager.until("RELOADING")["MONOTONIC_USEC"]) > 0
            manager.until("READY")

            # A rule is looked at in a child process, which stays a while.
            (tmp_path / "rule.yaml").write_text(rule_text("ATR-2026-95001"))
            server.cli("rule", "import", str(tmp_path / "rule.yaml"))
            sandboxes = [sandbox for worker in children(server.process.pid) for sandbox in children(worker)]
            assert sandboxes
            for sandbox in sandboxes:
                assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & environment(sandbox).keys()
            manager.until("STATUS")
            assert manager.messages[-1]["STATUS"] == "Serving publication 2"

            server.process.terminate()
            assert manager.until("STOPPING")["EXTEND_TIMEOUT_USEC"] == "60000000"
            assert server.process.wait(40) == 0
        finally:
            server.kill()


def test_a_worker_that_hangs_falls_silent(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with channel(str(tmp_path / "notify")) as manager:
        server.environ |= {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "300000"}
        server.start(wait=False)
        try:
            manager.until("READY")
            assert server.process is not None
            (worker,) = children(server.process.pid)
            os.kill(worker, signal.SIGSTOP)
            manager.waiting()
            with pytest.raises(TimeoutError):
                manager.until("WATCHDOG", seconds=1)
            os.kill(worker, signal.SIGCONT)
            manager.until("WATCHDOG")
        finally:
            server.kill()
