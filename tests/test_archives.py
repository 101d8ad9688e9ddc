"""Archives are read strictly and with bounds; the attacks on whole files are in tests/bundles and tests/backup."""

import gzip
import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.archives import ArchiveError, ArchiveForm, ArchiveReader, BoundedGunzip, pack, plain_files

CUT = gzip.compress(tarfile.TarInfo("one").tobuf())[:-20]
"""A tarball that ends within its only header."""
FORM = ArchiveForm("a parcel", tarfile.GNU_FORMAT, 0o600, max_packed=1 << 20, max_unpacked=1 << 22)

MEMBERS = st.lists(
    st.tuples(st.from_regex(r"[a-z]{1,90}", fullmatch=True), st.binary(max_size=2000)), max_size=6
)


def packed(*members: tuple[str, bytes]) -> bytes:
    return b"".join(pack(FORM, ((name, len(content), [content]) for name, content in members)))


def code_of(error: pytest.ExceptionInfo[ArchiveError]) -> str:
    return error.value.code


@settings(max_examples=60, deadline=None)
@given(MEMBERS, st.integers(1, 700))
def test_members_are_read_back_in_their_order(members: list[tuple[str, bytes]], size: int) -> None:
    whole = packed(*members)
    reader = ArchiveReader(FORM, (whole[at : at + size] for at in range(0, len(whole), size)))
    assert [(name, reader.read(name, 2000)) for name, _ in members] == members
    reader.finish()


def test_a_content_of_another_size_than_announced_is_not_written() -> None:
    with pytest.raises(ArchiveError, match="changed while it was being written") as caught:
        list(pack(FORM, [("one", 4, [b"abc"])]))
    assert code_of(caught) == "integrity"


def test_sizes_beyond_8_gib_are_read_from_their_header() -> None:
    header = FORM.header("database", 1 << 42)
    size, _ = ArchiveReader(FORM, [gzip.compress(header)]).member("database", 1 << 43)
    assert size == 1 << 42
    with pytest.raises(ArchiveError) as caught:
        ArchiveReader(FORM, [gzip.compress(header)]).member("database", 1 << 41)
    assert code_of(caught) == "too-large"


def test_a_size_spelled_in_another_way_is_refused() -> None:
    header = bytearray(FORM.header("one", 3))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")
    with pytest.raises(ArchiveError, match="not stored as a plain file"):
        ArchiveReader(FORM, [gzip.compress(bytes(header))]).read("one", 10)


def test_limits_of_a_form_hold_for_writing_and_reading() -> None:
    with pytest.raises(ArchiveError) as caught:
        packed(("zeros", bytes(1 << 23)))
    assert code_of(caught) == "too-large"
    bomb = gzip.compress(FORM.header("zeros", 1 << 30) + bytes(1 << 25))
    reader = ArchiveReader(FORM, [bomb])
    tracemalloc.start()
    with pytest.raises(ArchiveError) as caught:
        for _ in reader.member("zeros", 1 << 31)[1]:
            pass
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert code_of(caught) == "too-large"


def test_a_file_that_is_not_gzip_is_named() -> None:
    with pytest.raises(ArchiveError, match="It is not a parcel") as caught:
        ArchiveReader(FORM, [b"PK\x03\x04 and more"]).read("one", 10)
    assert code_of(caught) == "shape"


def tarball(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def test_plain_files_are_all_that_is_read_of_a_tarball() -> None:
    package = tarball(
        (tarfile.TarInfo("package/one"), b"1"),
        (link("package/link"), b""),
        (tarfile.TarInfo("package/../two"), b"2"),
        (tarfile.TarInfo("/etc/three"), b"3"),
        (tarfile.TarInfo("package/four"), b"4"),
    )
    found = [(name, read()) for name, read in plain_files(package, max_bytes=1 << 20, max_members=9)]
    assert found == [("package/one", b"1"), ("package/four", b"4")]


def test_a_tarball_is_bounded_in_number_and_size() -> None:
    package = tarball(*((tarfile.TarInfo(f"f{number}"), bytes(5000)) for number in range(5)))
    for limits, code in (
        ({"max_bytes": 1 << 20, "max_members": 4}, "too-many"),
        ({"max_bytes": 9000, "max_members": 9}, "too-large"),
    ):
        with pytest.raises(ArchiveError) as caught:
            for _, read in plain_files(package, **limits):
                read()
        assert code_of(caught) == code


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"no tar"), CUT], ids=["empty", "text", "no tar", "cut off"]
)
def test_what_is_no_tarball_is_unreadable(content: bytes) -> None:
    with pytest.raises(ArchiveError) as caught:
        list(plain_files(content, max_bytes=1 << 20, max_members=9))
    assert code_of(caught) == "unreadable"


@given(st.binary(max_size=3000), st.integers(1, 400))
def test_a_stream_is_gunzipped_piece_by_piece(content: bytes, size: int) -> None:
    coded = gzip.compress(content)
    gunzip = BoundedGunzip(len(content))
    assert b"".join(gunzip.feed(coded[at : at + size]) for at in range(0, len(coded), size)) == content
    gunzip.finish()


def test_a_stream_is_refused_when_it_is_damaged_cut_off_continued_or_too_large() -> None:
    coded = gzip.compress(b"content")
    with pytest.raises(ArchiveError) as caught:
        BoundedGunzip(100).feed(b"<html>")
    assert code_of(caught) == "integrity"
    for part in (coded[:-1], coded + b"x"):
        gunzip = BoundedGunzip(100)
        gunzip.feed(part)
        with pytest.raises(ArchiveError) as caught:
            gunzip.finish()
        assert code_of(caught) == "truncated"
    gunzip = BoundedGunzip(100)
    gunzip.feed(coded)
    with pytest.raises(ArchiveError) as caught:
        gunzip.feed(b"more")
    assert code_of(caught) == "truncated"
    with pytest.raises(ArchiveError) as caught:
        BoundedGunzip(100).feed(gzip.compress(bytes(1 << 24)))
    assert code_of(caught) == "too-large"
