import copy
import hashlib

import pytest

from app.rules.compare import detection_digest, text_digest
from app.rules.rule import conditions
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
