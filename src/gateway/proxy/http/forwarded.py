"""For whom we forward: `X-Forwarded-*`, `X-Real-IP` and `Forwarded` (RFC 7239), and the client's address from them.

What a peer says about earlier hops is believed only if the peer is a trusted hop; anybody else's word is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.proxy.http.fields import Field, elements, is_token

_UNKNOWN = "unknown"


@lru_cache(maxsize=4096)
def plain_address(address: str) -> str:
    """One spelling for each address: without zone, IPv4 out of its IPv6 mapping; `unknown` for what is no address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return _UNKNOWN
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


class Forwarding:
    """`trusted` are the networks of the hops in front of us."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)
        self.trusts = lru_cache(maxsize=4096)(self._trusts)

    def _trusts(self, address: str) -> bool:
        if not self._trusted or address == _UNKNOWN:
            return False
        parsed = ip_address(address)
        return any(parsed in network for network in self._trusted)

    def client_ip(self, peer: str, hops: Mapping[str, list[str]]) -> str:
        """The address of the first hop, seen from us, that is not trusted; the farthest one if all are."""
        if not hops or not self.trusts(peer):
            return peer
        nearest = peer
        for address in reversed(_chain(hops)):
            if address == _UNKNOWN:
                break
            nearest = address
            if not self.trusts(address):
                break
        return nearest

    def scheme(self, peer: str, hops: Mapping[str, list[str]], ours: str) -> str:
        """What the client spoke to the first trusted hop, or else to us, which is `ours`."""
        said = hops.get("x-forwarded-proto") if hops and self.trusts(peer) else None
        if not said:
            return ours
        return "https" if elements(said)[:1] in (["https"], ["HTTPS"]) else "http"

    def fields(
        self, peer: str, client_ip: str, scheme: str, host: str | None, port: int, hops: Mapping[str, list[str]]
    ) -> list[Field]:
        """What we say upstream. `host` is the client's `Host` as sent, `port` the one that it reached us at."""
        element = f"for={_node(peer)};proto={scheme}"
        if host:
            element += f";host={host if is_token(host) else _quoted(host)}"
        if not hops or not self.trusts(peer):
            said = [
                ("X-Forwarded-For", peer),
                ("X-Forwarded-Proto", scheme),
                ("X-Forwarded-Port", str(port)),
                ("Forwarded", element),
                ("X-Real-IP", client_ip),
            ]
            if host:
                said.append(("X-Forwarded-Host", host))
            return said
        return [
            ("X-Forwarded-For", ", ".join([*hops.get("x-forwarded-for", ()), peer])),
            *_kept_or("X-Forwarded-Proto", scheme, hops),
            *_kept_or("X-Forwarded-Port", str(port), hops),
            *_kept_or("X-Forwarded-Host", host, hops),
            ("Forwarded", ", ".join([*hops.get("forwarded", ()), element])),
            ("X-Real-IP", client_ip),
        ]


def _kept_or(name: str, ours: str | None, hops: Mapping[str, list[str]]) -> list[Field]:
    kept = hops.get(name.lower())
    if kept:
        return [(name, kept[0])]
    return [(name, ours)] if ours else []


def _chain(hops: Mapping[str, list[str]]) -> list[str]:
    """Addresses of earlier hops, farthest first. `X-Forwarded-For` is what most hops write; `Forwarded` else."""
    said = hops.get("x-forwarded-for")
    if said:
        return [plain_address(_without_port(element)) for element in elements(said)]
    return [_forwarded_for(element) for element in elements(hops.get("forwarded", ()))]


def _forwarded_for(element: str) -> str:
    for pair in element.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "for":
            return plain_address(_without_port(value.strip('"')))
    return _UNKNOWN


def _without_port(node: str) -> str:
    if node.startswith("["):
        return node[1:].partition("]")[0]
    return node.partition(":")[0] if node.count(":") == 1 else node


def _node(address: str) -> str:
    return f'"[{address}]"' if ":" in address else address


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
