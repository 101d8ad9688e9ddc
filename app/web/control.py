"""Where the control socket is."""

import os
from pathlib import Path

from app.config import ConfigError

NAME = "control.sock"
MAX_BYTES = 107
"""The kernel's limit for the path of a unix socket."""


def control_socket(state_dir: Path) -> str:
    """The shortest path to `<state>/control.sock`; raises `ConfigError` when even that is too long."""
    absolute = str(state_dir / NAME)
    path = min(absolute, os.path.relpath(absolute), key=len)
    if len(os.fsencode(path)) > MAX_BYTES:
        raise ConfigError(
            [f"server.state_dir: {state_dir} is too long for a control socket in it; choose a shorter path"]
        )
    return path
