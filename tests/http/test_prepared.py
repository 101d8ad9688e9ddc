"""A body that is prepared once and ends differently each time is an ordinary body to every reader."""

import gzip
import subprocess
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.prepared import PreparedBody, accepts_gzip
from tests.needs import need_program


@given(st.binary(max_size=200_000), st.binary(max_size=2000))
def test_every_reader_gets_the_whole_body(plain: bytes, tail: bytes) -> None:
    body = PreparedBody.prepare(plain, level=1)
    packed = body.gzip + body.finish_gzip(tail)
    assert gzip.decompress(packed) == plain + tail
    reader = zlib.decompressobj(wbits=31)
    assert reader.decompress(packed) == plain + tail
    assert reader.eof
    assert reader.unused_data == b""


def test_a_restored_body_ends_the_same() -> None:
    body = PreparedBody.prepare(b"rules" * 1000)
    again = PreparedBody.restore(body.gzip, body.crc)
    assert again == body
    assert again.finish_gzip(b"}") == body.finish_gzip(b"}")
    for damaged in (b"", body.gzip[:10] + b"\xff" * 20, body.gzip[:-9], PreparedBody.prepare(b"rulez").gzip):
        with pytest.raises(ValueError, match="damaged"):
            PreparedBody.restore(damaged, body.crc)


def test_the_gzip_program_takes_it() -> None:
    program = need_program("gzip")
    body = PreparedBody.prepare(b"rules" * 1000)
    done = subprocess.run(
        [program, "-dc"], input=body.gzip + body.finish_gzip(b"}"), capture_output=True, check=True
    )
    assert done.stdout == b"rules" * 1000 + b"}"


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, gzip;q=0.5", True),
        ("GZIP", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("identity", False),
        ("br, deflate", False),
    ],
)
def test_gzip_is_sent_only_to_who_asks_for_it(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
