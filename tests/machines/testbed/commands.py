"""Running a command, with an error that says what went wrong."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class Failed(AssertionError):
    """A command that ended with another status than 0, or too late."""


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a command."""

    command: str
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Its standard output without the last line break."""
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
    """Run a command to its end. Raise Failed if the status is not 0 (unless `check` is off) or the time is over."""
    shown = shown or " ".join(command)
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout, env=env, cwd=cwd, check=False
        )
    except subprocess.TimeoutExpired as late:
        parts = (late.stdout or b"", late.stderr or b"")
        output = b"\n".join(parts).decode(errors="replace")
        raise Failed(f"still running after {timeout} s: {shown}\n{output}") from late
    result = Done(
        shown, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
    if check and result.code != 0:
        raise Failed(f"status {result.code}: {shown}\n{result.out}{result.err}")
    return result
