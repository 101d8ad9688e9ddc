import random
import re

import pytest

from app.rules.redos.js_parser import MAX_DEPTH, parse_js, to_units, wants_unicode
from app.rules.redos.js_tree import (
    ANY,
    Anchor,
    BackReference,
    CharSet,
    Choice,
    Group,
    LookAround,
    PatternSyntaxError,
    Repeat,
    Sequence,
    Text,
)
from app.rules.regexes import split_flags
from app.rules.rule import conditions
from tests.node import in_node
from tests.rules.conftest import Doc

COMPILES = """
return given.map(([pattern, unicode]) => {
  try { new RegExp(pattern, unicode ? 'iu' : 'i'); return true; } catch { return false; }
});
"""

PIECES = re.findall(
    r"\S+",
    r"a b 1 8 \1 \2 \8 \k \k<n> (?<n> (?<m> ( (?: (?= (?! (?<= (?<! ) | * + ? {2} {2, {2,1} {1,3} { } ] [ [^ - "
    r"\w \d \b \B \- \c \cA \x \x4 \x41 \u \u0041 \u{41} \u{110000} \p{L} \p \P{Lu} 😀 . ^ $ \\ / \/ \_ \0 \00 "
    r"\07 \400 z a-z (?i: (?P<x> é , : = < >",
)


def _accepts(pattern: str, unicode: bool) -> bool:
    try:
        parse_js(pattern, unicode=unicode)
    except PatternSyntaxError as error:
        assert str(error)
        return False
    return True


def test_agrees_with_node_on_published_patterns(published_docs: dict[str, Doc]) -> None:
    bodies = {split_flags(c.pattern)[1] for doc in published_docs.values() for c in conditions(doc)}
    asked = [(body, False) for body in sorted(bodies)] + [
        (body, True) for body in sorted(bodies) if wants_unicode(body)
    ]
    said = in_node(COMPILES, asked)
    assert [ask for ask, answer in zip(asked, said, strict=True) if _accepts(*ask) != answer] == []
    assert 0 < said.count(False) < 30  # \u{..} ranges, which only compile with the u flag


def test_agrees_with_node_on_generated_patterns() -> None:
    chance = random.Random(20261120)
    patterns = ["".join(chance.choices(PIECES, k=chance.randint(1, 9))) for _ in range(15_000)]
    asked = [(pattern, unicode) for pattern in patterns for unicode in (False, True)]
    said = in_node(COMPILES, asked)
    assert said.count(True) > 4_000
    assert [ask for ask, answer in zip(asked, said, strict=True) if _accepts(*ask) != answer] == []


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(?P<a>x)",
            "(?>x)",
            "(?i:x)",
            "a++",
            "(?(1)a|b)",
            "*",
            "a**",
            "a{2}{3}",
            "(?<=a)*",
            "^*",
            "(",
            ")",
            "a\\",
        ),
        *(
            "[a",
            "[z-a]",
            "x{2,1}",
            "(?<a>x)(?<a>y)",
            "(?<a>x)\\k<b>",
            "(?<a>x)[\\k]",
            "(" * (MAX_DEPTH + 1) + ")" * 51,
        ),
    ],
)
def test_what_javascript_does_not_know_is_refused_with_a_reason(pattern: str) -> None:
    with pytest.raises(PatternSyntaxError, match=r"^(has|names|nests|ends)"):
        parse_js(pattern, unicode=False)


@pytest.mark.parametrize(
    "pattern", [r"[\w-a]", r"[a-\d]", "a{", "]", r"\-", r"\1", r"\k<a>", "(?=a)*", r"\p{Nope}", r"\u{110000}"]
)
def test_unicode_mode_is_stricter(pattern: str) -> None:
    with pytest.raises(PatternSyntaxError, match=r"^has"):
        parse_js(pattern, unicode=True)
    parse_js(pattern, unicode=False)


def test_the_tree_says_what_the_pattern_says() -> None:
    assert parse_js(r"^ab+?.|(?<x>[^a-c\d-])\k<x>", unicode=False) == Choice(
        (
            Sequence((Anchor("^"), Text("a"), Repeat(Text("b"), 1, None, greedy=False), ANY)),
            Sequence((Group(CharSet(True, (("a", "c"), ("-", "-")), "d"), 1), BackReference(1))),
        )
    )
    assert parse_js(r"(?<!\x41\u{2})", unicode=False) == LookAround(
        Sequence((Text("A"), Repeat(Text("u"), 2, 2, greedy=True))), behind=True, negative=True
    )
    assert parse_js(r"\u{1F600}", unicode=True) == Text("😀")
    assert parse_js("😀?", unicode=False) == Sequence(
        (Text("\ud83d"), Repeat(Text("\ude00"), 0, 1, greedy=True))
    )
    assert to_units("a😀") == "a\ud83d\ude00"
