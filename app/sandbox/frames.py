"""The wire between a sandbox and its child: length-prefixed msgpack frames on a pipe."""

from typing import Any

import msgspec

LENGTH_BYTES = 4


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One function call: `module:function` and its arguments as builtin types."""

    function: str
    args: list[Any]


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """Its outcome: `value`, still encoded, when `error` is None."""

    error: str | None
    value: msgspec.Raw


CALLS = msgspec.msgpack.Decoder(list[Call])
ANSWERS = msgspec.msgpack.Decoder(list[Answer])


def frame(message: Any) -> bytes:
    """Encode a message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body
