"""JavaScript's escapes and character sets, as `js_parser` needs them."""

import re
from functools import lru_cache

from app.rules.redos.js_tree import CharSet, PatternSyntaxError, Text

NAME = r"[A-Za-z_$][A-Za-z0-9_$]*"
ESCAPE = r"x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|c[A-Za-z]|[0-9]+"
UNICODE_ESCAPE = rf"u\{{[0-9a-fA-F]+\}}|[pP]\{{[A-Za-z_=]+\}}|{ESCAPE}"

_ITEM = re.compile(rf"\\(?:{ESCAPE}|.)|.", re.DOTALL)
_UNICODE_ITEM = re.compile(rf"\\(?:{UNICODE_ESCAPE}|.)|.", re.DOTALL)
_PROPERTY = re.compile(
    "L[ultmo]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cf]?|Any|ASCII|Alphabetic|Emoji|White_Space|"
    "(?:Script|sc)=(?:Latin|Cyrillic|Greek|Arabic|Hebrew|Han|Hiragana|Katakana|Hangul|Thai|Devanagari)"
)
_CONTROL_LETTERS = {"t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r"}
_UNICODE_IDENTITY = frozenset("^$\\.*+?()[]{}|/")
_OCTAL = re.compile(r"[0-3][0-7]{0,2}|[4-7][0-7]?")


def read_escape(item: str, *, unicode: bool, in_set: bool = False) -> Text | CharSet:  # noqa: PLR0911
    r"""Return the character or class that an escape denotes; anchors (`\b`) and backreferences are read elsewhere."""
    letter = item[1]
    if letter in "dDwWsS":
        return CharSet(False, (), letter)
    if letter in _CONTROL_LETTERS:
        return Text(_CONTROL_LETTERS[letter])
    if letter in "xu" and len(item) > 2:
        digits = item[2:].strip("{}").lstrip("0")
        code = int(digits or "0", 16) if len(digits) <= 6 else 0x110000
        if code > 0x10FFFF:
            raise PatternSyntaxError(f"has {item[:14]}, beyond the last character")
        return Text(chr(code))
    if letter == "c" and len(item) > 2:
        return Text(chr(ord(item[2]) % 32))
    if letter in "pP" and len(item) > 2:
        if not _PROPERTY.fullmatch(item[3:-1]):
            raise PatternSyntaxError(f"has {item[:40]}, a character property that is not known here")
        return CharSet(letter == "P", (), "p")
    if letter.isascii() and letter.isdigit() and not unicode:
        return Text(legacy_digits(item[1:]))
    if item == "\\0":
        return Text("\0")
    if unicode and letter not in _UNICODE_IDENTITY and not (in_set and letter == "-"):
        raise PatternSyntaxError(f"has {item[:8]}, which JavaScript's unicode mode refuses")
    return Text("\\c" if letter == "c" else item[1:])  # Annex B reads \c without a letter as two characters


def legacy_digits(digits: str) -> str:
    """Read digits after a backslash as Annex B does: up to three octal digits, the rest stands for itself."""
    octal = _OCTAL.match(digits)
    return chr(int(octal.group(), 8)) + digits[octal.end() :] if octal else digits


@lru_cache(maxsize=4096)
def read_set(item: str, *, unicode: bool) -> CharSet:
    """Read `[...]`; raises `PatternSyntaxError` for a range that JavaScript refuses."""
    negated = item[1] == "^"
    found = (_UNICODE_ITEM if unicode else _ITEM).findall(item, 2 if negated else 1, len(item) - 1)
    parts = [part for item in found for part in _set_item(item, unicode)]
    ranges: list[tuple[str, str]] = []
    classes = ""
    index = 0
    while index < len(parts):
        is_range = index + 2 < len(parts) and parts[index + 1] is _HYPHEN
        first, last = parts[index], parts[index + 2] if is_range else parts[index]
        if isinstance(first, Text) and isinstance(last, Text):
            if last.text < first.text:
                raise PatternSyntaxError(f"has the range {first.text!a}-{last.text!a} out of order")
            ranges.append((first.text, last.text))
        else:  # \w-z: outside unicode mode a class, a hyphen and a character
            if is_range and unicode:
                raise PatternSyntaxError(
                    "has a class at the end of a range, which JavaScript's unicode mode refuses"
                )
            for part in (first, _HYPHEN, last) if is_range else (first,):
                if isinstance(part, Text):
                    ranges.append((part.text, part.text))
                else:
                    classes += part.classes
        index += 3 if is_range else 1
    return CharSet(negated, tuple(ranges), classes)


_HYPHEN = Text("-")  # a bare one; compared by identity, since \- stands for the same character


def _set_item(item: str, unicode: bool) -> list[Text | CharSet]:
    """Return the parts of one item of a set: one character each, or a class."""
    if len(item) == 1:
        return [_HYPHEN if item == "-" else Text(item)]
    if item[1] == "b":
        return [Text("\b")]
    part = read_escape(item, unicode=unicode, in_set=True)
    if isinstance(part, CharSet):
        return [part]
    return [Text(char) for char in part.text]
