"""The hash chain: any one edit, removal or exchange of entries is found, at the right place."""

import hashlib
import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.access.audit_chain import GENESIS, ChainLink, HashedEntry, follow, hash_of

texts = st.text(max_size=12)
contents = st.lists(
    st.tuples(texts, texts, texts, st.none() | texts, texts, st.none() | texts), min_size=2, max_size=8
)
Rows = list[tuple[str, str, str, str | None, str, str | None]]
FIELDS = ["at", "actor", "action", "target", "detail", "address"]


def build(rows: Rows) -> list[ChainLink]:
    links, head = [], GENESIS
    for number, row in enumerate(rows, start=1):
        entry = HashedEntry(number, *row)
        links.append(ChainLink(entry, head, hash_of(head, entry)))
        head = links[-1].hash
    return links


@given(contents)
def test_a_whole_chain_holds(rows: Rows) -> None:
    links = build(rows)
    report = follow(links)
    assert (report.entries, report.head, report.broken_at) == (len(links), links[-1].hash, None)


@given(contents, st.data())
def test_any_edit_is_found_where_it_is(rows: Rows, data: st.DataObject) -> None:
    links = build(rows)
    place = data.draw(st.integers(0, len(links) - 1))
    field = data.draw(st.sampled_from(FIELDS))
    value = data.draw(texts)
    entry = links[place].entry
    changed = msgspec.structs.replace(entry, **{field: value})
    if changed != entry:
        links[place] = ChainLink(changed, links[place].previous, links[place].hash)
        report = follow(links)
        assert (report.broken_at, report.entries) == (place + 1, place)
        # An edit with its hash made to fit is found one entry later, unless it was the last.
        links[place] = ChainLink(changed, links[place].previous, hash_of(links[place].previous, changed))
        assert follow(links).broken_at == (place + 2 if place + 1 < len(links) else None)


@given(contents, st.data())
def test_any_removal_inside_is_found(rows: Rows, data: st.DataObject) -> None:
    links = build(rows)
    place = data.draw(st.integers(0, len(links) - 2))
    del links[place]
    assert follow(links).broken_at == place + 2
    renumbered = [
        ChainLink(msgspec.structs.replace(link.entry, id=number), link.previous, link.hash)
        for number, link in enumerate(links, start=1)
    ]
    assert follow(renumbered).broken_at == place + 1


@given(contents, st.data())
def test_any_exchange_is_found(rows: Rows, data: st.DataObject) -> None:
    links = build(rows)
    one = data.draw(st.integers(0, len(links) - 2))
    two = data.draw(st.integers(one + 1, len(links) - 1))
    links[one], links[two] = links[two], links[one]
    assert follow(links).broken_at is not None
    swapped_ids = [
        ChainLink(msgspec.structs.replace(link.entry, id=number), link.previous, link.hash)
        for number, link in enumerate(links, start=1)
    ]
    assert follow(swapped_ids).broken_at == one + 1


def test_an_empty_chain_holds() -> None:
    assert follow([]).head == GENESIS


def test_the_hash_can_be_computed_by_anybody() -> None:
    entry = HashedEntry(1, "2026-04-17T10:30:00.124Z", "agent-ä", "key.issue", None, '{"a":1}', "192.0.2.1")
    canonical = json.dumps(
        msgspec.structs.asdict(entry), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert hash_of(GENESIS, entry) == hashlib.sha256((GENESIS + canonical).encode()).hexdigest()


def test_a_tail_cut_off_is_seen_by_who_kept_the_head() -> None:
    links = build([("", "", "", None, "{}", None)] * 3)
    assert follow(links[:2]).broken_at is None
    assert follow(links[:2]).head != follow(links).head
