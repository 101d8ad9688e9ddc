"""A bundle is read back as it was written, or refused: attack by attack."""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bundles.format import BundleError, BundleManifest, OpenBundle, pack_members
from app.signing.jws import read_keys, sign
from tests.bundles.exporter import Exporter, members_of, new_key, pem_of, repacked, sha256, with_manifest

KEY = new_key()
PIECE = 1000


@pytest.fixture
def exporter() -> Exporter:
    """Three publications; the third changed one rule, dropped one and has a new one."""
    made = Exporter(KEY)
    made.publish("first", "second", "third")
    made.publish("first", "second changed", "third")
    made.publish(named={"ATR-2026-1": "first", "ATR-2026-2": "second changed again", "ATR-2026-9": "ninth"})
    return made


def read(bundle: bytes, pem: bytes | None = None) -> tuple[BundleManifest, dict[str, bytes]]:
    """Read it whole, in small pieces."""
    pieces = (bundle[start : start + PIECE] for start in range(0, len(bundle), PIECE))
    opened = OpenBundle(pieces, read_keys(pem_of(KEY) if pem is None else pem))
    return opened.manifest, dict(opened.texts())


def refused(bundle: bytes, *codes: str, pem: bytes | None = None) -> str:
    """Assert that it is refused with one of these codes; returns the sentence."""
    with pytest.raises(BundleError) as caught:
        read(bundle, pem)
    assert caught.value.code in codes, caught.value
    return str(caught.value)


def test_a_full_bundle_has_every_text(exporter: Exporter) -> None:
    manifest, texts = read(exporter.bundle())
    assert manifest == exporter.manifest()
    assert {text.decode() for text in texts.values()} == {"first", "second changed again", "ninth"}


def test_a_delta_has_what_is_new_and_every_publication_since(exporter: Exporter) -> None:
    manifest, texts = read(exporter.bundle(since=1))
    assert {text.decode() for text in texts.values()} == {"second changed again", "ninth"}
    assert set(manifest.rules) == {"ATR-2026-1", "ATR-2026-2", "ATR-2026-9"}
    assert manifest.chain == tuple(map(sha256, exporter.manifests[1:]))


TEXTS = st.dictionaries(
    st.from_regex(r"[A-Z]{1,4}-[0-9]{1,6}", fullmatch=True), st.text(min_size=1, max_size=60), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.data())
def test_whatever_is_written_is_read(sets: list[dict[str, str]], data: st.DataObject) -> None:
    exporter = Exporter(KEY)
    for rules in sets:
        exporter.publish(named={name: text.encode(errors="replace").decode() for name, text in rules.items()})
    since = data.draw(st.integers(0, exporter.serial - 1))
    bundle = exporter.bundle(since)
    manifest, texts = read(bundle)
    assert manifest == exporter.manifest(since)
    before = set(exporter.sets[since - 1].values()) if since else set()
    assert {text.decode() for text in texts.values()} == set(exporter.sets[-1].values()) - before
    assert exporter.bundle(since) == bundle


def test_any_program_that_unpacks_can_look_inside(exporter: Exporter) -> None:
    names = [name for name, _ in members_of(exporter.bundle(since=1))]
    assert names[:3] == ["manifest.jwt", "publications/2.jwt", "publications/3.jwt"]
    assert names[3:] == sorted(f"texts/{sha256(text)}.yaml" for text in ("second changed again", "ninth"))


