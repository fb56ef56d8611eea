"""One gateway: what it learns from Consul, what it shows, and when it serves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from pydantic import JsonValue

from gateway import __version__
from gateway.admin.readiness import judge
from gateway.admin.server import AdminServer
from gateway.admin.sources import ConsulStanding, Readiness
from gateway.app import parts
from gateway.app.figures import Figures
from gateway.app.front import Front
from gateway.app.handover import Predecessor, Successors
from gateway.app.in_force import InForce
from gateway.app.serving import Serving
from gateway.app.workers.crew import Crew
from gateway.build import COMPILED
from gateway.core.model import Instance, Route, ServicePolicy
from gateway.core.views import CircuitView, RouteLoad
from gateway.discovery.consul_client import ConsulClient
from gateway.discovery.consul_settings import ConsulSettings
from gateway.discovery.documents import Rejection, describe, describe_policy
from gateway.discovery.duty import DutyState
from gateway.discovery.errors import ConsulError
from gateway.discovery.service import Discovery
from gateway.discovery.snapshot import Snapshot
from gateway.discovery.view import ViewState
from gateway.proxy.client.server_certificates import CertificateStanding
from gateway.settings import Settings
from gateway.telemetry.metrics import CONTENT_TYPE, Metrics
from gateway.telemetry.sources import MetricSources

logger = logging.getLogger("gateway")

_NODE_RETRY = 5.0
"""Seconds between questions for our own node's name, while the agent does not answer."""
_DEREGISTER_WITHIN = 3.0
_DISCOVERY_RESTART = 1.0


