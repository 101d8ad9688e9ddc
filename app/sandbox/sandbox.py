"""A sandbox: one child process that runs our functions on untrusted data, and is killed when they take too long.

Calls that arrive while the child is busy go to it together in the next frame, so the cost of the pipe is shared
exactly when there is load (the same idea as the writer's group commit).
"""

import asyncio
import contextlib
import ctypes
import functools
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, get_type_hints

import msgspec

from app.sandbox.frames import ANSWERS, LENGTH_BYTES, Answer, Call, frame

P = ParamSpec("P")
R = TypeVar("R")
MAX_CALLS = 16
IDLE_SECONDS = 30.0
START_SECONDS = 30.0
"""How long a child may take to start, which says nothing about the work: 0.3 s, and many times that on a machine
that has much else to do."""


class SandboxError(Exception):
    """The work failed in the child; the message says how."""


class SandboxClosed(SandboxError):
    """The sandbox was closed before the work was done, so nothing is known about it."""


class SandboxTimeout(SandboxError):
    """The work did not end within the sandbox's deadline, so its process was killed."""


@dataclass(slots=True, eq=False)
class _Waiting:
    call: Call
    future: "asyncio.Future[Any]"


@dataclass(slots=True)
class Sandbox:
    """Runs functions in one child process, started when first needed and again after it died.

    `deadline` is in seconds and counts per call, from when the child is ready; `memory_mib` bounds the child's
    address space.
    """

    deadline: float
    memory_mib: int = 1024
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _child: asyncio.subprocess.Process | None = None
    _rest: asyncio.TimerHandle | None = None
    _task: "asyncio.Task[None] | None" = None

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function(*args)` in the child; arguments and result must be what msgpack can carry.

        Raises `SandboxTimeout` past the deadline, `SandboxError` when the function raised or its process died.
        """
        if kwargs:
            raise TypeError("a sandbox takes positional arguments only")
        name = f"{function.__module__}:{function.__name__}"
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(Call(name, list(args)), future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        answer: Answer = await future
        if answer.error is not None:
            raise SandboxError(answer.error)
        result: R = _result_decoder(function).decode(answer.value)
        return result

    async def close(self) -> None:
        """End the child and fail whatever still waits."""
        if self._rest is not None:
            self._rest.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._kill()
        while self._waiting:
            _fail(self._waiting.popleft(), SandboxClosed("the sandbox was closed"))

    async def _drain(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(MAX_CALLS, len(self._waiting)))]
            try:
                await self._run(group)
            except asyncio.CancelledError:
                for waiting in group:
                    _fail(waiting, SandboxClosed("the sandbox was closed"))
                raise
        self._rest = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._rest_now)

    def _rest_now(self) -> None:
        """End an idle child: it uses some 40 MB, and starting another takes a tenth of a second."""
        if self._child is not None and self._child.stdin is not None and not self._waiting:
            self._child.stdin.close()
            self._child = None

    async def _run(self, group: list[_Waiting]) -> None:
        try:
            child = await asyncio.wait_for(
                self._ready({waiting.call.function for waiting in group}), START_SECONDS
            )
            answers = await asyncio.wait_for(_exchange(child, group), self.deadline * len(group))
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            await self._kill()
            if len(group) > 1:
                # One of them is the culprit; alone, each gets its own deadline and its own verdict.
                for waiting in group:
                    await self._run([waiting])
            elif isinstance(error, TimeoutError):
                _fail(group[0], SandboxTimeout(f"it did not end within {self.deadline:g} s"))
            else:
                _fail(group[0], SandboxError("its process died"))
            return
        for waiting, answer in zip(group, answers, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(answer)

    async def _ready(self, functions: set[str]) -> asyncio.subprocess.Process:
        """Return the child, started if necessary; a new one has imported these functions."""
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "app.sandbox.child",
                str(self.memory_mib),
                *functions,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 20,
            )
            await _read(self._child)
        return self._child

    async def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def _exchange(child: asyncio.subprocess.Process, group: list[_Waiting]) -> list[Answer]:
    assert child.stdin is not None  # noqa: S101 (it is a pipe)
    child.stdin.write(frame([waiting.call for waiting in group]))
    await child.stdin.drain()
    return await _read(child)


async def _read(child: asyncio.subprocess.Process) -> list[Answer]:
    assert child.stdout is not None  # noqa: S101 (it is a pipe)
    length = int.from_bytes(await child.stdout.readexactly(LENGTH_BYTES), "big")
    return ANSWERS.decode(await child.stdout.readexactly(length))


@functools.cache
def _result_decoder(function: Callable[..., R]) -> msgspec.msgpack.Decoder[R]:
    return msgspec.msgpack.Decoder(get_type_hints(function)["return"])


def _fail(waiting: _Waiting, error: SandboxError) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)


def give_back_memory() -> None:
    """Return freed memory to the operating system, where the C library can (glibc; elsewhere it does so itself).

    Measured: importing 785 rules left 110 MB more resident than serving them needs. Collecting cycles first freed
    nothing more, and delayed every poll by 50 ms.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
