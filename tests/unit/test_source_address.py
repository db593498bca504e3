from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Forbidden, InvalidInput
from ingest.sources.address import Allowed, checked, embedded, read_allowed, refusal

REFUSED = {
    "127.0.0.1": "loopback",
    "127.8.8.8": "loopback",
    "::1": "loopback",
    "0.0.0.0": "unspecified",  # noqa: S104 (looked at, not bound)
    "::": "unspecified",
    "0.1.2.3": "private",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "192.0.2.1": "private",
    "198.18.0.1": "private",
    "100.64.0.1": "private",
    "100.127.255.255": "private",
    "169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "ff02::1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fec0::1": "private",
    "2001:db8::1": "private",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:7f00:1": "loopback",
    "::ffff:10.0.0.1": "private",
    "::ffff:169.254.169.254": "link-local",
    "::127.0.0.1": "loopback",
    "::10.0.0.1": "private",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b::a9fe:a9fe": "link-local",
    "64:ff9b:1::a00:1": "reserved",
    "2002:7f00:1::": "loopback",
    "2002:a00:1::1": "private",
    "2001:0:808:808::80ff:fffe": "loopback",
    "2001:0:a00:1::f7f7:f7f7": "private",
}
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "172.32.0.1",
    "100.128.0.1",
]


@pytest.mark.parametrize(("text", "kind"), REFUSED.items())
def test_what_is_not_public_is_refused(text: str, kind: str) -> None:
    assert refusal(ipaddress.ip_address(text)) == kind


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_may_be_reached(text: str) -> None:
    assert refusal(ipaddress.ip_address(text)) is None


@given(st.ip_addresses(v=4))
def test_an_address_in_another_dress_is_judged_alike(address: ipaddress.IPv4Address) -> None:
    kind = refusal(address)
    for prefix in (0xFFFF << 32, int(ipaddress.IPv6Address("64:ff9b::"))):
        assert refusal(ipaddress.IPv6Address(prefix | int(address))) == kind
    sixtofour = ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80) | 1)
    assert refusal(sixtofour) == kind
    assert address in embedded(sixtofour)


def test_a_name_allows_private_addresses_and_no_others() -> None:
    for text, kind in REFUSED.items():
        expected = None if kind in ("private", "loopback") else kind
        assert refusal(ipaddress.ip_address(text), named=True) == expected


def test_a_network_allows_what_lies_in_it() -> None:
    allowed = read_allowed("169.254.169.254, 10.1.0.0/16,[fd00::]/8")
    assert refusal(ipaddress.ip_address("169.254.169.254"), networks=allowed.networks) is None
    assert refusal(ipaddress.ip_address("::ffff:10.1.2.3"), networks=allowed.networks) is None
    assert refusal(ipaddress.ip_address("10.2.0.1"), networks=allowed.networks) == "private"


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("wiki.intra", True),
        ("WIKI.intra.", True),
        ("xwiki.intra", False),
        ("a.wiki.intra", False),
        ("a.corp.example", True),
        ("a.b.corp.example", True),
        ("corp.example", False),
        ("evilcorp.example", False),
    ],
)
def test_names_are_whole_names(host: str, fits: bool) -> None:
    assert read_allowed("wiki.intra, *.corp.example").has_name(host) is fits


def test_no_setting_allows_nothing() -> None:
    assert read_allowed(None) == read_allowed(" , ") == Allowed()


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "017700000001"])
async def test_an_address_that_is_written_as_a_number_is_what_it_stands_for(host: str) -> None:
    # What getaddrinfo makes of it, without a question to a name server.
    async def numeric(name: str, port: int) -> Sequence[str]:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(name, port, flags=socket.AI_NUMERICHOST)]

    with pytest.raises(Forbidden, match="has a loopback address"):
        await checked(host, 80, Allowed(), numeric)


async def test_one_bad_address_among_good_ones_is_enough() -> None:
    async def both(_name: str, _port: int) -> Sequence[str]:
        return ["8.8.8.8", "fe80::1%eth0"]

    with pytest.raises(Forbidden, match="link-local"):
        await checked("rebind.example", 443, Allowed(), both)
    allowed = Allowed(networks=(ipaddress.ip_network("fe80::/10"),))
    assert await checked("rebind.example", 443, allowed, both) == ["8.8.8.8", "fe80::1%eth0"]


async def test_an_address_without_a_host_is_refused() -> None:
    with pytest.raises(InvalidInput, match="names no host"):
        await checked("", 80, Allowed())
