"""The envelope of the endpoints, byte by byte: what a simulator that writes JSON well cannot send."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.federation.sources.collected import SourceError
from app.federation.sources.http import Answer
from app.federation.sources.rule_api import RuleList, read_rule_list

GOOD = b'{"ruleId":"a","ruleContent":"title: A"}'


def read(*entries: bytes, meta: str = "") -> RuleList:
    total = f'"total":{len(entries)}{meta}'.encode()
    body = b'{"ok":true,"data":[' + b",".join(entries) + b'],"meta":{' + total + b"}}"
    return read_rule_list(Answer(httpx.Headers(), body))


@pytest.mark.parametrize(
    "entry",
    [
        b'{"ruleId":"\xff","ruleContent":"x"}',
        b'{"ruleId":"b","ruleContent":7}',
        b'{"ruleId":"","ruleContent":"x"}',
        b'{"ruleId":"' + b"b" * 257 + b'","ruleContent":"x"}',
        b'{"ruleId":"b\\u001b[31m","ruleContent":"x"}',
        b"[]",
        b"null",
        b"7",
    ],
)
def test_one_bad_entry_is_set_aside_and_the_others_are_taken(entry: bytes) -> None:
    listed = read(GOOD, entry, GOOD)
    assert [rule.text for rule in listed.rules] == ["title: A"] * 2
    assert [aside.rule_id for aside in listed.set_aside] == ["entry 2"]
    assert listed.set_aside[0].reason.isprintable()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not-json"),
        (b"\xff", "not-json"),
        (b'{"ok":true,"data":[' + b"[" * 100_000, "not-json"),
        (b'{"ok":true,"data":["\\ud800"],"meta":{"total":1}}', "not-json"),
        (b"[]", "shape"),
        (b'{"ok":true,"data":[]}', "shape"),
        (b'{"ok":true,"data":{},"meta":{"total":0}}', "shape"),
        (b'{"ok":true,"data":[],"meta":{"total":0,"withdrawn":[7]}}', "shape"),
        (b'{"ok":1,"data":[],"meta":{"total":0}}', "shape"),
    ],
)
def test_what_is_no_envelope(body: bytes, code: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_rule_list(Answer(httpx.Headers(), body))
    assert caught.value.failure.code == code


def test_more_rules_than_we_take() -> None:
    assert len(read(*[GOOD] * 20_000).rules) == 20_000
    with pytest.raises(SourceError) as caught:
        read(*[GOOD] * 20_001)
    assert caught.value.failure.code == "too-large"


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ('"2026-11-21T12:00:00.5+01:00"', "2026-11-21T11:00:00.500Z"),
        ('"2026-11-21 12:00:00"', "2026-11-21T12:00:00.000Z"),
        ('"yesterday"', ""),
        ('"0001-01-01T00:00:00+14:00"', ""),
        ("null", ""),
        ("7", ""),
    ],
)
def test_an_instant_is_written_our_way_or_not_at_all(sent: str, taken: str) -> None:
    entry = f'{{"ruleId":"a","ruleContent":"x","publishedAt":{sent},"source":7}}'.encode()
    (rule,) = read(entry).rules
    assert (rule.published_at, rule.source) == (taken, "atr")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {}, optional={"ruleId": JSON, "ruleContent": JSON, "publishedAt": JSON, "source": JSON}
)


@given(st.lists(ENTRY | JSON, max_size=4), JSON, JSON)
def test_any_json_at_all_is_a_list_or_a_failure(data: list[Any], meta: Any, whole: Any) -> None:
    documents = (
        {"ok": True, "data": data, "meta": {"total": len(data), "etag": meta}},
        {"data": data},
        whole,
    )
    for document in documents:
        try:
            listed = read_rule_list(Answer(httpx.Headers(), json.dumps(document).encode()))
        except SourceError:
            continue
        assert len(listed.rules) + len(listed.set_aside) == len(data)
