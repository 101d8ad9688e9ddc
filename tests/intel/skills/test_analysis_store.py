"""Contents of skills: the same tools are the same contents, and a change shows to whoever saw it and nobody else."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.intel.skills.analysis_store import (
    KEPT,
    SHARED,
    Tool,
    content_hash,
    erase_versions,
    export_versions,
    purge_versions,
    record_version,
)
from tests.database import fresh

TOOLS = st.lists(st.builds(Tool, st.text(min_size=1), st.text()), max_size=8)


def test_the_hash_is_that_of_the_public_server() -> None:
    tools = [Tool("b", "second"), Tool("a", "first")]
    assert content_hash(tools) == sha256(b"a\nfirst\0b\nsecond").hexdigest()


@given(TOOLS, st.randoms())
def test_the_order_of_tools_means_nothing(tools: list[Tool], random: object) -> None:
    shuffled = [*tools]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert content_hash(shuffled) == content_hash(tools)


@given(TOOLS, st.text(min_size=1))
def test_a_change_of_a_description_shows(tools: list[Tool], more: str) -> None:
    changed = [Tool(tool.name, tool.description + more) for tool in tools]
    assert (content_hash(changed) == content_hash(tools)) == (not tools)


def test_a_change_shows_when_it_happens_and_when_it_is_undone() -> None:
    db = fresh()
    seen = [
        record_version(db, "a", "demo", digest, f"t{n}") for n, digest in enumerate(["1", "1", "2", "2", "1"])
    ]
    assert seen == [False, False, True, False, True]


def test_nobody_can_make_up_a_change_for_somebody_else() -> None:
    db = fresh()
    assert not record_version(db, "a", "demo", "1", "t0")
    for number in range(5):
        record_version(db, "mallory", "demo", f"x{number}", f"t1{number}")
        record_version(db, SHARED, "demo", f"y{number}", f"t1{number}")
    assert not record_version(db, "b", "demo", "2", "t3")
    assert not record_version(db, "a", "demo", "1", "t4")
    assert not record_version(db, "a", "other", "9", "t5")


def test_a_history_is_bounded() -> None:
    db = fresh()
    for number in range(3 * KEPT):
        record_version(db, "a", "demo", f"{number:04}", f"t{number:04}")
    assert [row["digest"] for row in export_versions(db, "a")] == [
        f"{n:04}" for n in range(2 * KEPT, 3 * KEPT)
    ]


@pytest.mark.parametrize("subject", ["a", SHARED])
def test_a_history_is_erased_but_for_the_shared_one(subject: str) -> None:
    db = fresh()
    record_version(db, subject, "demo", "1", "t1")
    record_version(db, "b", "demo", "1", "t2")
    assert erase_versions(db, subject) == (subject != SHARED)
    assert len(export_versions(db, "b")) == 1
    assert purge_versions(db, "t2") == (subject == SHARED)
    assert purge_versions(db, "t3") == 1
