"""Key records in the database."""

from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.enrolment import checked_site, checked_subject
from app.access.key_store import KeyRecord, find_key, insert_key, list_keys, revoke_key
from app.access.principal import Role
from app.http.paging import Page
from app.http.problem import Problem
from app.http.timestamps import to_text
from app.storage import Storage
from tests.clock import NOW


def record(number: int, role: Role = Role.AGENT, subject: str | None = None) -> KeyRecord:
    return KeyRecord(
        id=f"{number:016x}",
        role=role,
        subject=subject or f"agent-{number}",
        enrolled="admin",
        site="berlin",
        client_id=None,
        address=None,
        issued_at=to_text(NOW + timedelta(seconds=number // 3)),
        expires_at=None,
    )


@pytest.mark.anyio
async def test_a_record_comes_back_as_it_was_stored(storage: Storage) -> None:
    await storage.write(lambda db: insert_key(db, record(1)))
    assert await storage.read(lambda db: find_key(db, record(1).id)) == record(1)
    assert await storage.read(lambda db: find_key(db, "0" * 16)) is None


@pytest.mark.anyio
async def test_revoking_holds_for_good_and_keeps_its_first_instant(storage: Storage) -> None:
    await storage.write(lambda db: insert_key(db, record(1)))
    assert await storage.write(lambda db: revoke_key(db, record(1).id, NOW))
    assert not await storage.write(lambda db: revoke_key(db, record(1).id, NOW + timedelta(days=1)))
    assert not await storage.write(lambda db: revoke_key(db, "unknown", NOW))
    found = await storage.read(lambda db: find_key(db, record(1).id))
    assert found is not None
    assert found.revoked_at == to_text(NOW)


@pytest.mark.anyio
async def test_pages_show_every_key_once_newest_first(storage: Storage) -> None:
    for number in range(11):
        await storage.write(partial(insert_key, record=record(number)))
    seen, page = list[str](), Page(4, None)
    while True:
        records = await storage.read(partial(list_keys, page=page))
        seen += [found.id for found in records[:4]]
        if len(records) < 5:
            break
        page = Page(4, (records[3].issued_at, records[3].id))
    assert seen == [record(number).id for number in range(10, -1, -1)]


@pytest.mark.anyio
async def test_filters_by_role_and_subject(storage: Storage) -> None:
    for number, role, subject in [(1, Role.AGENT, "a"), (2, Role.PARTNER, "a"), (3, Role.AGENT, "b")]:
        await storage.write(partial(insert_key, record=record(number, role, subject)))
    page = Page(10, None)
    agents = await storage.read(lambda db: list_keys(db, page, Role.AGENT))
    named = await storage.read(lambda db: list_keys(db, page, subject="a"))
    both = await storage.read(lambda db: list_keys(db, page, Role.AGENT, "a"))
    assert [len(agents), len(named), len(both)] == [2, 2, 1]


@pytest.mark.parametrize("subject", ["a", "agent-7", "ops@example.org", "partner:cisco", "9" * 128])
def test_subjects_that_may_be_given(subject: str) -> None:
    assert checked_subject(subject) == subject


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "-a",
        ".",
        "a b",
        "a/b",
        "ä",
        "a\n",
        "9" * 129,
        "self:0011223344556677",
        "SELF:x",
        "local",
        "anonymous",
    ],
)
def test_subjects_that_may_not(subject: str) -> None:
    with pytest.raises(Problem) as caught:
        checked_subject(subject)
    assert (caught.value.status, caught.value.detail) == (400, {"field": "subject"})


@given(st.text())
def test_a_site_is_a_plain_label_or_refused(site: str) -> None:
    try:
        assert (checked_site(site) or "").replace("-", "").replace(".", "").replace("_", "").isalnum()
    except Problem as problem:
        assert problem.detail == {"field": "site"}
