"""Functions for a sandbox's child to run: some well-behaved, some not."""

import os
from collections.abc import Callable

Function = Callable[[str], str]


def echo(text: str) -> str:
    return text


def spin(text: str) -> str:
    while True:
        text = text.swapcase()


def eat_memory(text: str) -> str:
    hoard = [bytearray(50_000_000) for _ in range(100)]
    return text + str(len(hoard))


def die(text: str) -> str:
    os._exit(9)


def fail(text: str) -> str:
    raise LookupError(text)


def unsendable(text: str) -> str:
    return text + "\ud800"
