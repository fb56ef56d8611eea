"""Which networks a route's clients may come from."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

from gateway.core.limits import Network
from gateway.core.model import Reason, Route
from gateway.pipeline.stage import Answer, Call, ResponseHead

_address = lru_cache(maxsize=4096)(ip_address)
_MAPPED = 96
"""Bits in front of an IPv4 address in its IPv6 form (RFC 4291 §2.5.5.2)."""


class NetworkSet:
    """Tells whether an address is in any of many networks: one look-up for each length of prefix that occurs."""

    def __init__(self, networks: Iterable[Network]) -> None:
        prefixes: dict[tuple[int, int], set[int]] = {}
        for network in map(unmapped, networks):
            shift = network.max_prefixlen - network.prefixlen
            prefixes.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self._prefixes = {
            version: tuple((shift, frozenset(found)) for (of, shift), found in prefixes.items() if of == version)
            for version in (4, 6)
        }

    def __contains__(self, address: IPv4Address | IPv6Address) -> bool:
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        number = int(address)
        return any(number >> shift in found for shift, found in self._prefixes[address.version])


def unmapped(network: Network) -> Network:
    """`::ffff:10.0.0.0/104` is 10.0.0.0/8."""
    first = network.network_address
    if isinstance(first, IPv6Address) and first.ipv4_mapped is not None and network.prefixlen >= _MAPPED:
        return IPv4Network((first.ipv4_mapped, network.prefixlen - _MAPPED))
    return network


class NetworkRules:
    """The stage of a route's networks. Who has no address is in no network."""

    def __init__(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        allow = tuple(allow)
        self._allow = NetworkSet(allow) if allow else None
        self._deny = NetworkSet(deny)

    @classmethod
    def of(cls, route: Route) -> NetworkRules | None:
        networks = route.networks
        return cls(networks.allow, networks.deny) if networks.allow or networks.deny else None

    def request(self, call: Call) -> Answer | None:
        refused = self._refused(call.facts.client_ip)
        return None if refused is None else Answer(Reason.FORBIDDEN, note=refused)

    def response(self, _: Call, __: ResponseHead) -> None:
        """Stays as it is."""

    def _refused(self, client: str) -> str | None:
        try:
            address = _address(client)
        except ValueError:
            return "a client without an address"
        if address in self._deny:
            return "the client's address is in a denied network"
        if self._allow is not None and address not in self._allow:
            return "the client's address is in no allowed network"
        return None
