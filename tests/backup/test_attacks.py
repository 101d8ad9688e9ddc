"""Archives that must not be restored: damaged, forged, of another instance, newer, or with paths that escape."""

import base64
import random
import shutil
import sqlite3
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.backup import cipher
from app.backup.archive import SEAL_BYTES
from app.backup.errors import BackupError
from app.backup.restore import RestoreOptions, restore_backup, unpack_and_verify
from app.signing.keys import SigningKeys
from tests.backup.conftest import Origin
from tests.backup.forge import Forge, Item, plain_file, resealed, sealed, tar_of
from tests.clock import NOW

SAMPLES = 60


@pytest.fixture
def forge(origin: Origin, tmp_path: Path) -> Forge:
    return Forge(origin, origin.whole, tmp_path / "forge")


@pytest.fixture
def refusal(tmp_path: Path, origin: Origin) -> Callable[..., str]:
    """Restore a file into an empty folder, which must be refused and leave it empty; returns why."""

    def attempt(content: bytes, **terms: object) -> str:
        state, file = tmp_path / "state", tmp_path / "file.tcbackup"
        state.mkdir(exist_ok=True)
        file.write_bytes(content)
        with pytest.raises(BackupError) as refused:
            restore_backup(file, state, RestoreOptions(**terms), "tester", NOW)  # type: ignore[arg-type]
        assert [path.name for path in state.iterdir()] == ["threatcloud.lock"]
        return str(refused.value)

    return attempt


def opens(content: bytes, folder: Path, *identities: cipher.Identity) -> bool:
    """Is this file good? Nothing but `BackupError` may come of one that is not."""
    file = folder / "file"
    file.write_bytes(content)
    place = folder / "place"
    place.mkdir()
    try:
        unpack_and_verify(file, place, identities)
    except BackupError:
        return False
    else:
        return True
    finally:
        shutil.rmtree(place)


def identities(origin: Origin) -> list[cipher.Identity]:
    return cipher.read_identities(origin.identity.read_text())


def test_genuine_and_rebuilt_backups_are_accepted(origin: Origin, forge: Forge, tmp_path: Path) -> None:
    assert opens(origin.plain.read_bytes(), tmp_path)
    assert opens(origin.encrypted.read_bytes(), tmp_path, *identities(origin))
    assert opens(forge.file(), tmp_path), "what is forged below is otherwise as it should be"


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_a_backup_cut_off_anywhere_is_refused(origin: Origin, tmp_path: Path, kind: str) -> None:
    whole = Path(origin.made[kind]["file"]).read_bytes()
    chosen = random.Random(5)
    sizes = {0, 1, len(whole) - 1, *(chosen.randrange(len(whole)) for _ in range(SAMPLES))}
    for size in sorted(sizes):
        assert not opens(whole[:size], tmp_path, *identities(origin)), size
    assert not opens(whole + b"\0", tmp_path, *identities(origin))


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_a_backup_with_one_bit_flipped_anywhere_is_refused(origin: Origin, tmp_path: Path, kind: str) -> None:
    """Every bit of both ends, where headers and checks are, and a sample of those between."""
    whole = bytearray(Path(origin.made[kind]["file"]).read_bytes())
    chosen = random.Random(7)
    ends = 12 if kind == "plain" else 4
    bits = {*range(8 * ends), *range(8 * (len(whole) - ends), 8 * len(whole))}
    bits |= {chosen.randrange(8 * len(whole)) for _ in range(SAMPLES)}
    for bit in sorted(bits):
        whole[bit // 8] ^= 1 << bit % 8
        assert not opens(bytes(whole), tmp_path, *identities(origin)), bit
        whole[bit // 8] ^= 1 << bit % 8
    assert opens(bytes(whole), tmp_path, *identities(origin))


def test_damage_under_a_matching_seal_is_refused(origin: Origin, tmp_path: Path) -> None:
    """An attacker can seal an altered file again; then the compression or a signed digest shows it.

    But for bits that carry nothing (deflate pads its last byte): then the content is what it was.
    """
    whole = origin.plain.read_bytes()
    tar = zlib.decompress(whole[:-SEAL_BYTES], 31)
    chosen = random.Random(11)
    for _ in range(SAMPLES):
        damaged = bytearray(whole)
        damaged[chosen.randrange(10, len(whole) - 100)] ^= 1 << chosen.randrange(8)
        if opens(resealed(bytes(damaged)), tmp_path):
            assert zlib.decompress(bytes(damaged[:-SEAL_BYTES]), 31) == tar


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=3000))
def test_random_bytes_are_refused(data: bytes, tmp_path: Path) -> None:
    for content in (data, sealed(data), resealed(data + bytes(100)), sealed(tar_of([]) + data)):
        assert not opens(content, tmp_path)


