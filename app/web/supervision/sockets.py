"""Sockets: those that the service manager keeps across restarts, and the control socket.

The first come by sd_listen_fds(3).
"""

import os
import socket
import stat
from pathlib import Path
from typing import NoReturn

from gunicorn import systemd

from app.config import Config, ConfigError, ServerOptions


def sockets_are_passed(config: Config) -> bool:
    """Were we given sockets? gunicorn then listens on all of them, whatever the configuration says.

    Raises `ConfigError` unless they are the configured address and the control socket, which only its owner may
    open: a caller on a unix socket is an admin. Further TCP addresses are welcome.
    """
    count = systemd.listen_fds(unset_environment=False)
    if count == 0:
        return False
    os.environ.pop("LISTEN_FDNAMES", None)
    first = systemd.SD_LISTEN_FDS_START
    names = [_name(descriptor) for descriptor in range(first, first + count)]
    _check_address(config.server, [name for name in names if isinstance(name, tuple)])
    _check_control(config.state_dir / NAME, [name for name in names if isinstance(name, str)])
    return True


def _name(descriptor: int) -> str | tuple[str, int]:
    """Return a unix socket's path, or host and port."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as passed:
            is_stream = passed.type == socket.SOCK_STREAM
            name = passed.getsockname()
    except OSError as error:
        _refuse(f"server: descriptor {descriptor} is no socket ({error.strerror})")
    if not is_stream:
        _refuse(f"server: descriptor {descriptor} is no stream socket")
    return name if isinstance(name, str) else (name[0], name[1])


def _check_address(server: ServerOptions, found: list[tuple[str, int]]) -> None:
    try:
        infos = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        _refuse(f"server.host: {server.host} is no address: {error.strerror}")
    if not {info[4][:2] for info in infos} & set(found):
        given = ", ".join(f"{host}:{port}" for host, port in found) or "no TCP socket"
        _refuse(
            f"server.host, server.port: the service manager listens on {given}, not on {server.host}:{server.port};"
            " make ListenStream= of threatcloud.socket and the configuration agree"
        )


def _check_control(wanted: Path, found: list[str]) -> None:
    if [Path(name).resolve() for name in found] != [wanted.resolve()]:
        given = ", ".join(found) or "no unix socket"
        _refuse(
            f"server.state_dir: the service manager listens on {given}, and should on {wanted} alone;"
            " make ListenStream= of threatcloud.socket and the configuration agree"
        )
    mode = stat.S_IMODE(wanted.stat().st_mode)
    if mode & 0o077:
        _refuse(f"server.state_dir: {wanted} has mode {mode:04o}; set SocketMode=0600 in threatcloud.socket")


def _refuse(mistake: str) -> NoReturn:
    raise ConfigError([mistake])


NAME = "control.sock"
MAX_BYTES = 107
"""The kernel's limit for the path of a unix socket."""


def control_socket(state_dir: Path) -> str:
    """Return the path of `<state>/control.sock`, relative where the absolute one is too long for the kernel.

    A relative one is found only by who may enter the working folder. Raises `ConfigError` when that is too long too.
    """
    absolute = str((state_dir / NAME).absolute())
    path = absolute if len(os.fsencode(absolute)) <= MAX_BYTES else os.path.relpath(absolute)
    if len(os.fsencode(path)) > MAX_BYTES:
        raise ConfigError(
            [f"server.state_dir: {state_dir} is too long for a control socket in it; choose a shorter path"]
        )
    return path
