"""How services are asked whether a request may go on: over the gateway's own connections, as tickets of their own."""

from __future__ import annotations

from functools import lru_cache

from gateway.core.authentication import External
from gateway.core.model import Backend, Limits, RetryPolicy, Route, Timeouts
from gateway.pipeline.authentication import AskFailed
from gateway.pipeline.stage import Call, Field
from gateway.proxy.service_calls import CallFailed, Message, Reply, ServiceCalls

_OURS = frozenset(
    {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-request-id", "via"}
)
"""What the call carries upstream already, and a service that is asked needs as well."""


class Asker:
    def __init__(self, calls: ServiceCalls) -> None:
        self._calls = calls

    async def __call__(self, policy: External, call: Call) -> Reply:
        """Raises AskFailed."""
        try:
            return await self._calls.call(_route_of(policy), call.facts, _question(policy, call))
        except CallFailed as failed:
            raise AskFailed(str(failed)) from None


@lru_cache(maxsize=1024)
def _route_of(policy: External) -> Route:
    """The route that such questions go by. It matches nothing: it is not in the table."""
    return Route(
        f"{policy.service} (external authorisation)",
        0,
        (Backend(policy.service),),
        timeouts=Timeouts(policy.timeout, policy.timeout, policy.timeout),
        retry=RetryPolicy(attempts=2),
        limits=Limits(queue_timeout=policy.timeout),
    )


def _question(policy: External, call: Call) -> Message:
    """A GET without a body, that tells method, host and path as Traefik's ForwardAuth does."""
    wanted = _OURS | set(policy.request_headers)
    told: list[Field] = [field for field in call.fields if field[0].lower() in wanted]
    told += [("X-Forwarded-Method", call.facts.method), ("X-Forwarded-Uri", call.path + call.query)]
    target = call.path + call.query if policy.path is None else policy.path
    return Message("GET", target, None, told)