def test_a_flipped_bit_in_any_member_is_noticed(exporter: Exporter) -> None:
    members = members_of(exporter.bundle(since=1))
    for index, (name, content) in enumerate(members):
        for position in {0, len(content) // 2, len(content) - 1}:
            damaged = bytearray(content)
            damaged[position] ^= 1
            other = [*members[:index], (name, bytes(damaged)), *members[index + 1 :]]
            refused(repacked(other), "signature", "integrity")


def test_a_flipped_bit_anywhere_in_the_file_changes_nothing_unnoticed(exporter: Exporter) -> None:
    bundle = exporter.bundle()
    genuine = read(bundle)
    for position in range(len(bundle)):
        damaged = bytearray(bundle)
        damaged[position] ^= 1 << position % 8
        try:
            assert read(bytes(damaged)) == genuine  # a bit that means nothing, such as gzip's time stamp
        except BundleError as error:
            assert error.code in {"shape", "integrity", "truncated", "signature", "too-large"}


def test_a_part_of_a_bundle_is_no_bundle(exporter: Exporter) -> None:
    bundle = exporter.bundle()
    for size in range(len(bundle)):
        refused(bundle[:size], "truncated", "shape")


def test_nothing_may_follow_it(exporter: Exporter) -> None:
    bundle = exporter.bundle()
    for more in (b"x", b"\0" * 512, gzip.compress(b"more"), bundle):
        refused(bundle + more, "integrity")


def test_what_is_no_bundle_at_all_is_refused() -> None:
    for content in (b"", b"PK\x03\x04", b"<html>captive portal</html>", b"\0" * 4096):
        refused(content, "shape", "truncated")
    refused(gzip.compress(b"just gzip"), "truncated")
    refused(gzip.compress(b"just gzip, " * 200), "integrity")


def test_a_bundle_signed_by_another_key_is_refused(exporter: Exporter) -> None:
    assert "not signed by any" in refused(exporter.bundle(), "signature", pem=pem_of(new_key()))


def test_keys_that_rotate_are_given_together(exporter: Exporter) -> None:
    successor = new_key()
    exporter.key = successor
    exporter.publish("first")
    delta, full = exporter.bundle(since=2), exporter.bundle()
    for pem in (pem_of(KEY, successor), pem_of(successor, KEY)):
        assert read(delta, pem)[0].serial == 4
    assert read(full, pem_of(successor))[0].serial == 4
    assert "publications/3.jwt" in refused(delta, "signature", pem=pem_of(successor))
    refused(full, "signature", pem=pem_of(KEY))


def signed_otherwise(exporter: Exporter) -> Iterator[tuple[str, str]]:
    claims = msgspec.to_builtins(exporter.manifest())
    headers = {"kid": KEY.kid, "typ": "bundle+jwt"}
    public = pem_of(KEY)
    yield "none", jwt.encode(claims, "", algorithm="none", headers=headers)
    yield (
        "embedded key",
        jwt.encode(claims, new_key().private, algorithm="EdDSA", headers=headers | {"jwk": {"kty": "OKP"}}),
    )
    elliptic = ec.generate_private_key(ec.SECP256R1())
    yield "ES256", jwt.encode(claims, elliptic, algorithm="ES256", headers=headers)
    yield (
        "more headers",
        jwt.encode(claims, KEY.private, algorithm="EdDSA", headers=headers | {"crit": ["b64"], "b64": True}),
    )
    for kind in ("publication+jwt", "receipt+jwt", "JWT"):
        yield kind, jwt.encode(claims, KEY.private, algorithm="EdDSA", headers=headers | {"typ": kind})
    yield "HS256 with the public key", hmac_signed(claims, headers, public)
    token = jwt.encode(claims, KEY.private, algorithm="EdDSA", headers=headers)
    yield "no signature", token.rpartition(".")[0] + "."
    yield "two parts", token.rpartition(".")[0]
    yield "empty", ""


def hmac_signed(claims: dict[str, Any], headers: dict[str, str], secret: bytes) -> str:
    """PyJWT does not sign with a PEM as the secret, but others do."""
    unsigned = jwt.encode(claims, "x" * 32, algorithm="HS256", headers=headers).rpartition(".")[0]
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = algorithm.sign(unsigned.encode(), secret)
    return f"{unsigned}.{jwt.utils.base64url_encode(signature).decode()}"


def test_other_algorithms_and_other_types_of_statement_are_refused(exporter: Exporter) -> None:
    for what, token in signed_otherwise(exporter):
        assert refused(with_manifest(exporter.bundle(), token), "signature"), what


def test_a_publication_is_no_manifest_and_a_manifest_is_no_publication(exporter: Exporter) -> None:
    bundle = exporter.bundle()
    members = members_of(bundle)
    refused(with_manifest(bundle, exporter.manifests[-1]), "signature")
    claims = exporter.claims[-1]
    disguised = sign("bundle+jwt", claims, KEY)
    said = msgspec.to_builtins(exporter.manifest()) | {"chain": [sha256(disguised)]}
    manifest = sign("bundle+jwt", said, KEY)
    swapped = [("manifest.jwt", manifest.encode()), (members[1][0], disguised.encode()), *members[2:]]
    refused(repacked(swapped), "signature")


Edit = Callable[[list[tuple[str, bytes]]], Iterable[tuple[str, bytes]]]
EDITS: dict[str, Edit] = {
    "a text under another's name": lambda m: [*m[:-2], (m[-2][0], m[-1][1]), (m[-1][0], m[-2][1])],
    "texts in another order": lambda m: [*m[:-2], m[-1], m[-2]],
    "a text left out": lambda m: m[:-1],
    "the first text left out": lambda m: [*m[:2], *m[3:]],
    "a text twice": lambda m: [*m, m[-1]],
    "a surplus text": lambda m: [*m, (f"texts/{sha256('more')}.yaml", b"more")],
    "a surplus file in front": lambda m: [("readme.txt", b"hello"), *m],
    "a surplus file in the middle": lambda m: [m[0], ("readme.txt", b"hello"), *m[1:]],
    "an absolute path": lambda m: [*m[:-1], (f"/{m[-1][0]}", m[-1][1])],
    "a path that climbs": lambda m: [*m[:-1], (f"texts/../../{m[-1][0]}", m[-1][1])],
    "the same path spelled otherwise": lambda m: [*m[:-1], (f"./{m[-1][0]}", m[-1][1])],
    "no publication": lambda m: [m[0], *m[2:]],
    "the manifest alone": lambda m: m[:1],
    "the manifest last": lambda m: [*m[1:], m[0]],
    "nothing": lambda _: [],
}


@pytest.mark.parametrize("edit", EDITS)
def test_members_are_exactly_those_of_the_manifest(edit: str, exporter: Exporter) -> None:
    refused(repacked(list(EDITS[edit](members_of(exporter.bundle())))), "integrity", "truncated")


def infos(bundle: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(plain(name, content), content) for name, content in members_of(bundle)]


def plain(name: str, content: bytes = b"") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info


def tarred(members: list[tuple[tarfile.TarInfo, bytes]], form: Literal[0, 1, 2] = 0) -> bytes:
    """As another program would pack it, without the padding that Python's adds to the end."""
    parts = []
    for info, content in members:
        parts.append(info.tobuf(form) + content + bytes(-len(content) % 512))
    return gzip.compress(b"".join(parts) + bytes(1024), mtime=0)


def change(**fields: Any) -> Callable[[tarfile.TarInfo], None]:
    def apply(info: tarfile.TarInfo) -> None:
        for name, value in fields.items():
            setattr(info, name, value)

    return apply


HEADERS = {
    "symbolic link": change(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": change(type=tarfile.LNKTYPE, linkname="manifest.jwt"),
    "folder": change(type=tarfile.DIRTYPE),
    "device": change(type=tarfile.CHRTYPE, devmajor=1),
    "pipe": change(type=tarfile.FIFOTYPE),
    "sparse file": change(type=tarfile.GNUTYPE_SPARSE),
    "mode": change(mode=0o4755),
    "time": change(mtime=1),
    "owner": change(uid=1, uname="root"),
    "prefix": change(name="x" * 60 + "/" + "y" * 90),
}


def test_this_helper_packs_what_is_accepted(exporter: Exporter) -> None:
    assert read(tarred(infos(exporter.bundle()))) == read(exporter.bundle())


@pytest.mark.parametrize("header", HEADERS)
def test_only_plain_files_are_read(header: str, exporter: Exporter) -> None:
    for index in range(5):
        members = infos(exporter.bundle())
        HEADERS[header](members[index][0])
        refused(tarred(members), "integrity")


def test_extended_headers_are_refused(exporter: Exporter) -> None:
    members = infos(exporter.bundle())
    members[-1][0].pax_headers = {"path": "../../x", "comment": "y"}
    refused(tarred(members, tarfile.PAX_FORMAT), "integrity")
    members = infos(exporter.bundle())
    members[-1][0].name = "n" * 200
    refused(tarred(members, tarfile.GNU_FORMAT), "integrity")


def test_wrong_sizes_are_refused(exporter: Exporter) -> None:
    for size in (0, 1, 1 << 32, 8**11 - 1):
        members = infos(exporter.bundle())
        members[-1][0].size = size
        refused(tarred(members), "integrity", "too-large", "truncated")


def test_something_hidden_in_the_padding_is_refused(exporter: Exporter) -> None:
    unpacked = bytearray(gzip.decompress(exporter.bundle()))
    place = unpacked.rfind(b"\0" * 1024) - 1
    unpacked[place] = 1
    refused(gzip.compress(bytes(unpacked)), "integrity")


def test_a_bomb_is_not_unpacked() -> None:
    """A member that says how large it is, and one that does not."""
    for said, code in ((1 << 32, "too-large"), (1 << 20, "signature")):
        info = plain("manifest.jwt")
        info.size = said
        pieces = list[bytes]()

        def bomb(info: tarfile.TarInfo = info, pieces: list[bytes] = pieces) -> Iterator[bytes]:
            deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
            yield deflate.compress(info.tobuf(tarfile.USTAR_FORMAT))
            while True:
                pieces.append(deflate.compress(bytes(1 << 20)))
                yield pieces[-1]

        with pytest.raises(BundleError) as caught:
            OpenBundle(bomb(), read_keys(pem_of(KEY)))
        assert caught.value.code == code
        assert len(pieces) < 100


def test_an_archive_that_could_not_be_read_back_is_not_written() -> None:
    with pytest.raises(BundleError) as caught:
        for _ in pack_members((f"texts/{number}", bytes(1 << 24)) for number in range(100)):
            pass
    assert caught.value.code == "too-large"


def test_too_much_behind_the_end_is_not_unpacked(exporter: Exporter) -> None:
    """Zeros without end, within one gzip member."""
    unpacked = gzip.decompress(exporter.bundle())
    bomb = gzip.compress(unpacked + bytes(300 * 1024 * 1024), compresslevel=1)
    refused(bomb, "integrity")


def chain_with(exporter: Exporter, serial: int, /, **claims: Any) -> bytes:
    """The delta since 1 with another, correctly signed publication in its chain; the manifest lists it."""
    tokens = list(exporter.manifests)
    tokens[serial - 1] = sign("publication+jwt", exporter.claims[serial - 1] | claims, exporter.key)
    said = msgspec.to_builtins(exporter.manifest(since=1)) | {"chain": list(map(sha256, tokens[1:]))}
    texts = members_of(exporter.bundle(since=1))[3:]
    publications = [(f"publications/{number}.jwt", tokens[number - 1].encode()) for number in (2, 3)]
    return repacked(
        [("manifest.jwt", sign("bundle+jwt", said, exporter.key).encode()), *publications, *texts]
    )


def test_a_chain_of_other_publications_is_refused(exporter: Exporter) -> None:
    assert read(chain_with(exporter, 3))[0].serial == 3
    assert "does not continue" in refused(chain_with(exporter, 3, previous=sha256("other")), "integrity")
    assert "does not continue" in refused(chain_with(exporter, 3, previous=None), "integrity")
    assert "does not continue" in refused(chain_with(exporter, 2, published_at="2026-11-05"), "integrity")
    refused(chain_with(exporter, 3, serial=4), "integrity")
    refused(chain_with(exporter, 3, iss="threatcloud:other"), "integrity")
    refused(chain_with(exporter, 3, digest=sha256("other")), "integrity")
    refused(chain_with(exporter, 3, published_at="2026-11-05T00:00:00.000Z"), "integrity")
    refused(chain_with(exporter, 3, rules={}), "integrity")
    changed = exporter.claims[-1]["rules"] | {"ATR-2026-1": sha256("other")}
    assert "ATR-2026-1" in refused(chain_with(exporter, 3, rules=changed), "integrity")
    refused(chain_with(exporter, 3, rules=["x"]), "shape")


def test_a_signed_publication_that_is_not_the_listed_one_is_refused(exporter: Exporter) -> None:
    members = members_of(exporter.bundle())
    other = sign("publication+jwt", exporter.claims[-1] | {"rule_key": "rule-fedcba9876543210"}, KEY)
    swapped = [members[0], (members[1][0], other.encode()), *members[2:]]
    assert "another digest" in refused(repacked(swapped), "integrity")


def test_a_delta_must_continue_something(exporter: Exporter) -> None:
    tokens = [sign("publication+jwt", claims, KEY) for claims in exporter.claims]
    tokens[1] = sign("publication+jwt", exporter.claims[1] | {"previous": None}, KEY)
    tokens[2] = sign("publication+jwt", exporter.claims[2] | {"previous": sha256(tokens[1])}, KEY)
    exporter.manifests = tokens
    refused(exporter.bundle(since=1), "integrity")


def test_a_signed_manifest_that_contradicts_itself_is_refused(exporter: Exporter) -> None:
    genuine = msgspec.to_builtins(exporter.manifest())
    rule = genuine["rules"]["ATR-2026-1"]
    wrong: list[dict[str, Any]] = [
        {"format": 2},
        {"format": "1"},
        {"serial": 0},
        {"serial": True},
        {"since": -1},
        {"since": 1},
        {"since": 3},
        {"since": 4},
        {"chain": []},
        {"chain": genuine["chain"] * 2},
        {"texts": genuine["texts"][::-1]},
        {"texts": genuine["texts"][:-1]},
        {"texts": [*genuine["texts"], genuine["texts"][-1]]},
        {"texts": [*genuine["texts"], "f" * 64]},
        {"texts": ["../x"]},
        {"rules": {"": rule}},
        {"rules": {"x" * 129: rule}},
        {"rules": {"ATR-2026-1": rule | {"digest": rule["digest"] + "\n"}}},
        {"rules": {"ATR-2026-1": rule | {"source": "own"}}},
        {"rules": {"ATR-2026-1": rule | {"published_at": "yesterday"}}},
        {"digest": None},
        {"surplus": 1},
    ]
    for claims in wrong:
        assert refused(exporter.claiming(**claims), "shape"), claims
    assert "format 2" in refused(exporter.claiming(format=2), "shape")


def test_an_empty_set_is_read_back() -> None:
    exporter = Exporter(KEY)
    exporter.publish()
    assert read(exporter.bundle()) == (exporter.manifest(), {})
