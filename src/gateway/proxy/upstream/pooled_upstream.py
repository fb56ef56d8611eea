"""The upstream implementation: HTTP/1.1 on kept connections of our own, one pool for each service and endpoint.

No client library. Half of one is what a proxy has to switch off one by one (cookies, redirects, resends of its own,
proxies from the environment, added fields), and it hides which connection a request went out on, which is what tells a
stale connection from a reset one. And a request here costs no task and no future, unless it has to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from gateway.core.tickets import Attempt
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.exchange import UpstreamExchange
from gateway.proxy.upstream.host_name import CheckAddress
from gateway.proxy.upstream.interface import Receiver, UpstreamRequest
from gateway.proxy.upstream.pool import UpstreamPool
from gateway.proxy.wire.outbox import Outbox


class PooledUpstream:
    """One pool for each service and endpoint; a changed set of connect settings makes a new one. What an instance's
    host name leads to is checked by `check`; addresses have been."""

    def __init__(self, options: ProxyOptions, check: CheckAddress) -> None:
        """To be made in the event loop."""
        self.outbox = Outbox(asyncio.get_running_loop())
        self._options = options
        self._check = check
        self._pools: dict[tuple[str, str, int], UpstreamPool] = {}

    def send(self, attempt: Attempt, request: UpstreamRequest, receiver: Receiver) -> UpstreamExchange:
        exchange = UpstreamExchange(self._pool(attempt), request, receiver, self._options)
        exchange.begin()
        return exchange

    def retain(self, endpoints: Collection[tuple[str, int]]) -> None:
        for key in [key for key in self._pools if (key[1], key[2]) not in endpoints]:
            self._pools.pop(key).retire()

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        await asyncio.sleep(0)

    @property
    def idle_connections(self) -> dict[tuple[str, int], int]:
        """Kept connections by endpoint."""
        return {(pool.address, pool.port): pool.idle for pool in self._pools.values()}

    def _pool(self, attempt: Attempt) -> UpstreamPool:
        instance, connect = attempt.instance, attempt.policy.connect
        key = (instance.service, instance.address, instance.port)
        pool = self._pools.get(key)
        if pool is None or (pool.connect is not connect and pool.connect != connect):
            if pool is not None:
                pool.retire()
            pool = self._pools[key] = UpstreamPool(
                instance.address, instance.port, connect, self.outbox, self._options, self._check
            )
        return pool
