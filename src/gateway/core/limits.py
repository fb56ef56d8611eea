"""What a route asks of its requests besides places: how often, from where, and for which web pages.

As in `core.model`: durations are seconds, and every value is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

Network = IPv4Network | IPv6Network

PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
"""What a rate may be of, by its letter."""
_LETTERS = {period: letter for letter, period in PERIODS.items()}


class RateSource(Enum):
    CLIENT_IP = "client_ip"
    HEADER = "header"
    CLAIM = "claim"
    CREDENTIAL = "credential"
    ROUTE = "route"


class RateKey(NamedTuple):
    """By what requests are told apart; `name` is of the header, in lower case, or of the claim."""

    source: RateSource
    name: str = ""

    def __str__(self) -> str:
        return f"{self.source.value} {self.name}" if self.name else self.source.value


BY_CLIENT = RateKey(RateSource.CLIENT_IP)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`count` requests in each `period`, which is one of PERIODS, and `burst` at once, for each key."""

    count: int
    period: float
    burst: int
    by: RateKey = BY_CLIENT

    @property
    def rate(self) -> str:
        return f"{self.count}/{_LETTERS[self.period]}"

    def __str__(self) -> str:
        return f"{self.rate} by {self.by}"


@dataclass(frozen=True, slots=True)
class Networks:
    """Where clients may have their addresses: in one of `allow` if there are any, and in none of `deny`."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()


ANY = "*"


@dataclass(frozen=True, slots=True)
class Cors:
    """What pages of other origins may do (the Fetch standard, CORS protocol). Without `origins` it is off.

    An origin is `scheme://host[:port]`, `*.` allowed in front of the host, or ANY, as may be a method or a header.
    """

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age: float = 600.0


EVERYWHERE = Networks()
NO_CORS = Cors()
