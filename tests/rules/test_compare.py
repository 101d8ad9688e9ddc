"""What is the same in two rule texts, and what differs, as people review it."""

import copy
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rules.compare import (
    MAX_CHANGES,
    MAX_SHOWN,
    FieldChange,
    detection_digest,
    field_changes,
    text_digest,
    three_way,
)
from app.rules.edit import with_severity
from app.rules.rule import conditions
from app.rules.yaml_text import dump_yaml, parse_yaml
from tests.example_rules import rule_text
from tests.rules.conftest import Doc


def _doc() -> Doc:
    return {
        "title": "t",
        "date": "2026/01/01",
        "detection": {
            "condition": "any",
            "conditions": [
                {"field": "content", "operator": "regex", "value": "(?i)a+", "description": "one"},
                {"field": "tool_args", "operator": "regex", "value": "b"},
            ],
            "false_positives": ["docs"],
        },
    }


def test_text_digest_is_sha256_of_utf8() -> None:
    assert text_digest("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()


def test_the_digest_is_the_same_in_every_process() -> None:
    """Digests are stored and compared across restarts; a new value here splits every proposal in two."""
    assert detection_digest(_doc()) == "b43657ceee60c14880beaf00520a66daaca4d13343e76e6b97ca565d7df2dd4a"


def test_what_does_not_change_the_detection_does_not_change_the_digest() -> None:
    doc = _doc()
    doc["title"], doc["date"] = "other", "2027/01/01"
    detection = doc["detection"]
    del detection["false_positives"]
    detection["conditions"].reverse()
    detection["conditions"].append(dict(detection["conditions"][0], description="again"))
    detection["conditions"][1]["value"] = "a+"  # (?i) is every engine's default
    detection["condition"] = "or"
    detection["method"] = "pattern"
    assert detection_digest(doc) == detection_digest(_doc())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("condition",), "all"),
        (("method",), "semantic"),
        (("conditions", 0, "value"), "(?is)a+"),
        (("conditions", 0, "value"), "(?i)A+"),
        (("conditions", 0, "field"), "user_input"),
        (("conditions", 1, "operator"), "contains"),
        (("conditions", 1, "language"), "zh"),
    ],
)
def test_what_changes_the_detection_changes_the_digest(path: tuple[str | int, ...], value: str) -> None:
    doc = copy.deepcopy(_doc())
    place = doc["detection"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert detection_digest(doc) != detection_digest(_doc())


@pytest.mark.parametrize("doc", [None, [], {}, {"detection": "x"}, {"detection": {"conditions": []}}])
def test_without_detection_there_is_no_digest(doc: object) -> None:
    assert detection_digest(doc) is None


def test_published_rules_with_equal_digests_are_true_twins(published_docs: dict[str, Doc]) -> None:
    by_digest: dict[str | None, list[Doc]] = {}
    for doc in published_docs.values():
        by_digest.setdefault(detection_digest(doc), []).append(doc)
    twins = [same for same in by_digest.values() if len(same) > 1]
    assert None not in by_digest
    assert [[doc["id"] for doc in same] for same in twins] == [
        ["ATR-2026-00226", "ATR-2026-00231"],
        ["ATR-2026-00228", "ATR-2026-00233"],
        ["ATR-2026-00229", "ATR-2026-00234"],
        ["ATR-2026-00230", "ATR-2026-00235"],
        ["ATR-2026-00475", "ATR-2026-00488"],
        ["ATR-2026-00476", "ATR-2026-00489"],
    ]
    assert all(conditions(one) == conditions(other) for one, other in twins)


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab1 ", max_size=3)
documents = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    min_size=1,
)


def paths(changes: list[FieldChange]) -> list[str]:
    return [change.path for change in changes]


def changed(before: object, after: object) -> list[tuple[str, str | None, str | None]]:
    return [(c.path, c.before, c.after) for c in field_changes(dump_yaml(before), dump_yaml(after))]


def test_a_published_rule_with_another_severity_differs_in_that_alone(published_texts: list[str]) -> None:
    for text in published_texts:
        own = parse_yaml(text)["severity"]  # type: ignore[index]
        other = "low" if own != "low" else "high"
        assert field_changes(text, with_severity(text, other)) == [FieldChange("severity", own, other)]


def test_published_rules_do_not_differ_from_themselves_written_anew(published_texts: list[str]) -> None:
    for text in published_texts[::5]:
        assert field_changes(text, dump_yaml(parse_yaml(text))) == []


def test_one_more_condition_in_a_published_rule_is_one_change(published_texts: list[str]) -> None:
    for text in published_texts[::5]:
        document: Any = parse_yaml(text)
        conditions = document["detection"]["conditions"]
        if isinstance(conditions, list):
            new = {"field": "content", "operator": "contains", "value": "put in here"}
            place = len(conditions) // 2
            conditions.insert(place, new)
            (change,) = field_changes(text, dump_yaml(document))
            assert change.path == f"detection.conditions[{place}]"
            assert change.before is None
            assert change.after is not None
            assert "put in here" in change.after


@settings(max_examples=300)
@given(documents, documents)
def test_there_are_changes_exactly_when_the_values_differ(before: Any, after: Any) -> None:
    changes = field_changes(dump_yaml(before), dump_yaml(after))
    assert (changes == []) == (
        msgspec.json.encode(before, order="sorted") == msgspec.json.encode(after, order="sorted")
    )
    back = field_changes(dump_yaml(after), dump_yaml(before))
    assert (changes == []) == (back == [])
    for change in changes:
        assert change.before != change.after


