"""Compile detection patterns: RE2 where it can, else the standard library's engine, else `regex`.

RE2 runs in time linear in the text and is safe for untrusted patterns and untrusted texts alike. It lacks look-around
and backreferences; 139 of the 3,353 published conditions need the fallbacks, which backtrack. A pattern whose
`engine` is not "re2" must only run inside a child process that can be killed: one published pattern needs 16 s for
180 characters in a backtracking engine.
"""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import re2
import regex

from app.rules.errors import PatternError

Engine = Literal["re2", "re", "regex"]

MAX_PATTERN_CHARS = 4_096
"""Longest pattern accepted (published: 2,213 characters)."""

_LEADING_FLAGS = re.compile(r"\(\?([imsx]+)\)")
_JS_ESCAPE = re.compile(r"\\u\{([0-9a-fA-F]{1,6})\}|\\u([0-9a-fA-F]{4})|\\(?:.|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A pattern ready to run. `search(text)` says whether it matches anywhere in `text`, case ignored.

    With `engine` other than "re2" a search can take exponential time: run it only in a killable process.
    """

    engine: Engine
    search: Callable[[str], bool]


def split_flags(pattern: str) -> tuple[str, str]:
    """Split a leading `(?ims)` off: the flags other than i, sorted and without repeats, and the rest."""
    found = _LEADING_FLAGS.match(pattern)
    if not found:
        return "", pattern
    return "".join(sorted(set(found.group(1)) - {"i"})), pattern[found.end() :]


def compile_pattern(pattern: str) -> Compiled:
    r"""Compile a pattern the way ATR engines read it: case ignored, `\u0041` and `\u{41}` meaning that character.

    Raises `PatternError` when no engine takes it or it is longer than `MAX_PATTERN_CHARS`.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise PatternError(f"has {len(pattern)} characters; shorten it to at most {MAX_PATTERN_CHARS}")
    flags, body = split_flags(pattern)
    try:
        linear = re2.compile(
            f"(?{flags}){_translate(body, _re2_escape)}" if flags else _translate(body, _re2_escape),
            _re2_options(),
        )
    except re2.error:
        return _backtracking(f"(?i{flags}){_translate(body, _python_escape)}")
    except UnicodeError:
        raise PatternError("holds half of a surrogate pair; write the whole character") from None
    return Compiled("re2", lambda text: linear.search(text) is not None)


def _backtracking(pattern: str) -> Compiled:
    """Compile for the standard library's engine, or for `regex` (which takes variable-width look-behind)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "possible nested set": the patterns are not ours to rewrite
        try:
            plain = re.compile(pattern)
        except (re.error, OverflowError, RecursionError, ValueError):
            pass
        else:
            return Compiled("re", lambda text: plain.search(text) is not None)
        try:
            wide = regex.compile(pattern)
        except (regex.error, OverflowError, RecursionError, ValueError) as error:
            raise PatternError(f"does not compile: {error}") from None
    return Compiled("regex", lambda text: wide.search(text) is not None)


def _translate(pattern: str, spell: Callable[[int], str]) -> str:
    """Replace JavaScript's unicode escapes by `spell(code point)`."""
    if "\\u" not in pattern:
        return pattern

    def one(found: re.Match[str]) -> str:
        digits = found.group(1) or found.group(2)
        if digits is None:
            return found.group()
        code = int(digits, 16)
        return found.group() if code > 0x10FFFF else spell(code)

    return _JS_ESCAPE.sub(one, pattern)


def _re2_escape(code: int) -> str:
    return f"\\x{{{code:x}}}"


def _python_escape(code: int) -> str:
    return f"\\U{code:08x}"


@cache
def _re2_options() -> re2.Options:
    """Ignore case, as all ATR engines do, and keep quiet about patterns that need a fallback."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    return options
