"""What can go wrong between the gateway and Consul: one family, each saying what, where, and what to do about it."""

from __future__ import annotations


class ConsulError(Exception):
    """`what` happened, `where` (method and path, never a token), and `advice` for the operator."""

    advice = "see the message"

    def __init__(self, what: str, where: str) -> None:
        super().__init__(what, where)
        self.what = what
        self.where = where

    def __str__(self) -> str:
        return f"{self.what} ({self.where}); {self.advice}"


class ConsulUnreachable(ConsulError):
    """No complete answer came: refused, reset, timed out, TLS not agreed."""

    advice = "check CONSUL_HTTP_ADDR, the agent, and its TLS settings"


class ConsulUnavailable(ConsulError):
    """Consul answered that it cannot: 5xx, most often for want of a leader."""

    advice = "check Consul's servers and their leader"


class ConsulBusy(ConsulError):
    """429: too many connections or requests of this client address."""

    advice = "raise http_max_conns_per_client in the agent's limits, or lower max_watches"


class ConsulDenied(ConsulError):
    """403: the token is unknown, expired, or its policies do not permit this."""

    advice = "check the gateway's ACL token and its policies"


class ConsulRefused(ConsulError):
    """Another 4xx: the request itself is not to Consul's liking. `status` tells which."""

    advice = "check the gateway's settings against Consul's version and edition"

    def __init__(self, what: str, where: str, status: int) -> None:
        super().__init__(what, where)
        self.status = status


class ConsulBadAnswer(ConsulError):
    """An answer that cannot be used: a redirect, broken JSON, an odd shape, or one that is too large."""

    advice = "check that the address is a Consul agent's and that nothing in between changes its answers"


class ConsulSettingsError(ValueError):
    """A setting that cannot be used; the message names the variable and what it should be."""
