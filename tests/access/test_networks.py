"""Addresses: nobody chooses the address that it is judged by, and nothing in a header breaks the reading."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.networks import Networks, client_address, source_of

PROXIES = Networks.parse(["10.0.0.0/8", "fd00::/8"])
NONE = Networks.parse([])

outside = st.ip_addresses(v=4).map(str).filter(lambda a: not PROXIES.contains(a)) | st.ip_addresses(v=6).map(
    str
).filter(lambda a: not PROXIES.contains(a))
hop = st.ip_addresses().map(str) | st.text(max_size=20)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9 ,10.9.9.9", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, unknown, 10.0.0.7", "10.0.0.7"),
        ("10.0.0.1", "203.0.113.9,", "10.0.0.1"),
        ("10.0.0.1", ",,,,", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9:55123", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("10.0.0.1", "2001:DB8:0:0::7", "2001:db8::7"),
        ("fd00::1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", None, "fe80::1"),
        ("", "203.0.113.9", ""),
        ("10.0.0.1", "1" * 100_000, "10.0.0.1"),
        ("10.0.0.1", "010.1.1.1", "10.0.0.1"),
    ],
)
def test_a_client_has_the_address_before_the_last_trusted_proxy(
    peer: str, forwarded: str | None, expected: str
) -> None:
    assert client_address(peer, forwarded, PROXIES) == expected


@given(peer=outside, header=st.text())
def test_an_untrusted_peer_is_itself_whatever_it_claims(peer: str, header: str) -> None:
    assert client_address(peer, header, PROXIES) == client_address(peer, None, PROXIES)


@given(claims=st.lists(hop, max_size=6), real=outside, proxies=st.integers(0, 4))
def test_what_a_client_writes_left_of_its_own_address_never_counts(
    claims: list[str], real: str, proxies: int
) -> None:
    header = ",".join([*claims, real, *[f"10.0.1.{n}" for n in range(proxies)]])
    assert client_address("10.0.0.1", header, PROXIES) == client_address(real, None, NONE)


@given(peer=st.text(), header=st.none() | st.text())
def test_no_address_or_header_raises(peer: str, header: str | None) -> None:
    client_address(peer, header, PROXIES)
    source_of(peer)
    PROXIES.contains(peer)


@given(network=st.ip_addresses(), length=st.integers(0, 32), address=st.ip_addresses())
def test_contains_agrees_with_the_standard_library(
    network: ipaddress.IPv4Address | ipaddress.IPv6Address,
    length: int,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    expected = ipaddress.ip_network(f"{network}/{length}", strict=False)
    inside = expected[0] if expected.version == 6 and expected.num_addresses > 1 else expected[-1]
    networks = Networks.parse([str(expected)])
    for candidate in (address, inside):
        if getattr(candidate, "ipv4_mapped", None) is None:
            assert networks.contains(str(candidate)) == (candidate in expected)


@pytest.mark.parametrize("bad", ["10.0.0.0/33", "10.0.0.1/8", "example.org", "", "10.0.0.0/8/9"])
def test_a_bad_network_is_named(bad: str) -> None:
    with pytest.raises(ValueError, match="is not a network") as caught:
        Networks.parse(["192.0.2.0/24", bad])
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("local", "local"),
    ],
)
def test_hosts_of_one_ipv6_network_are_one_source(address: str, source: str) -> None:
    assert source_of(address) == source
