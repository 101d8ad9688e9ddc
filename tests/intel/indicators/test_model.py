"""Which addresses and domains a feed may list."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.intel.indicators.model import exact_address, public_domain


@given(st.ip_addresses())
def test_only_real_public_addresses_are_exact(address: IPv4Address | IPv6Address) -> None:
    exact = exact_address(str(address))
    if exact is not None:
        found = ip_address(exact)
        assert found.is_global
        assert not (found.is_private or found.is_loopback or found.is_link_local or found.is_multicast)
        assert int(found) % 256 != 0


@pytest.mark.parametrize(
    "text",
    [
        "10.1.2.3", "172.16.5.4", "192.168.1.1", "127.0.0.1", "::1", "0.0.0.0", "169.254.1.1", "100.64.0.1",
        "198.18.0.1", "192.0.2.5", "198.51.100.7", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "fe80::1", "fc00::1", "ff02::1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1",
        "8.8.8.0", "8.8.0.0", "203.0.1.0", "2a00:1450:4001:82a::", "unknown", "", "8.8.8.8/32",
        "8c1f0a52-6b55-4f0e-9a0d-0d5a7c1b2e3f", "8.8.8.8.8", "0x08080808", "08.8.8.8",
    ],
)  # fmt: skip
def test_what_a_feed_must_never_list(text: str) -> None:
    assert exact_address(text) is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8.8.8.8", "8.8.8.8"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("8.8.8.8:53", "8.8.8.8"),
        ("2A00:1450:4001:82A::200E", "2a00:1450:4001:82a::200e"),
    ],
)
def test_spellings_of_one_address(text: str, address: str) -> None:
    assert exact_address(text) == address


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("Evil.Example.COM.", "evil.example.com"),
        ("b\u00fccher.de", "xn--bcher-kva.de"),
        ("a_b.evil.net", "a_b.evil.net"),
        ("localhost", None),
        ("printer.local", None),
        ("db.internal", None),
        ("a.test", None),
        ("evil", None),
        ("evil..com", None),
        ("-evil.com", None),
        ("evil.com/path", None),
        ("evil.com\n# x", None),
        ("1.2.3.4", None),
        ("x" * 64 + ".com", None),
        (".".join(["abcdefgh"] * 30) + ".com", None),
    ],
)
def test_a_feed_lists_public_domains_only(text: str, domain: str | None) -> None:
    assert public_domain(text) == domain
