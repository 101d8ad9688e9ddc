from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.errors import PatternError
from app.rules.regexes import MAX_PATTERN_CHARS, compile_pattern, split_flags
from app.rules.rule import conditions
from tests.rules.conftest import Doc


def test_published_patterns_compile_and_mostly_in_linear_time(published_docs: dict[str, Doc]) -> None:
    engines: Counter[str] = Counter()
    failing = []
    for rule_id, doc in published_docs.items():
        for index, condition in enumerate(conditions(doc)):
            try:
                engines[compile_pattern(condition.pattern).engine] += 1
            except PatternError:
                failing.append((rule_id, index))
    assert engines == {"re2": 3215, "re": 126, "regex": 11}
    assert failing == [
        ("ATR-2026-00290", 3)
    ]  # \1 without a group, which only JavaScript takes for a character


@pytest.mark.parametrize(
    ("pattern", "engine", "matching", "other"),
    [
        ("ignore all", "re2", "please IGNORE ALL of it", "ignore  all"),
        (r"\u200b+x", "re2", "\u200bX", "x"),
        (r"[\u{1F600}-\u{1F64F}]", "re2", "a😀", "a"),
        (r"\\u0041", "re2", r"\u0041", "A"),
        ("(?s)a.b", "re2", "a\nB", "ab"),
        ("(?i)a.b", "re2", "A-b", "a\nb"),
        ("(?im)^b$", "re2", "a\nB", "ab"),
        ("(?!b)[a-c]x", "re", "AX", "bx"),
        (r"(?!b)\u{61}", "re", "A", "b"),
        (r"(\w)\1", "re", "Aa", "ab"),
        (r"(?<=\bsend\s+)keys", "regex", "Send  keys", "keys"),
    ],
)
def test_patterns_mean_what_atr_engines_take_them_for(
    pattern: str, engine: str, matching: str, other: str
) -> None:
    compiled = compile_pattern(pattern)
    assert compiled.engine == engine
    assert compiled.search(matching)
    assert not compiled.search(other)


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "[z-a]",
        "a**",
        r"\1",
        "(?P<a",
        "x{5000000000}(?!a)",
        "(?!" * 3000,
        "a" * (MAX_PATTERN_CHARS + 1),
        "\ud800",
    ],
)
def test_patterns_that_no_engine_takes_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


def test_a_catastrophic_pattern_runs_in_linear_time_where_re2_takes_it() -> None:
    compiled = compile_pattern(r"^(\w+\s?)*$")
    assert compiled.engine == "re2"
    assert not compiled.search("a" * 50_000 + "!")


def test_leading_flags_are_split_off() -> None:
    assert split_flags("(?i)a") == ("", "a")
    assert split_flags("(?si)a") == ("s", "a")
    assert split_flags("a(?i)") == ("", "a(?i)")
    assert split_flags("(?:a)") == ("", "(?:a)")


@given(
    st.lists(
        st.sampled_from([*r"ab01\(){}[]|*+?^$.-,<>=!:iPuxkw", "\\u", "(?", "😀", "\ud800"]), max_size=15
    ).map("".join)
)
def test_any_text_compiles_or_is_refused(pattern: str) -> None:
    try:
        compile_pattern(pattern).search("a")
    except PatternError as error:
        assert str(error)
