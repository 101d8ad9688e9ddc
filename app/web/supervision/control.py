"""Where the control socket is."""

import os
from pathlib import Path

from app.config import ConfigError

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