def strange(kind: bytes, name: str, link: str = "") -> Item:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


STRANGE: dict[str, Item] = {
    "symbolic link": strange(tarfile.SYMTYPE, "threatcloud.db", "/etc/passwd"),
    "hard link": strange(tarfile.LNKTYPE, "threatcloud.db", "../threatcloud.lock"),
    "device": strange(tarfile.CHRTYPE, "threatcloud.db"),
    "pipe": strange(tarfile.FIFOTYPE, "threatcloud.db"),
    "folder": strange(tarfile.DIRTYPE, "threatcloud.db"),
    "absolute path": plain_file("/tmp/escaped", b"x"),
    "path upwards": plain_file("../../escaped", b"x"),
    "name of another member": plain_file("keys/escaped.pem", b"x"),
    "extended header": strange(tarfile.XHDTYPE, "threatcloud.db"),
    "long name": strange(tarfile.GNUTYPE_LONGNAME, "././@LongLink"),
}


@pytest.mark.parametrize("item", STRANGE.values(), ids=STRANGE.keys())
@pytest.mark.parametrize("where", [0, 1, 2, 99])
def test_members_that_are_no_plain_files_are_refused(
    forge: Forge, refusal: Callable[..., str], item: Item, where: int, tmp_path: Path
) -> None:
    items = forge.items()
    items.insert(where, item)
    assert refusal(sealed(tar_of(items)))
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize("kind", [b"\0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"L", b"S", b"x"])
def test_the_right_content_as_another_kind_of_member_is_refused(
    forge: Forge, refusal: Callable[..., str], kind: bytes
) -> None:
    for number in (0, 1):
        items = forge.items()
        items[number][0].type = kind
        assert refusal(sealed(tar_of(items)))
    items = forge.items()
    items[1][0].linkname = "elsewhere"
    assert refusal(sealed(tar_of(items)))


def test_a_database_in_wal_mode_is_restored_without_a_journal(
    forge: Forge, origin: Origin, tmp_path: Path
) -> None:
    """A file in WAL mode, as no backup has it: the restored one is complete without a log beside it."""
    forge.edit_database(lambda db: db.execute("PRAGMA journal_mode=WAL"))
    state, file = tmp_path / "state", tmp_path / "file.tcbackup"
    state.mkdir()
    file.write_bytes(forge.file())
    restore_backup(file, state, RestoreOptions(), "tester", NOW)
    assert not list(state.glob("threatcloud.db-*"))
    assert (state / "threatcloud.db").read_bytes()[18:20] == b"\1\1"


def test_a_member_missing_surplus_repeated_or_out_of_order_is_refused(
    forge: Forge, refusal: Callable[..., str]
) -> None:
    items = forge.items()
    for wrong in (
        [items[0], items[1], items[1], *items[2:]],
        [*items, items[-1]],
        items[:-1],
        [items[0], items[2], items[1], *items[3:]],
        items[1:],
        [],
    ):
        assert refusal(sealed(tar_of(wrong)))
    for end in (b"", bytes(512), bytes(1024) + b"more", bytes(512) + b"x" * 512):
        assert refusal(sealed(tar_of(items, end=end)))
    assert refusal(sealed(tar_of(items)) + sealed(b""))
    assert refusal(sealed(tar_of(items)[:-1500] + b"\1" + bytes(1499))), "nothing may hide behind a member"


@pytest.mark.parametrize(
    "name",
    ["../threatcloud.db", "/etc/x", "keys/../x.pem", "keys/x.pem", "threatcloud.db-wal", "keys", "a\0b", ""],
)
def test_names_that_a_manifest_may_not_list_are_refused(
    forge: Forge, refusal: Callable[..., str], name: str
) -> None:
    forge.claims["members"].append({"name": name, "size": 0, "sha256": "0" * 64})
    assert "not understood" in refusal(forge.file())


def test_manifests_that_contradict_themselves_are_refused(forge: Forge, refusal: Callable[..., str]) -> None:
    claims = forge.claims
    changes: list[dict[str, Any]] = [
        {"members": [*claims["members"], claims["members"][0]]},
        {"members": claims["members"][1:]},
        {"members": [m for m in claims["members"] if not m["name"].endswith(".pem")]},
        {"iss": "urn:threatcloud:another"},
        {"public_keys": []},
        {"surprise": 1},
        {"at": "yesterday"},
    ]
    for change in changes:
        forge.claims = claims | change
        assert refusal(forge.file())
    forge.claims = claims
    large = dict(claims["members"][-1], size=1 << 40)
    forge.claims = claims | {"members": [*claims["members"][:-1], large]}
    assert "larger than it can be" in refusal(forge.file())


def test_a_bomb_is_refused_by_what_it_declares(forge: Forge, refusal: Callable[..., str]) -> None:
    """A database of 4 TiB: refused for want of space before a byte of it is unpacked."""
    forge.claims["members"][0]["size"] = 1 << 42
    assert "not enough space" in refusal(forge.file())


def test_a_bomb_that_declares_less_costs_neither_memory_nor_disk(
    forge: Forge, refusal: Callable[..., str], tmp_path: Path
) -> None:
    """256 MiB of zeros in 1 MiB, as the manifest, as a member, and behind the last one."""

    def zeros(before: bytes) -> bytes:
        deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
        parts = [deflate.compress(before), *(deflate.compress(bytes(1 << 20)) for _ in range(256))]
        return resealed(b"".join(parts) + deflate.flush() + bytes(SEAL_BYTES))

    huge = tarfile.TarInfo("manifest.jwt")
    huge.size = 1 << 28
    header = huge.tobuf(tarfile.GNU_FORMAT)
    huge.name = "threatcloud.db"
    second = huge.tobuf(tarfile.GNU_FORMAT)
    token = tar_of([forge.items()[0]], end=b"")
    bombs = [zeros(start) for start in (header, token + second, tar_of(forge.items()))]
    assert all(len(bomb) < 4 << 20 for bomb in bombs)
    tracemalloc.start()
    for bomb in bombs:
        assert refusal(bomb)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_a_forged_signature_is_refused(forge: Forge, refusal: Callable[..., str], origin: Origin) -> None:
    forged = Forge.file(forge, forge.stranger)
    assert "not signed by a manifest key that it names" in refusal(forged)
    genuine = forge.token()
    head, _, signature = genuine.decode().rpartition(".")
    for token in (
        f"{head}.{signature[:-4]}AAAA".encode(),
        f"{head}.".encode(),
        b"",
        b"a.b.c",
        forge.token(typ="bundle+jwt"),
        forge.token(jku="https://example.org"),
    ):
        assert refusal(sealed(tar_of([plain_file("manifest.jwt", token), *forge.items()[1:]])))


def test_a_whole_backup_of_a_stranger_is_not_ours(
    forge: Forge, refusal: Callable[..., str], origin: Origin, tmp_path: Path
) -> None:
    """It names its own key, so it is good in itself: only what is known of the instance shows that it is forged."""
    jwk = {"use": "manifest", "kid": forge.stranger.kid, "x": _x(forge)}
    forge.claims["public_keys"] = [*forge.claims["public_keys"], jwk]
    forge.claims["members"] = forge.claims["members"][:2]
    forged = forge.file(forge.stranger)
    assert opens(forged, tmp_path)
    pem = SigningKeys.read(origin.state).of("manifest")
    assert "not signed by the given key" in refusal(forged, trusted=[key.public for key in pem])
    state, file = tmp_path / "own", tmp_path / "forged.tcbackup"
    file.write_bytes(forged)
    shutil.copytree(origin.state, state)
    with pytest.raises(BackupError, match="no manifest key of the instance that is here"):
        restore_backup(file, state, RestoreOptions(), "tester", NOW)


def _x(forge: Forge) -> str:
    return base64.urlsafe_b64encode(forge.stranger.public.public_bytes_raw()).decode().rstrip("=")


def test_newer_formats_and_newer_databases_are_refused_by_name(
    forge: Forge, refusal: Callable[..., str]
) -> None:
    genuine = dict(forge.claims)
    forge.claims = {**genuine, "format": 2, "release": "9.9.9", "other": {}}
    assert refusal(forge.file()) == (
        "it has format 2, of release '9.9.9'; this release reads format 1: restore it with that release"
    )
    forge.claims = genuine
    contents = genuine["contents"]
    forge.claims = {
        **genuine,
        "contents": {**contents, "migrations": [*contents["migrations"], "m9999_later"]},
    }
    assert "newer release (it has 'm9999_later')" in refusal(forge.file())
    forge.claims = genuine
    forge.edit_database(
        lambda db: db.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('threatcloud', 'm9999', '')"
        )
    )
    assert "newer release (it has 'm9999')" in refusal(forge.file())


EDITS: dict[str, tuple[str, str]] = {
    "audit entry": (
        "DROP TRIGGER audit_is_append_only_update; UPDATE audit SET actor = 'nobody' WHERE id = 1",
        "audit log is broken at entry 1",
    ),
    "audit tail": (
        "DROP TRIGGER audit_is_append_only_delete; DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)",
        "not the one that its manifest describes",
    ),
    "set": ("DELETE FROM publication_rule WHERE rule_id = 'ATR-2026-95000'", "not the set that was signed"),
    "text": ("UPDATE rule_text SET text = text || ' ' WHERE rule_id = 'ATR-2026-95000'", "lacks the text"),
    "signature": ("UPDATE publication SET manifest = manifest || 'A'", "not signed by any"),
    "other serial": ("UPDATE publication SET published_at = '2031-01-01T00:00:00.000Z'", "not the set"),
    "instance": ("UPDATE instance SET value = 'another' WHERE name = 'id'", "not the set that was signed"),
    "no audit": ("DROP TABLE audit", "cannot be read"),
}


@pytest.mark.parametrize(("statement", "why"), EDITS.values(), ids=EDITS.keys())
def test_a_changed_database_is_refused_though_correctly_signed(
    forge: Forge, refusal: Callable[..., str], statement: str, why: str
) -> None:
    """Signed with the instance's own key, as a thief of that key could do: the checks behind it still hold."""
    forge.edit_database(lambda db: db.executescript(statement))
    assert why in refusal(forge.file())


def test_a_damaged_page_is_found(forge: Forge, refusal: Callable[..., str]) -> None:
    content = bytearray(forge.files["threatcloud.db"])
    with sqlite3.connect(":memory:") as db:
        db.deserialize(bytes(content))
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'key_subject'").fetchone()
    content[(root - 1) * 4096 : root * 4096] = bytes(4096)
    forge.put("threatcloud.db", bytes(content))
    assert "damaged" in refusal(forge.file())
    forge.put("threatcloud.db", b"SQLite format 3\0" + bytes(4000))
    assert refusal(forge.file())


def test_private_keys_that_the_manifest_does_not_name_are_refused(
    forge: Forge, refusal: Callable[..., str]
) -> None:
    name = next(name for name in forge.files if name.startswith("keys/access-"))
    other = next(name for name in forge.files if name.startswith("keys/rule-"))
    genuine = forge.files[name]
    forge.put(name, forge.files[other])
    assert "its keys cannot be used" in refusal(forge.file())
    forge.put(name, b"not a key")
    assert "its keys cannot be used" in refusal(forge.file())
    forge.put(name, genuine)
    del forge.files[name]
    forge.claims["members"] = [m for m in forge.claims["members"] if m["name"] != name]
    assert "its keys cannot be used" in refusal(forge.file())


def test_text_armor_and_missing_identities_are_named_in_the_refusal(
    origin: Origin, refusal: Callable[..., str]
) -> None:
    assert "text form" in refusal(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert "--identity" in refusal(origin.encrypted.read_bytes())
