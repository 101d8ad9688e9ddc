"""The gatekeeper: revocation holds at once, nobody takes over anybody, limits hit whom they should."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from app.access import audit_store
from app.access.authentication import KeyRefused
from app.access.gatekeeper import Gatekeeper
from app.access.key_store import KeyRecord, find_key
from app.access.policy import AccessPolicy, LimitPolicy
from app.access.principal import Principal, Role
from app.access.tokens import encode_token
from app.http.paging import Page
from app.http.problem import Problem
from app.signing.keys import SigningKeys
from app.storage import Storage
from tests.clock import NOW

from .conftest import open_gatekeeper

pytestmark = pytest.mark.anyio
HERE = "192.0.2.1"
Restart = Callable[..., Awaitable[Gatekeeper]]


async def issue(
    gatekeeper: Gatekeeper,
    subject: str = "agent-7",
    role: Role = Role.AGENT,
    expires: datetime | None = None,
) -> tuple[KeyRecord, str]:
    return await gatekeeper.issue(
        role=role, subject=subject, expires=expires, site="berlin", actor="local (root)", now=NOW
    )


async def check(gatekeeper: Gatekeeper, token: str, address: str = HERE, now: datetime = NOW) -> Principal:
    return await gatekeeper.authenticate({"authorization": f"Bearer {token}"}, address, now)


async def refused(request: Awaitable[object]) -> Problem:
    with pytest.raises(Problem) as caught:
        await request
    return caught.value


async def reason(request: Awaitable[object]) -> str:
    problem = await refused(request)
    assert problem.status == 401
    assert problem.headers["WWW-Authenticate"].startswith('Bearer realm="threatcloud", error="invalid_token"')
    detail: str = problem.detail["reason"]
    return detail


async def test_an_issued_key_is_its_subject_from_wherever_it_comes(gatekeeper: Gatekeeper) -> None:
    record, token = await issue(gatekeeper)
    for address in (HERE, HERE, "198.51.100.2"):
        assert await check(gatekeeper, token, address) == Principal(
            key_id=record.id,
            role=Role.AGENT,
            subject="agent-7",
            enrolled="admin",
            registered_from=None,
            site="berlin",
            address=address,
        )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_case_insensitive(gatekeeper: Gatekeeper, scheme: str) -> None:
    _, token = await issue(gatekeeper)
    headers = {"authorization": f"{scheme} {token}"}
    assert (await gatekeeper.authenticate(headers, HERE, NOW)).subject == "agent-7"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer undefined", "Bearer é", "Bearer " + "a" * 9999]
)
async def test_a_key_that_is_none_is_refused_not_anonymous(gatekeeper: Gatekeeper, header: str) -> None:
    assert await reason(gatekeeper.authenticate({"authorization": header}, HERE, NOW)) == "malformed"


async def test_a_bare_token_is_refused(gatekeeper: Gatekeeper) -> None:
    _, token = await issue(gatekeeper)
    problem = await refused(gatekeeper.authenticate({"authorization": token}, HERE, NOW))
    assert token not in repr((problem.error, problem.detail, problem.headers))


async def test_no_key_is_somebody_anonymous(gatekeeper: Gatekeeper) -> None:
    principal = await gatekeeper.authenticate({}, HERE, NOW)
    assert (principal.role, principal.address) == (None, HERE)


async def test_expiry_is_checked_on_each_use_of_a_known_token(gatekeeper: Gatekeeper) -> None:
    end = NOW.replace(microsecond=0) + timedelta(hours=1)
    _, token = await issue(gatekeeper, expires=end)
    await check(gatekeeper, token, now=end - timedelta(milliseconds=1))
    assert await reason(check(gatekeeper, token, now=end)) == "expired"


async def test_revocation_holds_from_the_next_request_on(gatekeeper: Gatekeeper) -> None:
    record, token = await issue(gatekeeper)
    _, other = await issue(gatekeeper)
    await check(gatekeeper, token)
    revoked = await gatekeeper.revoke(record.id, NOW, actor="local (root)")
    assert revoked.revoked_at is not None
    assert await reason(check(gatekeeper, token)) == "revoked"
    await check(gatekeeper, other)


async def test_looking_at_a_token_is_no_use_of_it(gatekeeper: Gatekeeper) -> None:
    record, token = await issue(gatekeeper)
    assert gatekeeper.holder(token, NOW) == record
    with pytest.raises(KeyRefused, match="malformed"):
        gatekeeper.holder("nonsense", NOW)
    assert gatekeeper.activity.flush() == []
    await check(gatekeeper, token)
    assert len(gatekeeper.activity.flush()) == 1


async def test_revocation_holds_for_a_token_never_seen_before(gatekeeper: Gatekeeper) -> None:
    record, token = await issue(gatekeeper)
    await gatekeeper.revoke(record.id, NOW, actor="local (root)")
    assert await reason(check(gatekeeper, token)) == "revoked"


class TestAfterARestart:
    """Tokens signed before are known again, as far as they hold, without a look at signature or database."""

    @pytest.fixture
    async def restarted(self, storage: Storage, tmp_path: Path) -> Restart:
        async def restart(now: datetime = NOW) -> Gatekeeper:
            again = await open_gatekeeper(storage, tmp_path, now=now)
            await again.remember_tokens(now)
            return again

        return restart

    async def test_a_key_is_the_same_as_before(
        self, gatekeeper: Gatekeeper, restarted: Restart, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        end = NOW + timedelta(hours=1)
        _, token = await issue(gatekeeper, expires=end)
        _, registered = await gatekeeper.register("some-guard", "127.0.0.1", NOW)
        before = [await check(gatekeeper, key) for key in (token, registered)]
        again = await restarted()
        monkeypatch.setattr(Storage, "read_now", None)  # whoever is looked up after all fails
        assert [await check(again, key) for key in (token, registered)] == before
        assert await reason(check(again, token, now=end.replace(microsecond=0))) == "expired"

    async def test_what_holds_no_more_is_refused_as_before(
        self, gatekeeper: Gatekeeper, restarted: Restart
    ) -> None:
        end = NOW + timedelta(hours=1)
        _, short = await issue(gatekeeper, expires=end)
        record, revoked = await issue(gatekeeper)
        await gatekeeper.revoke(record.id, NOW, actor="local (root)")
        _, other = await issue(gatekeeper)
        again = await restarted(end)
        assert await reason(check(again, short, now=end)) == "expired"
        assert await reason(check(again, revoked, now=end)) == "revoked"
        changed = other[:-2] + ("AA" if other[-2:] != "AA" else "BA")
        assert await reason(check(again, changed, now=end)) == "malformed"
        assert (await check(again, other, now=end)).role is Role.AGENT

    async def test_a_retired_signing_key_takes_its_tokens_with_it(
        self, gatekeeper: Gatekeeper, restarted: Restart
    ) -> None:
        _, old = await issue(gatekeeper)
        kid = gatekeeper.signing_keys.signer("access").kid
        await gatekeeper.rotate_signing_key("access", NOW, actor="local (root)")
        _, new = await issue(gatekeeper)
        assert (await check(await restarted(), old)).subject == "agent-7"
        await gatekeeper.retire_signing_key(kid, NOW, actor="local (root)")
        again = await restarted()
        assert await reason(check(again, old)) == "malformed"
        assert (await check(again, new)).subject == "agent-7"

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE key SET role = 'admin'",
            "UPDATE key SET subject = 'somebody-else'",
            "UPDATE key SET id = '0123456789abcdef'",
            "UPDATE key SET expires_at = '2999-01-01T00:00:00.000Z'",
            "UPDATE key SET mark = zeroblob(32)",
            "UPDATE key SET mark = substr(mark, 1, 16)",
            "UPDATE key SET mark = NULL",
        ],
    )
    async def test_who_can_write_the_database_raises_no_key(
        self, gatekeeper: Gatekeeper, restarted: Restart, storage: Storage, tmp_path: Path, change: str
    ) -> None:
        _, token = await issue(gatekeeper, expires=NOW + timedelta(hours=1))
        await storage.write(lambda db: db.conn.execute(change))
        known = await restarted()
        checked_anew = await open_gatekeeper(storage, tmp_path)
        for now in (NOW, NOW + timedelta(hours=2)):
            expected = await outcome(check(checked_anew, token, now=now))
            assert await outcome(check(known, token, now=now)) == expected

    async def test_the_database_has_nothing_that_could_be_used_as_a_key(
        self, gatekeeper: Gatekeeper, storage: Storage
    ) -> None:
        await issue(gatekeeper)
        (mark,) = await storage.read(lambda db: db.conn.execute("SELECT mark FROM key").fetchone())
        for kept in (mark.hex(), mark.decode("latin-1"), mark[:16].hex()):
            assert await reason(gatekeeper.authenticate({"authorization": f"Bearer {kept}"}, HERE, NOW))


async def outcome(request: Awaitable[object]) -> object:
    try:
        return await request
    except Problem as problem:
        return problem.status, problem.detail


async def test_no_request_slips_through_beside_a_revocation(gatekeeper: Gatekeeper) -> None:
    for _ in range(20):
        record, token = await issue(gatekeeper)
        await asyncio.gather(
            check(gatekeeper, token),
            gatekeeper.revoke(record.id, NOW, actor="local (root)"),
            check(gatekeeper, token),
            return_exceptions=True,
        )
        assert await reason(check(gatekeeper, token)) == "revoked"


async def test_an_admin_who_hangs_up_has_still_revoked(gatekeeper: Gatekeeper, storage: Storage) -> None:
    record, token = await issue(gatekeeper)
    await check(gatekeeper, token)
    request = asyncio.ensure_future(gatekeeper.revoke(record.id, NOW, actor="local (root)"))
    await asyncio.sleep(0)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await storage.write(lambda db: None)
    await asyncio.sleep(0)
    assert await reason(check(gatekeeper, token)) == "revoked"


async def test_revoking_twice_changes_nothing_and_an_unknown_id_is_404(
    gatekeeper: Gatekeeper, storage: Storage
) -> None:
    record, _ = await issue(gatekeeper)
    first = await gatekeeper.revoke(record.id, NOW, actor="a")
    second = await gatekeeper.revoke(record.id, NOW + timedelta(days=1), actor="a")
    assert first == second
    assert (await refused(gatekeeper.revoke("0" * 16, NOW, actor="a"))).status == 404
    entries = await storage.read(lambda db: audit_store.read(db, Page(10, None), action="key.revoke"))
    assert len(entries) == 1


async def test_a_restart_keeps_keys_and_revocations(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    before = await open_gatekeeper(storage, tmp_path)
    kept, kept_token = await issue(before, "kept")
    gone, gone_token = await issue(before, "gone")
    await before.revoke(gone.id, NOW, actor="a")
    await storage.close()

    storage = Storage(tmp_path)
    after = await open_gatekeeper(storage, tmp_path, now=NOW + timedelta(days=1))
    assert (await check(after, kept_token)).key_id == kept.id
    assert await reason(check(after, gone_token)) == "revoked"
    await storage.close()


async def test_a_key_of_another_instance_is_refused(gatekeeper: Gatekeeper, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    elsewhere = Storage(tmp_path / "other")
    _, token = await issue(await open_gatekeeper(elsewhere, tmp_path / "other"))
    await elsewhere.close()
    assert await reason(check(gatekeeper, token)) == "malformed"


async def test_two_instances_with_the_same_signing_keys_still_differ(
    gatekeeper: Gatekeeper, storage: Storage, tmp_path: Path
) -> None:
    _, token = await issue(gatekeeper)
    clone = Gatekeeper(
        storage, SigningKeys.open(tmp_path, NOW), AccessPolicy(), LimitPolicy(), "urn:threatcloud:clone"
    )
    assert await reason(check(clone, token)) == "malformed"


@pytest.mark.parametrize("change", [{"key_id": "0" * 16}, {"role": Role.ADMIN}, {"subject": "somebody-else"}])
async def test_a_token_must_agree_with_its_record(
    gatekeeper: Gatekeeper, storage: Storage, change: dict[str, object]
) -> None:
    record, _ = await issue(gatekeeper)
    signer = gatekeeper.signing_keys.signer("access")
    issuer = await storage.read(
        lambda db: f"urn:threatcloud:{db.conn.execute('SELECT value FROM instance').fetchone()[0]}"
    )
    values = {"key_id": record.id, "role": record.role, "subject": record.subject} | change
    token = encode_token(
        **values,  # type: ignore[arg-type]
        issued_at=NOW,
        expires_at=None,
        issuer=issuer,
        private_key=signer.private,
        kid=signer.kid,
    )
    assert await reason(check(gatekeeper, token)) == "unknown"


async def test_several_keys_of_a_subject_are_one_identity_and_revoked_one_by_one(
    gatekeeper: Gatekeeper,
) -> None:
    first, first_token = await issue(gatekeeper)
    second, second_token = await issue(gatekeeper)
    assert first.id != second.id
    subjects = {(await check(gatekeeper, token)).subject for token in (first_token, second_token)}
    assert subjects == {"agent-7"}
    await gatekeeper.revoke(first.id, NOW, actor="a")
    await check(gatekeeper, second_token)


async def test_failures_are_limited_per_source_and_hurt_no_valid_key(
    storage: Storage, tmp_path: Path
) -> None:
    gatekeeper = await open_gatekeeper(storage, tmp_path, limits=LimitPolicy(failed_per_minute=3))
    _, seen = await issue(gatekeeper)
    _, unseen = await issue(gatekeeper)
    await check(gatekeeper, seen)
    for _ in range(3):
        assert await reason(check(gatekeeper, "junk")) == "malformed"
    problem = await refused(check(gatekeeper, "junk"))
    assert (problem.status, problem.headers["Retry-After"]) == (429, "20")
    await check(gatekeeper, seen)
    await check(gatekeeper, unseen)
    assert await reason(check(gatekeeper, "junk", "192.0.2.2")) == "malformed"
    assert await reason(check(gatekeeper, "junk", now=NOW + timedelta(seconds=20))) == "malformed"


async def test_one_ipv6_host_cannot_spread_its_failures_over_its_network(
    storage: Storage, tmp_path: Path
) -> None:
    gatekeeper = await open_gatekeeper(storage, tmp_path, limits=LimitPolicy(failed_per_minute=1))
    await refused(check(gatekeeper, "junk", "2001:db8::1"))
    assert (await refused(check(gatekeeper, "junk", "2001:db8::ffff:2"))).status == 429


async def test_rotation_keeps_old_tokens_until_their_signing_key_is_retired(gatekeeper: Gatekeeper) -> None:
    _, old = await issue(gatekeeper)
    first = gatekeeper.signing_keys.signer("access").kid
    await gatekeeper.rotate_signing_key("access", NOW, actor="a")
    _, new = await issue(gatekeeper)
    await check(gatekeeper, old)
    await check(gatekeeper, new)
    await gatekeeper.retire_signing_key(first, NOW, actor="a")
    assert await reason(check(gatekeeper, old)) == "malformed"
    await check(gatekeeper, new)


async def test_registration_is_a_new_identity_every_time(gatekeeper: Gatekeeper, storage: Storage) -> None:
    record, token = await gatekeeper.register("guard-laptop-1", "127.0.0.1", NOW)
    again, again_token = await gatekeeper.register("guard-laptop-1", "127.0.0.1", NOW)
    one, two = await check(gatekeeper, token), await check(gatekeeper, again_token)
    assert one.subject != two.subject
    assert one.subject.startswith("self:")
    assert (one.role, one.enrolled, one.registered_from) == (Role.AGENT, "self", "127.0.0.1")
    stored = await storage.read(lambda db: find_key(db, record.id))
    assert stored is not None
    assert stored.client_id == "guard-laptop-1"
    assert stored.revoked_at is None
    assert again.id != record.id


async def test_registering_under_a_partners_name_gains_nothing(gatekeeper: Gatekeeper) -> None:
    _, partner_token = await issue(gatekeeper, "partner:cisco", Role.PARTNER)
    for _ in range(20):
        record, _ = await gatekeeper.register("partner:cisco", "127.0.0.1", NOW)
        assert record.subject != "partner:cisco"
        assert record.role is Role.AGENT
    assert (await check(gatekeeper, partner_token)).role is Role.PARTNER


@pytest.mark.parametrize(
    ("openness", "address", "admitted"),
    [
        ("closed", "127.0.0.1", False),
        ("networks", "127.0.0.1", True),
        ("networks", "::1", True),
        ("networks", "::ffff:127.0.0.1", True),
        ("networks", HERE, False),
        ("networks", "local", False),
        ("open", HERE, True),
    ],
)
async def test_policy_decides_who_registers_and_who_reads(
    storage: Storage, tmp_path: Path, openness: str, address: str, admitted: bool
) -> None:
    policy = AccessPolicy(registration=openness, anonymous_read=openness)  # type: ignore[arg-type]
    gatekeeper = await open_gatekeeper(storage, tmp_path, policy)
    assert gatekeeper.may_read_anonymously(address) == admitted
    if admitted:
        await gatekeeper.register("guard-laptop-1", address, NOW)
    else:
        problem = await refused(gatekeeper.register("guard-laptop-1", address, NOW))
        assert problem.status == 403
        assert "under [access]" in problem.error


async def test_registrations_are_limited_per_source_and_hour(storage: Storage, tmp_path: Path) -> None:
    policy = AccessPolicy(registration="open", registrations_per_hour=2)
    gatekeeper = await open_gatekeeper(storage, tmp_path, policy)
    await gatekeeper.register("guard-laptop-1", HERE, NOW)
    await gatekeeper.register("guard-laptop-2", HERE, NOW)
    problem = await refused(gatekeeper.register("guard-laptop-3", HERE, NOW))
    assert (problem.status, problem.headers["Retry-After"]) == (429, "1800")
    await gatekeeper.register("guard-laptop-3", "192.0.2.2", NOW)
    await gatekeeper.register("guard-laptop-3", HERE, NOW + timedelta(minutes=30))


@pytest.mark.parametrize("client_id", ["", "short", "x" * 129, "guard\nlaptop", "guard\x00laptop"])
async def test_a_bad_label_is_refused(gatekeeper: Gatekeeper, client_id: str) -> None:
    problem = await refused(gatekeeper.register(client_id, "127.0.0.1", NOW))
    assert (problem.status, problem.detail) == (400, {"field": "clientId"})


async def test_rate_limits_are_per_key_and_per_source_for_the_anonymous(
    storage: Storage, tmp_path: Path
) -> None:
    limits = LimitPolicy(agent_per_minute=2, anonymous_per_minute=1, admin_per_minute=5)
    gatekeeper = await open_gatekeeper(storage, tmp_path, limits=limits)
    one = await check(gatekeeper, (await issue(gatekeeper))[1])
    two = await check(gatekeeper, (await issue(gatekeeper))[1])
    admin = await check(gatekeeper, (await issue(gatekeeper, "root", Role.ADMIN))[1])
    assert [gatekeeper.rate_limit(one, NOW).allowed for _ in range(3)] == [True, True, False]
    assert gatekeeper.rate_limit(two, NOW).allowed
    assert gatekeeper.rate_limit(admin, NOW).limit == 5
    nobody = await gatekeeper.authenticate({}, HERE, NOW)
    other = await gatekeeper.authenticate({}, "192.0.2.2", NOW)
    assert [gatekeeper.rate_limit(nobody, NOW).allowed for _ in range(2)] == [True, False]
    assert gatekeeper.rate_limit(other, NOW).allowed
    assert gatekeeper.rate_limit(one, NOW + timedelta(seconds=30)).allowed


async def test_everything_that_happens_to_a_key_is_audited_without_the_token(
    gatekeeper: Gatekeeper, storage: Storage
) -> None:
    record, token = await issue(gatekeeper)
    registered, _ = await gatekeeper.register("guard-laptop-1", "127.0.0.1", NOW)
    await gatekeeper.revoke(record.id, NOW, actor="local (root)", address="local")
    kid = await gatekeeper.rotate_signing_key("rule", NOW, actor="local (root)")
    entries = await storage.read(lambda db: audit_store.read(db, Page(10, None)))
    assert [(entry.action, entry.actor, entry.target) for entry in entries] == [
        ("signing_key.rotate", "local (root)", kid),
        ("key.revoke", "local (root)", record.id),
        ("key.register", f"{registered.subject} (key {registered.id})", registered.id),
        ("key.issue", "local (root)", record.id),
    ]
    assert token not in repr(entries)
    assert (await storage.read(audit_store.verify)).broken_at is None


async def test_the_issuer_is_made_once(storage: Storage, tmp_path: Path) -> None:
    first = await open_gatekeeper(storage, tmp_path)
    second = await open_gatekeeper(storage, tmp_path)
    _, token = await issue(first)
    assert (await check(second, token)).subject == "agent-7"
