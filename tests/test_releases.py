"""Which release may follow which, with tables made up for the purpose."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.releases import BREAKING, OLDEST, Breaking, UnknownVersion, crossed, objections, parse_version

IN_ORDER = [
    "0.1.0.dev1",
    "0.1.0a1",
    "0.1.0b2",
    "0.1.0rc1.dev3",
    "0.1.0rc1",
    "0.1.0rc2",
    "0.1.0",
    "0.1.0+local.1",
    "0.1.0.post1",
    "0.1.1",
    "0.2.0",
    "0.10.0",
    "1.0",
    "1.0.1",
    "1.1",
    "10.0",
    "1!0.1",
]
TABLE = (
    Breaking("0.2.0", "Keys of old agents end.", "Enrol them again."),
    Breaking("1.0.0", "The setting x is gone.", "Use y."),
)


def test_versions_sort_as_pep_440_says() -> None:
    keys = [parse_version(version) for version in IN_ORDER]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert parse_version("v1.0.0") == parse_version("1.0") == parse_version(" 1 ")


@pytest.mark.parametrize("text", ["", "latest", "1.", "1..2", "1.0-", "1.0 beta", "\u0661.2", "9" * 5000])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(UnknownVersion):
        parse_version(text)


@given(st.text(max_size=30))
def test_any_text_has_a_key_or_is_refused(text: str) -> None:
    with contextlib.suppress(UnknownVersion):
        assert parse_version(text) <= parse_version(text)


def said(older: str, newer: str, *accepted: str) -> list[str]:
    return objections(older, newer, accepted, breaking=TABLE, oldest="0.1.0")


def test_an_upgrade_that_breaks_nothing() -> None:
    assert said("0.1.0", "0.1.9") == []
    assert said("0.1.0", "0.1.0") == []
    assert said("0.2.0", "0.9") == []
    assert said("1.0.0", "3.0") == []


def test_what_breaks_must_be_accepted_each() -> None:
    both = said("0.1.0", "1.2.0")
    assert len(both) == 2
    assert both[0].startswith("0.2.0 breaks something: Keys of old agents end. Enrol them again.")
    assert both[0].endswith("--accept 0.2.0")
    (one,) = said("0.1.0", "1.2.0", "0.2")
    assert "--accept 1.0.0" in one
    assert said("0.1.0", "1.2.0", "0.2.0", "1.0.0") == []
    assert said("0.1.0", "0.2.0rc1"), "a candidate has the change already"
    assert said("0.2.0rc1", "0.2.0") == []
    assert [change.version for change in crossed("0.1.5", "0.3", TABLE)] == ["0.2.0"]


def test_back_and_from_too_far() -> None:
    (back,) = said("1.0.0", "0.9.0", "1.0.0")
    assert "rollback" in back
    (far,) = objections("0.1.0", "2.0.0", ("0.2.0", "1.0.0"), breaking=TABLE, oldest="1.0.0")
    assert far == "0.1.0 is too old for 2.0.0: upgrade to 1.0.0 first"


def test_the_real_table_is_in_order_and_complete() -> None:
    keys = [parse_version(change.version) for change in BREAKING]
    assert keys == sorted(keys)
    assert parse_version(OLDEST)
    assert all(change.breaks.endswith(".") and change.todo.endswith(".") for change in BREAKING)
