"""Which addresses a fetch may reach: those of the public internet, and those that the administrator allows.

A name is resolved once and every address that it has is checked; the connection then goes to a checked address and not
to the name, so that an answer of the name server that changes in between (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from core.errors import Forbidden, InvalidInput, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# RFC 6052: an IPv4 address in the last four bytes, which a translator on the way connects to.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Hosts that may be reached although their addresses are not public.

    A name allows private and loopback addresses, ``*.name`` those of all names below it; only a network or an address
    that is listed itself allows link-local ones, where clouds keep the credentials of their machines.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def has_name(self, host: str) -> bool:
        """Whether the host is listed by its name."""
        host = host.lower().rstrip(".")
        parts = host.split(".")
        return host in self.names or any(f"*.{'.'.join(parts[n:])}" in self.names for n in range(1, len(parts)))


def read_allowed(text: str | None) -> Allowed:
    """The hosts of a setting: names, addresses and networks (``10.1.0.0/16``) with commas between them."""
    names, networks = [], []
    for entry in filter(None, (part.strip().lower() for part in (text or "").split(","))):
        try:
            networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
        except ValueError:
            names.append(entry.rstrip("."))
    return Allowed(names=frozenset(names), networks=tuple(networks))


def refusal(address: Address, *, named: bool = False, networks: Sequence[Network] = ()) -> str | None:
    """What kind of address this is, when it must not be reached; nothing when it may.

    Args:
        address: as it would be connected to.
        named: whether its host is allowed by name.
        networks: what is allowed by address.
    """
    for seen in (address, *embedded(address)):
        kind = _kind(seen)
        if kind is None or any(seen in network for network in networks):
            continue
        if not (named and kind in ("private", "loopback")):
            return kind
    return None


def embedded(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address stands for: mapped, compatible, 6to4, Teredo and NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address in NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def _kind(address: Address) -> str | None:
    """Why an address is not public; ``::ffff:1.2.3.4`` and its like count as what is in them."""
    if next(embedded(address), None) is not None:
        return None
    if address.is_loopback:
        return "loopback"
    for name in ("link_local", "multicast", "unspecified"):
        if getattr(address, f"is_{name}"):
            return name.replace("_", "-")
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return "private"
    if address.is_reserved:
        return "reserved"
    # Last, because the registry counts much as not global that has a better name above; 100.64.0.0/10 is caught here.
    return None if address.is_global else "private"


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a host by the system's resolver.

    Raises:
        Unavailable: it knows none.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"The host {host!r} is not known to the name servers. Check the address.") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def checked(host: str, port: int, allowed: Allowed, resolve: Resolve = look_up) -> list[str]:
    """The addresses of a host, all of which may be reached.

    Raises:
        InvalidInput: there is no host.
        Unavailable: the host is not known.
        Forbidden: one of its addresses must not be reached.
    """
    if not host:
        raise InvalidInput("The address names no host.")
    named = allowed.has_name(host)
    addresses = await resolve(host, port)
    for text in addresses:
        # A zone (fe80::1%eth0) only says by which interface.
        address = ipaddress.ip_address(text.partition("%")[0])
        if kind := refusal(address, named=named, networks=allowed.networks):
            raise Forbidden(
                f"The host {host!r} has a {kind} address, which is not fetched. An administrator may allow hosts of "
                "an intranet by SOURCES__ALLOWED_HOSTS."
            )
    return list(addresses)
