"""Copies of requests on their way to shadow services: a bounded number at once, none of which anybody waits for."""

from __future__ import annotations

import asyncio
from functools import lru_cache

from gateway.core.model import Backend, Limits, RetryPolicy, Route, Shadow, Timeouts
from gateway.pipeline.shadow import Copied, OnCopy
from gateway.pipeline.stage import Call, Field
from gateway.proxy.service_calls import CallFailed, Message, ServiceCalls

MOST = 256
"""Copies under way at once; further ones are dropped."""
_MARK: Field = ("X-Gateway-Shadow", "true")
"""By which a service can tell that nobody waits for its answer. A client cannot send it: `X-Gateway-*` is ours."""


class Shadows:
    def __init__(self, calls: ServiceCalls, on_copy: OnCopy) -> None:
        self._calls = calls
        self._on_copy = on_copy
        self._going: set[asyncio.Task[None]] = set()

    def __call__(self, shadow: Shadow, call: Call, body: bytes | None) -> None:
        if len(self._going) >= MOST:
            self._on_copy(call.route.name, Copied.DROPPED)
            return
        task = asyncio.get_running_loop().create_task(self._send(shadow, call, body))
        self._going.add(task)
        task.add_done_callback(self._going.discard)

    async def close(self) -> None:
        """Gives up what is under way."""
        for task in self._going:
            task.cancel()
        await asyncio.gather(*self._going, return_exceptions=True)

    async def _send(self, shadow: Shadow, call: Call, body: bytes | None) -> None:
        target = call.path + call.query
        message = Message(call.facts.method, target, call.host, [*call.fields, _MARK], body, call.for_instance)
        try:
            await self._calls.call(_route_of(shadow), call.facts, message)
        except CallFailed:
            self._on_copy(call.route.name, Copied.FAILED)
        else:
            self._on_copy(call.route.name, Copied.ANSWERED)


@lru_cache(maxsize=1024)
def _route_of(shadow: Shadow) -> Route:
    """The route that copies go by: one attempt, and no waiting for a busy instance."""
    return Route(
        f"{shadow.service} (shadow)",
        0,
        (Backend(shadow.service, tags=shadow.tags, meta=shadow.meta),),
        timeouts=Timeouts(shadow.timeout, shadow.timeout, shadow.timeout),
        retry=RetryPolicy(attempts=1),
        limits=Limits(queue=0),
    )
