"""Addresses and networks, by the names of Kubernetes' CEL library for them.

An IPv4 address mapped into IPv6, a zone and leading zeros are refused, as Kubernetes refuses them; a network may be
written with host bits, which count for nothing.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from gateway.core.predicate.overloads import Functions, Overload
from gateway.core.predicate.types import BOOL, CIDR, INT, IP, STRING
from gateway.core.predicate.values import PredicateError

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network


def _parsed_address(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and (address.scope_id is not None or address.ipv4_mapped is not None):
        return None
    return address


def _parsed_network(text: str) -> _Network | None:
    address, slash, length = text.partition("/")
    if not slash or not (length.isascii() and length.isdecimal()) or _parsed_address(address) is None:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _address(text: str) -> _Address:
    address = _parsed_address(text)
    if address is None:
        raise PredicateError("the text is not an IP address")
    return address


def _network(text: str) -> _Network:
    network = _parsed_network(text)
    if network is None:
        raise PredicateError("the text is not a network such as 10.0.0.0/8")
    return network


def _contains(network: _Network, address: _Address) -> bool:
    return address in network


def _contains_text(network: _Network, text: str) -> bool:
    return _address(text) in network


def _contains_network(network: _Network, other: _Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and other.subnet_of(network)
    return isinstance(other, IPv6Network) and other.subnet_of(network)


FUNCTIONS: Functions = {
    "ip": (Overload((STRING,), IP, _address, early=True),),
    "isIP": (Overload((STRING,), BOOL, lambda text: _parsed_address(text) is not None),),
    "cidr": (Overload((STRING,), CIDR, _network, early=True),),
    "isCIDR": (Overload((STRING,), BOOL, lambda text: _parsed_network(text) is not None),),
    "containsIP": (
        Overload((CIDR, IP), BOOL, _contains, member=True),
        Overload((CIDR, STRING), BOOL, _contains_text, member=True),
    ),
    "containsCIDR": (
        Overload((CIDR, CIDR), BOOL, _contains_network, member=True),
        Overload((CIDR, STRING), BOOL, lambda network, text: _contains_network(network, _network(text)), member=True),
    ),
    "family": (Overload((IP,), INT, lambda address: address.version, member=True),),
    "isLoopback": (Overload((IP,), BOOL, lambda address: address.is_loopback, member=True),),
}
