import json
import re
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.rules.errors import RuleTextError
from app.rules.yaml_text import MAX_CHARS, MAX_DEPTH, dump_yaml, parse_yaml


def test_published_rules_read_as_by_the_usual_loader(published_texts: list[str]) -> None:
    differing = [
        text for text in published_texts if parse_yaml(text) != yaml.load(text, Loader=yaml.CSafeLoader)
    ]
    assert differing == []


def test_published_rules_survive_writing_for_old_and_new_readers(published_texts: list[str]) -> None:
    for text in published_texts[::5]:
        value = parse_yaml(text)
        written = dump_yaml(value)
        assert parse_yaml(written) == value
        assert yaml.load(written, Loader=yaml.CSafeLoader) == value


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("9223372036854775807", 2**63 - 1),
        ("yes", "yes"),
        ("on", "on"),
        ("012", "012"),
        ("1:30", "1:30"),
        ("2026-03-08", "2026-03-08"),
        ("2026/03/08", "2026/03/08"),
        ("1_000", "1_000"),
        ("1.2.3", "1.2.3"),
        ("LLM01:2025", "LLM01:2025"),
        ("=", "="),
        ("'true'", "true"),
        ('"\\x1b[0m"', "\x1b[0m"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(plain: str, value: object) -> None:
    found = parse_yaml(f"key: {plain}\n")
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "field", "part"),
    [
        ("", "text", "is empty"),
        ("# nothing\n", "text", "is empty"),
        ("a: 1\nb: 2\na: 3\n", "line 3", "repeats the key 'a'"),
        ("a: &x 1\nb: *x\n", "line 1", "anchor or alias"),
        ("b: *x\n", "line 1", "anchor or alias"),
        ("a: {x: 1}\nb:\n  <<: {c: 1}\n", "line 3", "merge key"),
        ("a: !!python/object:os.system x\n", "line 1", "uses a tag"),
        ("a: ! x\n", "line 1", "uses a tag"),
        ("!!map {a: 1}\n", "line 1", "uses a tag"),
        ("a: 1\n---\nb: 2\n", "line 2", "second document"),
        ("%YAML 1.1\n---\na: 1\n", "line 1", "directive"),
        ("%YAML 9.9\n---\na: 1\n", "line 1", "not YAML"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "line 1", "directive"),
        ("1: a\n", "line 1", "not text"),
        ("true: a\n", "line 1", "not text"),
        ("? [a]\n: b\n", "line 1", "collection as a key"),
        ("a: b\x00c\n", "line 1", "U+0000"),
        ("a: 1\nb: \x1b[0m\n", "line 2", "U+001B"),
        ('"a\\0": 1\n', "line 1", "control character in a key"),
        ("a: \ud800\n", "line 1", "U+D800"),
        ('a: "\\ud800"\n', "line 1", "not YAML"),
        ("a: .inf\n", "line 1", "JSON cannot hold"),
        ("a: .NaN\n", "line 1", "JSON cannot hold"),
        ("a: 1e999\n", "line 1", "too large"),
        ("a: 9223372036854775808\n", "line 1", "beyond 64 bits"),
        ("a: " + "9" * 5000, "line 1", "5000 characters"),
        ("a: 0x" + "f" * 5000, "line 1", "5002 characters"),
        ("a: '", "line 1", "not YAML"),
        ("a:\n\t- b\n", "line 2", "not YAML"),
        ("[" * 5000, "line 1", f"deeper than {MAX_DEPTH}"),
        ("{a: " * 5000, "line 1", f"deeper than {MAX_DEPTH}"),
        ("- " * 5000, "line 1", f"deeper than {MAX_DEPTH}"),
        ("? " * 5000, "line 1", "collection as a key"),
        ("x" * (MAX_CHARS + 1), "text", "shorten it"),
    ],
)
def test_refusals_name_the_place_and_the_fix(text: str, field: str, part: str) -> None:
    with pytest.raises(RuleTextError) as caught:
        parse_yaml(text)
    assert caught.value.field == field
    assert part in caught.value.reason
    assert "\n" not in str(caught.value)


def test_billion_laughs_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{b}: &{b} [*{a},*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(RuleTextError, match="anchor"):
        parse_yaml(bomb)


def test_deepest_nesting_and_a_byte_order_mark_are_accepted() -> None:
    parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert parse_yaml("\ufeffa: 1\n") == {"a": 1}
    assert parse_yaml("a: 1\r\nb: é\u0085\r\n") is not None


def test_json_is_read_as_json() -> None:
    draft = {
        "type": "skill-audit-finding",
        "payload": 'curl "x" | sh\n\t\u2028😀',
        "findings": [],
        "n": 1.5,
        "ok": True,
    }
    assert parse_yaml(json.dumps(draft, ensure_ascii=False)) == draft


_PIECES = re.findall(
    r"\S+", """a b : - ' " | > & * ! !! { } [ ] , # % --- ... <<: ? ~ 0x 1e9 .inf @ ` \\ \\x &a *a é 😀"""
)
_SPACES = [
    "\n",
    "\n  ",
    "\n\t",
    " ",
    ": ",
    "- ",
    "? ",
    "key: ",
    "\r",
    "\x85",
    "\u2028",
    "\ufeff",
    "\\ud83d",
    "\ud800",
]
_fragments = st.lists(st.sampled_from([*_PIECES, *_SPACES]), max_size=40).map("".join)


@given(st.one_of(st.text(), _fragments))
def test_any_text_gives_a_json_value_or_a_refusal(text: str) -> None:
    try:
        value = parse_yaml(text)
    except RuleTextError as error:
        assert error.field
        assert error.reason
    else:
        assert msgspec.json.decode(msgspec.json.encode(value)) == value


_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(
        [
            "yes",
            "No",
            "y",
            "012",
            "0o14",
            "1:30",
            "1e3",
            "2026-03-08",
            "~",
            "",
            " a",
            "a ",
            "x\ny",
            "\n",
            "#",
            "<<",
            "=",
        ]
    ),
)
_keys = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters="\x7f"), max_size=8
).filter(lambda key: key != "<<" and not any(0x7F <= ord(char) <= 0x9F for char in key))
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4)
)


@given(st.dictionaries(_keys, _values, max_size=5))
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    written = dump_yaml(value)
    assert parse_yaml(written) == value
    assert dump_yaml(parse_yaml(written)) == written
    assert yaml.load(written, Loader=yaml.CSafeLoader) == value


def test_writing_keeps_order_and_unicode_and_blocks() -> None:
    assert dump_yaml({"b": "é", "a": ["x", "2026-03-08"], "c": "one\ntwo\n"}) == (
        "b: é\na:\n- x\n- '2026-03-08'\nc: |\n  one\n  two\n"
    )
    twice = ["x"]
    assert "*" not in dump_yaml({"a": twice, "b": twice})
    assert dump_yaml({"a": "y", "b": "NO", "c": "0o14"}) == "a: 'y'\nb: 'NO'\nc: '0o14'\n"
