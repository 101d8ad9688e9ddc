"""Run a command and say clearly what went wrong."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class Failed(AssertionError):
    """A command ended with another status than 0."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    command: str
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """What it printed on standard output, without the last line break."""
        return self.out.rstrip("\n")


def run(
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    check: bool = True,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    shown: str = "",
) -> Done:
    """Run to the end. Raises Failed when the status is not 0 (unless `check` is off) or the time is over."""
    shown = shown or " ".join(command)
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout, env=env, cwd=cwd, check=False
        )
    except subprocess.TimeoutExpired as late:
        parts = (late.stdout or b"", late.stderr or b"")
        heard = b"\n".join(parts).decode(errors="replace")
        raise Failed(f"still running after {timeout} s: {shown}\n{heard}") from late
    result = Done(
        shown, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
    if check and result.code != 0:
        raise Failed(f"status {result.code}: {shown}\n{result.out}{result.err}")
    return result
