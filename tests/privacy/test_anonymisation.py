"""What is taken off a report before anything of it is stored."""

import re
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.timestamps import from_text
from app.privacy.anonymisation import Pseudonyms, bounded, masked_address, reported_hour, to_hour
from tests.clock import NOW

NAMES = Pseudonyms(b"s" * 32)
addresses = st.ip_addresses()


@given(addresses)
def test_an_address_keeps_its_network_only(address: IPv4Address | IPv6Address) -> None:
    masked = masked_address(str(address))
    assert masked is not None
    network = ip_network(masked)
    plain = address.ipv4_mapped if isinstance(address, IPv6Address) and address.ipv4_mapped else address
    assert plain in network
    assert network.prefixlen == (16 if network.version == 4 else 48)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("203.0.113.9", "203.0.0.0/16"),
        (" 203.0.113.9 ", "203.0.0.0/16"),
        ("203.0.113.9:443", "203.0.0.0/16"),
        ("::ffff:203.0.113.9", "203.0.0.0/16"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_every_spelling_of_an_address_is_masked(text: str, masked: str) -> None:
    assert masked_address(text) == masked


@pytest.mark.parametrize(
    "text", ["unknown", "", "8c1f0a52-6b55-4f0e-9a0d-0d5a7c1b2e3f", "1.2.3", "999.1.1.1", "host", "1.2.3.4/8"]
)
def test_what_is_no_address_is_not_kept_as_one(text: str) -> None:
    assert masked_address(text) is None


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_an_instant_keeps_its_hour_and_is_never_in_the_future(sent: datetime, received: datetime) -> None:
    hour = from_text(reported_hour(sent.isoformat(), received))
    assert (hour.minute, hour.second, hour.microsecond) == (0, 0, 0)
    assert hour == to_hour(min(sent, received))


@pytest.mark.parametrize("text", [None, "", "soon", "1795236080", "2026-13-01", "0001-01-01T00:00:00+23:59"])
def test_without_a_readable_instant_it_is_the_hour_of_receipt(text: str | None) -> None:
    assert reported_hour(text, NOW) == "2026-04-17T10:00:00.000Z"


@given(st.text(), st.integers(1, 50))
def test_a_bounded_text_is_short_and_printable(text: str, limit: int) -> None:
    kept = bounded(text, limit)
    assert len(kept) <= limit
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", kept)


def test_what_would_lie_to_a_reader_is_taken_out() -> None:
    assert bounded("a\x1b[31mb\u202ec\ud7fb\n", 20) == "a [31mb c\ud7fb"


@given(addresses, st.text(alphabet="ab ,;=\"'()", max_size=5), st.text(alphabet="ab ,;=\"'()", max_size=5))
def test_no_exact_address_survives_in_a_text(
    address: IPv4Address | IPv6Address, before: str, after: str
) -> None:
    before, after = f"{before} ", f" {after}"
    kept = NAMES.scrubbed(f"{before}{address}{after}", 500)
    found = [word.strip(",;=\"'()") for word in kept.split()]
    exact = [word for word in found if _is_address(word)]
    assert exact == []


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True


def test_people_and_hosts_are_taken_out_of_a_text() -> None:
    text = r"alice@corp.example from 10.1.2.3:80 read /home/bob/.ssh, C:\Users\carol\x at 12:30:45"
    kept = NAMES.scrubbed(text, 500)
    for word in ("alice", "10.1.2.3", "bob", "carol"):
        assert word not in kept
    assert "10.1.0.0/16:80" in kept
    assert "@corp.example" in kept
    assert "12:30:45" in kept
    assert NAMES.of("user", "bob") in kept


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_pseudonym_depends_on_kind_text_and_instance(kind: str, text: str) -> None:
    name = NAMES.of(kind, text)
    assert re.fullmatch("[0-9a-f]{16}", name)
    assert name == NAMES.of(kind, text)
    assert name != NAMES.of(kind + "x", text)
    assert name != Pseudonyms(b"t" * 32).of(kind, text)


def test_scrubbing_a_hostile_text_takes_no_time() -> None:
    for piece in ("1.", ":", "a:", "/home/", "@a.", "1:1.", "\\Users\\", "a@"):
        NAMES.scrubbed(piece * 20_000, 512)


def test_an_hour_ago_is_an_hour_ago() -> None:
    sent = (NOW - timedelta(hours=1)).isoformat()
    assert reported_hour(sent, NOW) == "2026-04-17T09:00:00.000Z"
