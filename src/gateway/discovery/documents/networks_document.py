"""`networks` of a route: where its clients may have their addresses."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from gateway.core.limits import Network, Networks
from gateway.discovery.documents.model import Document, overlaid
from gateway.discovery.documents.units import refusal


def _network(value: object) -> Network:
    try:
        written = ip_interface(value if isinstance(value, str) and "%" not in value else "")
    except ValueError:
        raise refusal("is not a network such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32") from None
    if written.ip != written.network.network_address:
        raise refusal(f"has bits set behind the prefix; write {written.network}")
    return written.network


_Networks = Annotated[
    tuple[
        Annotated[Network, PlainValidator(_network), WithJsonSchema({"type": "string"})],
        ...,
    ],
    Field(max_length=10_000),
]


class NetworksDocument(Document):
    """The client's address is that of the first hop that is not trusted (setting `trusted_hops`)."""

    allow: _Networks = Field((), description="Only clients in one of these networks; left out: all.")
    deny: _Networks = Field((), description="No clients in one of these; wins over `allow`.")

    def over(self, base: Networks) -> Networks:
        return overlaid(base, self)
