"""The child's main loop: read a frame of calls, run them, write a frame of answers; end with the pipe.

Started by `Sandbox` as `python -m app.sandbox.child MEMORY_MIB FUNCTION...`: it imports these functions and says with
a frame of no answers that it is ready.
"""

import contextlib
import importlib
import inspect
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, get_type_hints

import msgspec

from app.sandbox.frames import CALLS, LENGTH_BYTES, Answer, Call, frame

NOTHING = msgspec.Raw(msgspec.msgpack.encode(None))


def main() -> None:
    """Serve calls until standard input ends."""
    _restrict(int(sys.argv[1]))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    for function in sys.argv[2:]:
        with contextlib.suppress(Exception):  # it is the call's answer
            _resolve(function)
    _write(sink, [])
    while header := source.read(LENGTH_BYTES):
        calls = CALLS.decode(source.read(int.from_bytes(header, "big")))
        _write(sink, [_answer(call) for call in calls])


def _write(sink: BinaryIO, answers: list[Answer]) -> None:
    sink.write(frame(answers))
    sink.flush()


def _restrict(memory_mib: int) -> None:
    # The terminal's Ctrl-C is for the server, which closes this child's input when it has finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Serving comes first: without this the kernel lets a woken child preempt the server on a busy machine.
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = memory_mib * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(call: Call) -> Answer:
    """Run a call; its result is encoded here, so that one which cannot be sent fails alone."""
    try:
        function, types = _resolve(call.function)
        args = [msgspec.convert(arg, kind) for arg, kind in zip(call.args, types, strict=True)]
        return Answer(None, msgspec.Raw(msgspec.msgpack.encode(function(*args))))
    except MemoryError:
        return _failed("MemoryError: the work needs more memory than a sandbox has")
    except Exception as error:
        return _failed(f"{type(error).__name__}: {ascii(str(error))[1:-1]}")


def _failed(error: str) -> Answer:
    return Answer(error, NOTHING)


_resolved: dict[str, tuple[Callable[..., Any], list[Any]]] = {}


def _resolve(name: str) -> tuple[Callable[..., Any], list[Any]]:
    if name not in _resolved:
        module, _, attribute = name.partition(":")
        function = getattr(importlib.import_module(module), attribute)
        hints = get_type_hints(function)
        _resolved[name] = (
            function,
            [hints[parameter] for parameter in inspect.signature(function).parameters],
        )
    return _resolved[name]


if __name__ == "__main__":
    main()
