"""`threatcloud serve`: gunicorn around the application, with one serving process."""

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from app.config import Config, ConfigError, ServerOptions
from app.signing.keys import SigningKeys
from app.storage import Storage
from app.web.logs import configure_logging
from app.web.supervision.locking import take_lock
from app.web.supervision.notify import Supervisor, more_time
from app.web.supervision.sockets import control_socket, sockets_are_passed

log = logging.getLogger(__name__)

LOCK_SECONDS = 2.0
"""How long a start waits for a command that has the state folder."""
SUPERVISED_LOCK_SECONDS = 600.0
"""The same where nobody waits at a terminal: connections wait for us, and giving up would only start us again."""
STOP_SECONDS = 30
"""What stopping may take beyond the time that running requests have."""
KEEPALIVE_SECONDS = 5
"""Idle connections end after this, so a reload never waits longer for one (measured: gunicorn waits for all)."""


class QuietLogger(Logger):  # type: ignore[misc]
    """gunicorn's messages through the product's own logging."""

    def setup(self, cfg: Any) -> None:  # noqa: ARG002 (gunicorn's signature)
        """Hand everything to the root logger instead of formatting it here."""
        self.error_log.handlers = []
        self.error_log.propagate = True
        self.error_log.setLevel(logging.NOTSET)
        # Requests are logged by the edge; without this gunicorn asks itself again for each one.
        self._access_log_enabled = False


class Main(Arbiter):  # type: ignore[misc]
    """gunicorn's main process, which also tells the service manager that it stops."""

    def stop(self, graceful: bool = True) -> None:
        """End the serving process."""
        seconds = self.cfg.graceful_timeout + STOP_SECONDS
        self.app.supervisor.tell("STOPPING=1", "STATUS=Finishing running requests", more_time(seconds))
        super().stop(graceful)


class Server(BaseApplication):  # type: ignore[misc]
    """The gunicorn application; `read_config` is called again for each reload (SIGHUP)."""

    def __init__(self, read_config: Callable[[], Config], supervisor: Supervisor) -> None:
        self._read_config = read_config
        self.config = read_config()
        self.supervisor = supervisor
        super().__init__()

    def run(self) -> None:
        """Serve until stopped."""
        Main(self).run()

    def load_config(self) -> None:
        """Tell gunicorn where to listen and how to treat connections."""
        server = self.config.server
        host = f"[{server.host}]" if ":" in server.host else server.host
        settings = {
            "bind": [f"{host}:{server.port}", f"unix:{control_socket(self.config.state_dir)}"],
            # The control socket may be opened by its owner (and root) only.
            "umask": 0o077,
            "workers": 1,
            "worker_class": "app.web.worker.PatientWorker",
            "asgi_loop": "uvloop",
            "asgi_lifespan": "on",
            "keepalive": KEEPALIVE_SECONDS,
            "timeout": 120,
            "graceful_timeout": server.graceful_seconds,
            "limit_request_line": 8190,
            "limit_request_fields": 100,
            "limit_request_field_size": 8190,
            "worker_connections": 20_000,
            "backlog": 4096,
            "logger_class": QuietLogger,
            "control_socket_disable": True,
            "http_protocols": "h1",
            # X-Forwarded-For is ours to read (`access.trusted_proxies`); gunicorn trusts nobody.
            "forwarded_allow_ips": "",
            "proc_name": "threatcloud",
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Build the application, in the worker."""
        from app.web.application import create_application  # noqa: PLC0415 (the master never needs it)

        return create_application(self.config, supervisor=self.supervisor)

    def reload(self) -> None:
        """Read the configuration again; a broken one is reported and the running one stays.

        gunicorn starts a new serving process in either case, which says when it is ready.
        """
        self.supervisor.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = self._read_config()
            _refuse_moving(self.config, config)
        except ConfigError as error:
            for mistake in error.errors:
                log.error("configuration not reloaded: %s", mistake)  # noqa: TRY400 (the sentence says it all)
            return
        self.config = config
        configure_logging(config.log.level)
        super().reload()


def _refuse_moving(old: Config, new: Config) -> None:
    """Return a reload keeps the sockets and the lock, so what they stand on can change at a restart only."""
    errors = [
        f"server.{name}: takes a restart, a reload cannot change it"
        for name in ("host", "port", "state_dir")
        if getattr(new.server, name) != getattr(old.server, name)
    ]
    if errors:
        raise ConfigError(errors)


def serve(read_config: Callable[[], Config]) -> None:
    """Run until stopped.

    Raises what would keep the application from starting: `ConfigError`, `StorageError` (`AlreadyRunning` when
    the state folder is in use), `SigningKeyError`.
    """
    # gunicorn says READY before any worker exists; the serving process says it itself when it is.
    supervisor = Supervisor.take(os.environ, os.getpid())
    server = Server(read_config, supervisor)
    configure_logging(server.config.log.level)
    prepare_state_dir(server.config.state_dir)
    are_passed = sockets_are_passed(server.config)
    with supervisor.patient("Opening the database"):
        wait_seconds = SUPERVISED_LOCK_SECONDS if supervisor.listens else LOCK_SECONDS
        asyncio.run(_try_state_dir(server.config.state_dir, wait_seconds))
    if not are_passed:
        _try_address(server.config.server)
    sys.argv[0] = "threatcloud"
    server.run()


def _try_address(server: ServerOptions) -> None:
    """Bind once what gunicorn will bind: it tries five times before it says in its own words that it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(
            [f"server.port: cannot listen on {server.host}:{server.port}: {error.strerror}"]
        ) from error


async def _try_state_dir(state_dir: Path, wait_seconds: float) -> None:
    """Open once what the worker will open: here a failure is one sentence, there it is a traceback in the log."""
    lock = await take_lock(state_dir, "threatcloud serve, starting", wait_seconds)
    try:
        await Storage(state_dir).close()
        SigningKeys.open(state_dir, datetime.now(UTC))
    finally:
        lock.release()


def prepare_state_dir(state_dir: Path) -> None:
    """Create the state folder for its owner only, as everything in it; raises `ConfigError` when that cannot be."""
    os.umask(0o077)
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigError([f"server.state_dir: {state_dir} is not writable by this user"])
    except OSError as error:
        raise ConfigError([f"server.state_dir: {state_dir} cannot be used: {error.strerror}"]) from error