class App:
    """Owns all but the serving of requests."""

    def __init__(self, settings: Settings, before: Predecessor | None = None) -> None:
        """To be made in the event loop. `before` is a gateway that this one takes over from, once it serves. Raises
        what `run` does."""
        self._settings = settings
        self._before = before
        self._listening = parts.listening(settings, before)
        admin = parts.admin_socket(settings, before)
        self._sockets = {**self._listening.named(), "admin": admin}
        self._successors: Successors | None = None
        self._succeeded_by: str | None = None
        self._draining = asyncio.Event()
        self._first_view = asyncio.Event()
        self._ready = False
        admin_token = parts.admin_token(settings)
        self._in_force = InForce()
        self._front = self._new_front(settings)
        self._in_force.pass_on_to(self._front)
        self._figures = Figures()
        consul_settings = ConsulSettings.from_environment(settings.consul_environment(os.environ))
        self._consul_address = consul_settings.address
        self._client = ConsulClient(consul_settings)
        self._discovery = self._new_discovery()
        self._metrics = Metrics(
            self._metric_sources(), lambda: self._figures.counts, gateway_id=settings.gateway_id, mode=settings.mode
        )
        token = None if admin_token is None else admin_token.current
        self._admin = AdminServer(self, settings.admin_listen.host, settings.admin_listen.port, token, admin)

    async def run(self) -> None:
        """Serves from the first full view of Consul on, or from the snapshot's, until it has drained."""
        settings = self._settings
        try:
            if self._before is None:
                await self._admin.start()
            await self._front.open()
        except BaseException:
            await self._admin.stop()
            await self._front.close()
            raise
        logger.info(
            "The gateway starts.", extra={**self.identity(), "compiled": COMPILED, "consul": self._consul_address}
        )
        tasks: list[asyncio.Task[None]] = [asyncio.create_task(self._discover())]
        if settings.mode == "sidecar":
            tasks.append(asyncio.create_task(self._prefer_own_node()))
        try:
            if await self._became_ready():
                await self._serve()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._admin.stop()
            if self._successors is not None:
                self._successors.close()
            if self._before is not None:
                self._before.close()
            await self._front.close()
            await self._client.close()
            self._metrics.close()
        logger.info("The gateway has stopped.")

    @property
    def draining(self) -> bool:
        return self._draining.is_set()

    def _new_front(self, settings: Settings) -> Front:
        listening, sticky_key = self._listening, parts.sticky_key(settings)
        if settings.workers == 1:
            return Serving(settings, listening, sticky_key, self._view_age)
        return Crew(settings, listening, sticky_key, self._in_force.brief, self._view_ages)

    def _new_discovery(self, inherited: Snapshot | None = None) -> Discovery:
        options, clock = parts.discovery_options(self._settings), asyncio.get_running_loop().time
        return Discovery(self._client, options, self._in_force, clock=clock, inherited=inherited)

    async def _discover(self) -> NoReturn:
        """Keeps discovery running: an error of ours in it costs the news of a moment, never what is in force."""
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._discovery.run())
                    await self._discovery.ready()
                    self._first_view.set()
                    if self._ready and not self.draining:
                        await self._discovery.register()
            except ExceptionGroup:
                logger.exception("Discovery failed by an error of the gateway; it begins anew.")
            await asyncio.sleep(_DISCOVERY_RESTART)
            self._discovery = self._new_discovery(self._discovery.in_force())

    async def _became_ready(self) -> bool:
        """Waits for the first view; False if it was told to drain before."""
        waits = [asyncio.create_task(event.wait()) for event in (self._first_view, self._draining)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self.draining

    async def _serve(self) -> None:
        settings = self._settings
        await self._front.start()
        if settings.handover is not None:
            self._successors = Successors(settings.handover, self._sockets, self._succeeded)
        self._ready = True
        await self._discovery.register()
        if self._before is not None:
            await self._admin.start()
            self._before.release(settings.gateway_id)
        where = {"listen": str(settings.listen or "off"), "tls_listen": str(settings.tls_listen or "off")}
        told = {"routes": len(self._in_force.routes_by_name), "workers": settings.workers}
        logger.info("The gateway serves.", extra={**where, **told})
        await self._draining.wait()
        accepting = self._succeeded_by is None
        if not accepting:
            # On the very same socket, the next one answers.
            await self._admin.stop()
        in_flight = (await self._front.figures()).in_flight
        logger.info("The gateway drains.", extra={"drain_time": settings.drain_time, "in_flight": in_flight})
        if self._succeeded_by == settings.gateway_id:
            self._discovery.leave_registration()
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DEREGISTER_WITHIN):
                    await self._discovery.deregister()
        if self._successors is not None:
            self._successors.close()
        drained = await self._front.drain(settings.drain_time, settings.finish_limit, accepting=accepting)
        logger.info("The gateway has drained.", extra={"finished": drained.finished, "aborted": drained.aborted})

    def _succeeded(self, gateway_id: str) -> None:
        logger.info("Another gateway serves in this one's place.", extra={"id_there": gateway_id})
        self._succeeded_by = gateway_id
        self.drain()

    async def _prefer_own_node(self) -> None:
        told = False
        while True:
            try:
                node = await self._client.agent_node()
            except ConsulError as error:
                level = logging.DEBUG if told else logging.WARNING
                logger.log(level, "Instances of our own node are not preferred yet.", extra={"error": str(error)})
                told = True
                await asyncio.sleep(_NODE_RETRY)
            else:
                self._in_force.prefer(node)
                return

    def _view_age(self, service: str) -> float | None:
        return self._discovery.view_age(service)

    def _view_ages(self) -> Mapping[str, float]:
        """Of each service's view that has one."""
        ages = {service: self._view_age(service) for service in self._in_force.instances_by_service}
        return {service: age for service, age in ages.items() if age is not None}

    # --- what the admin surface shows (AdminSources) ---

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def identity(self) -> Mapping[str, str]:
        settings = self._settings
        return {"id": settings.gateway_id, "mode": settings.mode, "prefix": settings.prefix, "version": __version__}

    def routes(self) -> Iterable[Route]:
        return self._in_force.routes_by_name.values()

    def describe_route(self, route: Route) -> Mapping[str, JsonValue]:
        return describe(route)

    def describe_policy(self, policy: ServicePolicy) -> Mapping[str, JsonValue]:
        return describe_policy(policy)

    def policies(self) -> Mapping[str, ServicePolicy]:
        return self._in_force.policies_by_service

    def services(self) -> Mapping[str, Sequence[Instance]]:
        return self._in_force.instances_by_service

    async def refresh(self) -> None:
        self._figures = await self._front.figures()

    def circuits(self) -> Iterable[CircuitView]:
        return self._figures.circuits

    def loads(self) -> Iterable[RouteLoad]:
        return self._figures.loads

    def certificates(self) -> Sequence[CertificateStanding]:
        return self._figures.certificates

    def views(self) -> Sequence[ViewState]:
        return self._discovery.views()

    def rejections(self) -> Sequence[Rejection]:
        return self._discovery.rejections()

    def consul(self) -> ConsulStanding:
        duties = {duty.name: duty for duty in self._discovery.duties()}
        off = DutyState("", done=False, error=None)
        return ConsulStanding(self._consul_address, duties.get("registration", off), duties.get("status", off))

    def readiness(self) -> Readiness:
        # Where the next one serves in our place, requests should be sent to where they were.
        draining, max_age = self.draining and self._succeeded_by is None, self._settings.ready_max_age
        able = self._front.able or not self._ready
        return judge(self.views(), started=self._ready, draining=draining, max_age=max_age, able=able)

    def drain(self) -> None:
        self._draining.set()

    async def metrics(self) -> tuple[bytes, str]:
        await self.refresh()
        return await self._metrics.render(), CONTENT_TYPE

    def _metric_sources(self) -> MetricSources:
        return MetricSources(
            counters=lambda: self._figures.counters,
            routes=lambda: self._in_force.routes_by_name,
            services=self.services,
            circuits=self.circuits,
            loads=self.loads,
            rate_limits=lambda: self._figures.rate_limits,
            views=self.views,
            rejected_keys=lambda: len(self.rejections()),
            dropped_instances=lambda: sum(view.left_out for view in self.views()),
            dropped_log_lines=lambda: self._figures.dropped_log_lines,
            dropped_spans=lambda: self._figures.dropped_spans,
            dropped_journal_events=lambda: self._figures.dropped_journal_events,
            violations=lambda: self._figures.violations,
            connections=lambda: self._figures.connections,
            connections_dropped=lambda: self._figures.connections_dropped,
            workers=lambda: self._figures.workers,
            worker_restarts=lambda: self._figures.restarts,
            certificates=self.certificates,
            handshake_failures=lambda: self._figures.handshake_failures,
            lag=lambda: self._figures.lag,
            ready=lambda: self.readiness().ready,
        )
