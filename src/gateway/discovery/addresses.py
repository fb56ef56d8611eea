"""Which addresses instances may have: whoever can write the catalog must not aim the gateway at, say, a cloud's
metadata service."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

DENIED_BY_DEFAULT: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "fe80::/10",
        "ff00::/8",
    )
)

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}\.?\Z")
_ENDS_IN_A_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?\Z")
"""What a resolver reads as an IPv4 address in disguise (https://url.spec.whatwg.org/#ends-in-a-number-checker)."""


class BadAddress(ValueError):
    """The message tells why, without the address."""


class AddressPolicy:
    """`denied` wins over `allowed`; an empty `allowed` allows all. Names are accepted while `allowed` is empty; the
    addresses they lead to are checked at each connect."""

    def __init__(self, allowed: Sequence[Network] = (), denied: Sequence[Network] = DENIED_BY_DEFAULT) -> None:
        self._allowed = tuple(allowed)
        self._denied = tuple(denied)

    def check(self, address: str) -> str:
        """The address as connections need it: IPv6 without brackets. Raises BadAddress."""
        bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
        try:
            parsed = ip_address(bare)
        except ValueError:
            return self._check_name(address)
        if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
            raise BadAddress("an address with a zone is of one machine only")
        effective = _unwrapped(parsed)
        for network in self._denied:
            if effective in network:
                raise BadAddress(f"in the denied network {network}")
        if self._allowed and not any(effective in network for network in self._allowed):
            raise BadAddress("in no allowed network")
        return str(parsed)

    def _check_name(self, name: str) -> str:
        if not _HOST_NAME.match(name) or _ENDS_IN_A_NUMBER.search(name):
            raise BadAddress("neither an IP address nor a host name")
        if self._allowed:
            raise BadAddress("a name, while only addresses of the allowed networks are accepted")
        return name


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """`::ffff:169.254.169.254` reaches the same machine as the IPv4 address in it."""
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address
