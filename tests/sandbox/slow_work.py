"""A function for a sandbox's child to run, in a module that takes long to import."""

import time

time.sleep(1)


def echo(text: str) -> str:
    return text