@given(documents, documents)
def test_two_that_changed_the_same_do_not_collide(base: Any, after: Any) -> None:
    found = three_way(dump_yaml(base), dump_yaml(after), dump_yaml(after))
    assert found.conflicts == []
    assert found.ours == found.theirs


@given(documents, documents, documents)
def test_what_collides_does_so_from_both_sides(base: Any, one: Any, other: Any) -> None:
    texts = dump_yaml(base), dump_yaml(one), dump_yaml(other)
    there = three_way(*texts).conflicts
    back = three_way(texts[0], texts[2], texts[1]).conflicts
    assert sorted(there) == sorted(back)
    if not there:
        ours, theirs = three_way(*texts).ours, three_way(*texts).theirs
        both = set(paths(ours)) & set(paths(theirs))
        new = {c.path for c in (*ours, *theirs) if c.before is None}
        by_path = {c.path: c.after for c in theirs}
        assert all(path in new or by_path[path] == c.after for c in ours if (path := c.path) in both)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_value_changed_anywhere_in_a_published_rule_is_told_by_its_path(
    data: st.DataObject, published_texts: list[str]
) -> None:
    text = data.draw(st.sampled_from(published_texts))
    document: Any = parse_yaml(text)
    path, holder, step = data.draw(st.sampled_from(list(leaves(document))))
    holder[step] = "changed by the test"
    (change,) = field_changes(text, dump_yaml(document))
    assert (change.path, change.after) == (path, "changed by the test")
    (back,) = field_changes(dump_yaml(document), text)
    assert (back.path, back.before, back.after) == (path, change.after, change.before)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any, str | int]]:
    """`(path, what holds it, key or index)` of every value that holds no other."""
    for step, item in value.items() if isinstance(value, dict) else enumerate(value):
        here = f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}".lstrip(".")
        if isinstance(item, (dict, list)) and item:
            yield from leaves(item, here)
        else:
            yield here, value, step


def test_a_condition_put_in_between_and_one_changed_are_told_apart() -> None:
    one, two, three = ({"field": f"f{n}", "value": f"v{n}", "operator": "regex"} for n in (1, 2, 3))
    assert changed({"c": [one, two]}, {"c": [one, three, two | {"value": "new"}]}) == [
        ("c[1]", None, "field: f3\nvalue: v3\noperator: regex"),
        ("c[1].value", "v2", "new"),
    ]
    assert changed({"c": [one, two, three]}, {"c": [two, three | {"value": "x"}]}) == [
        ("c[0]", "field: f1\nvalue: v1\noperator: regex", None),
        ("c[2].value", "v3", "x"),
    ]


def test_changes_come_in_the_order_of_the_text() -> None:
    assert [path for path, *_ in changed({"a": 1, "b": 2, "d": 4}, {"a": 2, "new": 0, "b": 3, "c": 1})] == [
        "a",
        "new",
        "b",
        "c",
        "d",
    ]


def test_values_that_only_look_alike_are_told_apart() -> None:
    assert changed({"v": 1}, {"v": True}) == [("v", "1", "true")]
    assert changed({"v": "1"}, {"v": 1}) == [("v", '"1"', "1")]
    assert changed({"v": ""}, {"v": None}) == [("v", '""', "null")]
    assert changed({"v": []}, {}) == [("v", "[]", None)]
    assert changed({"v": 1.0}, {"v": 1}) == [("v", "1.0", "1")]


def test_a_rule_that_came_or_went_has_every_field_on_one_side() -> None:
    text = rule_text()
    came, went = field_changes(None, text), field_changes(text, None)
    assert paths(came)[:3] == ["title", "id", "status"]
    assert {change.before for change in came} == {change.after for change in went} == {None}


def test_odd_keys_are_quoted() -> None:
    assert [path for path, *_ in changed({"a": {"b.c": 1}, "d e": 2}, {"a": {"b.c": 2}, "d e": 3})] == [
        'a["b.c"]',
        '["d e"]',
    ]


def test_long_values_are_shown_around_their_first_difference() -> None:
    same = "x" * 5000
    ((_, before, after),) = changed({"v": f"{same}old{same}"}, {"v": f"{same}new{same}"})
    assert before is not None and after is not None
    assert len(before) <= MAX_SHOWN and len(after) <= MAX_SHOWN
    assert before.startswith("…x") and before.endswith("x…")
    assert "old" in before and "new" in after


def test_ever_more_changes_are_only_counted() -> None:
    before = {f"k{n}": 0 for n in range(2 * MAX_CHANGES)}
    told = changed(before, dict.fromkeys(before, 1))
    assert len(told) == MAX_CHANGES + 1
    assert told[-1] == ("...", None, f"and {MAX_CHANGES} more changes")


def test_what_both_sides_changed_is_a_conflict_unless_they_agree() -> None:
    base = {"severity": "high", "title": "t", "c": [{"v": 1, "w": 1}, {"v": 2, "w": 2}], "m": {"x": 1}}
    ours = {"severity": "low", "title": "u", "c": [{"v": 1, "w": 1}, {"v": 3, "w": 2}], "m": {"x": 2}}
    theirs = {
        "severity": "medium",
        "title": "u",
        "c": [{"v": 0, "w": 0}, {"v": 1, "w": 1}, {"v": 4, "w": 2}],
        "m": 5,
    }
    found = three_way(*map(dump_yaml, (base, ours, theirs)))
    assert found.conflicts == ["severity", "c[1].v", "m"]


def test_the_result_travels_through_msgpack() -> None:
    found = field_changes(rule_text(), rule_text(title="Another", extra="x: [1, 2]\n"))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=list[FieldChange]) == found
