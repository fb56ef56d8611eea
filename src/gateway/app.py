"""The composition root: the one place that knows all parts, makes them, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import random
import secrets
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import uvloop
from pydantic import JsonValue

from gateway import __version__
from gateway.admin.readiness import judge
from gateway.admin.server import AdminServer
from gateway.admin.sources import ConsulStanding, Readiness
from gateway.core.authentication import Credential
from gateway.core.gateway import Gateway
from gateway.core.model import Instance, Route, ServicePolicy
from gateway.core.steering import Steerer
from gateway.core.sticky import tagger
from gateway.core.views import CircuitChange, CircuitView, RouteLoad
from gateway.discovery.addresses import AddressPolicy
from gateway.discovery.consul_client import ConsulClient
from gateway.discovery.consul_settings import ConsulSettings
from gateway.discovery.documents import Rejection, describe, describe_policy
from gateway.discovery.duty import DutyState
from gateway.discovery.errors import ConsulError
from gateway.discovery.predicates import compile_instances, compile_require, compile_when
from gateway.discovery.regex import compile_full_match, compile_groups
from gateway.discovery.service import Discovery, DiscoveryOptions
from gateway.discovery.snapshot import Snapshot
from gateway.discovery.view import ViewState
from gateway.journal import checkpoint
from gateway.journal.monitor import Monitor
from gateway.journal.stream import EventListener, EventStream
from gateway.journal.violations import Violations
from gateway.journal.writer import Journal
from gateway.pipeline.authentication import Authenticators, Time
from gateway.pipeline.authorisation import Authorisation
from gateway.pipeline.rate_limits import RateLimits
from gateway.pipeline.shadow import Copied, Shadowings
from gateway.pipeline.stage import Pipelines
from gateway.pipeline.stages import makers
from gateway.pipeline.sticky_cookie import StickyCookies
from gateway.proxy.asking import Asker
from gateway.proxy.conductor import Conductor
from gateway.proxy.fetching import Fetcher
from gateway.proxy.listener import Listener, require_c_parser
from gateway.proxy.options import ProxyOptions
from gateway.proxy.pooled_upstream import PooledUpstream
from gateway.proxy.service_calls import ServiceCalls
from gateway.proxy.shadows import Shadows
from gateway.proxy.sockets import bind
from gateway.proxy.upstream import Upstream
from gateway.settings import Settings
from gateway.telemetry import logs
from gateway.telemetry.access import AccessLog
from gateway.telemetry.metrics import CONTENT_TYPE, Metrics
from gateway.telemetry.observer import Observer
from gateway.telemetry.redaction import Redaction
from gateway.telemetry.sources import MetricSources
from gateway.telemetry.span_export import SpanExport, otlp_exporter
from gateway.telemetry.spans import SpanMaker

logger = logging.getLogger("gateway")
circuit_logger = logging.getLogger("gateway.circuits")

_NODE_RETRY = 5.0
"""Seconds between questions for our own node's name, while the agent does not answer."""
_DEREGISTER_WITHIN = 3.0
_DISCOVERY_RESTART = 1.0


def run(settings: Settings) -> None:
    """Runs a gateway until SIGTERM or SIGINT, and returns when it has drained; a second signal ends it at once.

    Raises ListenError, JournalError or OSError where a port or a file cannot be had, ValueError for `CONSUL_*` that
    make no sense.
    """
    logs.configure(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    app = App(settings)
    loop = asyncio.get_running_loop()
    running = loop.create_task(app.run())

    signalled = False

    def stop() -> None:
        # Not `app.draining`: who asks for a drain at the admin surface sends the first signal after it.
        nonlocal signalled
        if signalled:
            running.cancel()
        signalled = True
        app.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await running
    except asyncio.CancelledError:
        logger.warning("A second signal cut the drain short.")


class _Sink:
    """Brings what discovery tells into the core, and closes the connections of instances that are gone."""

    def __init__(
        self,
        conductor: Conductor,
        authenticators: Authenticators,
        pipelines: Pipelines,
        rates: RateLimits,
        redaction: Redaction,
        upstream: Upstream,
    ) -> None:
        self._conductor = conductor
        self._authenticators = authenticators
        self._pipelines = pipelines
        self._rates = rates
        self._redaction = redaction
        self._upstream = upstream

    def routes(self, routes: Sequence[Route]) -> None:
        self._authenticators.follow(routes)
        self._redaction.follow(routes)
        self._conductor.apply_routes(routes)
        names = frozenset(route.name for route in routes)
        self._pipelines.retain(names)
        self._rates.retain(names)

    def policies(self, policies: Mapping[str, ServicePolicy]) -> None:
        self._conductor.apply_policies(policies)

    def credentials(self, credentials: Sequence[Credential]) -> None:
        self._authenticators.credentials(credentials)

    def instances(self, service: str, instances: Sequence[Instance]) -> None:
        if self._conductor.apply_view(service, instances).deregistered:
            self._close_unused()

    def forget(self, service: str) -> None:
        self._conductor.forget_service(service)
        self._close_unused()

    def _close_unused(self) -> None:
        mirrored = self._conductor.core.services().values()
        self._upstream.retain({instance.endpoint for instances in mirrored for instance in instances})


class App:
    """One gateway process with one worker."""

    def __init__(self, settings: Settings) -> None:
        """To be made in the event loop. Raises ListenError or JournalError where the port or the file cannot be had."""
        require_c_parser()
        self._settings = settings
        loop = asyncio.get_running_loop()
        proxy_options = _proxy_options(settings)
        self._draining = asyncio.Event()
        self._first_view = asyncio.Event()
        self._ready = False
        self._access = AccessLog(settings.access_log)
        self._journal = _journal(settings)
        self._violations = Violations()
        self._core = Gateway(
            compile_full_match,
            random.random,
            self._circuit_changed,
            trace=self._trace(),
            compile_when=compile_when,
            on_predicate_error=self._when_failed,
        )
        if self._journal is not None:
            self._journal.begin(lambda: checkpoint.take(self._core))
        tag = tagger(_sticky_key(settings))
        self._conductor = Conductor(self._core, loop.time, Steerer(compile_instances, tag, self._steering_failed))
        consul_settings = ConsulSettings.from_environment(settings.consul_environment(os.environ))
        self._consul_address = consul_settings.address
        self._client = ConsulClient(consul_settings)
        instances_at = AddressPolicy(settings.allowed_addresses, settings.denied_addresses)
        self._upstream = PooledUpstream(proxy_options, instances_at.check)
        self._rates = RateLimits(loop.time, settings.rate_limit_keys)
        self._fetcher = Fetcher(AddressPolicy(denied=settings.denied_addresses).check)
        calls = ServiceCalls(self._conductor, self._upstream)
        self._authenticators = Authenticators(
            self._fetcher, Time(loop.time, time.time, asyncio.sleep, random.random), Asker(calls)
        )
        authorisation = Authorisation(compile_require, self._require_failed)
        self._shadows = Shadows(calls, self._shadow_ended)
        shadowings = Shadowings(random.random, self._shadows, self._shadow_ended)
        self._pipelines = Pipelines(
            makers(self._authenticators, authorisation, self._rates, StickyCookies(tag), shadowings, compile_groups)
        )
        redaction = Redaction(settings.redact_headers, settings.redact_query, settings.log_headers)
        self._sink = _Sink(
            self._conductor, self._authenticators, self._pipelines, self._rates, redaction, self._upstream
        )
        self._discovery = self._new_discovery()
        self._metrics = Metrics(self._metric_sources(), gateway_id=settings.gateway_id, mode=settings.mode)
        self._spans = _span_export(settings, redaction)
        observer = Observer(self._metrics, self._access, redaction, self._view_age, self._spans)
        self._listener = Listener(self._conductor, self._pipelines, self._upstream, proxy_options, observer)
        self._admin = AdminServer(self, settings.admin_listen.host, settings.admin_listen.port)

    async def run(self) -> None:
        """Serves from the first full view of Consul on, or from the snapshot's, until it has drained."""
        settings = self._settings
        await self._admin.start()
        self._metrics.lag.start()
        logger.info("The gateway starts.", extra={**self.identity(), "consul": self._consul_address})
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
            await self._listener.stop()
            await self._shadows.close()
            await self._upstream.close()
            await self._authenticators.close()
            await self._fetcher.close()
            await self._client.close()
            self._conductor.close()
            self._metrics.close()
            await self._access.close()
            if self._spans is not None:
                await self._spans.close()
            if self._journal is not None:
                await self._journal.close()
        logger.info("The gateway has stopped.")

    @property
    def draining(self) -> bool:
        return self._draining.is_set()

    def _new_discovery(self, inherited: Snapshot | None = None) -> Discovery:
        options, clock = _discovery_options(self._settings), asyncio.get_running_loop().time
        return Discovery(self._client, options, self._sink, clock=clock, inherited=inherited)

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
        await self._listener.start()
        self._ready = True
        await self._discovery.register()
        logger.info(
            "The gateway serves.", extra={"listen": f"{settings.listen}", "routes": len(self._core.table.routes)}
        )
        await self._draining.wait()
        logger.info(
            "The gateway drains.", extra={"drain_time": settings.drain_time, "in_flight": self._listener.in_flight}
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DEREGISTER_WITHIN):
                await self._discovery.deregister()
        drained = await self._listener.drain(settings.drain_time, settings.finish_limit)
        logger.info("The gateway has drained.", extra={"finished": drained.finished, "aborted": drained.aborted})

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
                self._conductor.prefer(node)
                return

    def _trace(self) -> EventStream | None:
        """Where the core tells its events, if anyone listens."""
        listeners: list[EventListener] = []
        if self._journal is not None:
            listeners.append(self._journal)
        if self._settings.monitor:
            listeners.append(Monitor(self._violations))
        return EventStream(listeners) if listeners else None

    def _circuit_changed(self, change: CircuitChange) -> None:
        self._metrics.circuit_changed(change.service, change.after)
        circuit_logger.info(
            "A circuit changed.",
            extra={
                "service": change.service,
                "instance": str(change.key),
                "event": change.event.value,
                "before": change.before.value,
                "after": change.after.value,
                "mode": change.mode.value,
            },
        )

    def _view_age(self, service: str) -> float | None:
        return self._discovery.view_age(service)

    def _when_failed(self, route: str) -> None:
        self._metrics.predicate_failed(route, "when")

    def _steering_failed(self, route: str, field: str) -> None:
        self._metrics.predicate_failed(route, field)

    def _shadow_ended(self, route: str, result: Copied) -> None:
        self._metrics.shadow_ended(route, result.value)

    def _require_failed(self, route: str) -> None:
        self._metrics.predicate_failed(route, "require")

    # --- what the admin surface shows (AdminSources) ---

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def identity(self) -> Mapping[str, str]:
        settings = self._settings
        return {"id": settings.gateway_id, "mode": settings.mode, "prefix": settings.prefix, "version": __version__}

    def routes(self) -> Iterable[Route]:
        return self._core.table.routes.values()

    def describe_route(self, route: Route) -> Mapping[str, JsonValue]:
        return describe(route)

    def describe_policy(self, policy: ServicePolicy) -> Mapping[str, JsonValue]:
        return describe_policy(policy)

    def policies(self) -> Mapping[str, ServicePolicy]:
        return self._core.policies

    def services(self) -> Mapping[str, Sequence[Instance]]:
        return self._core.services()

    def circuits(self) -> Iterable[CircuitView]:
        return self._core.circuits()

    def loads(self) -> Iterable[RouteLoad]:
        return self._core.loads()

    def views(self) -> Sequence[ViewState]:
        return self._discovery.views()

    def rejections(self) -> Sequence[Rejection]:
        return self._discovery.rejections()

    def consul(self) -> ConsulStanding:
        duties = {duty.name: duty for duty in self._discovery.duties()}
        off = DutyState("", done=False, error=None)
        return ConsulStanding(self._consul_address, duties.get("registration", off), duties.get("status", off))

    def readiness(self) -> Readiness:
        draining, max_age = self.draining, self._settings.ready_max_age
        return judge(self.views(), started=self._ready, draining=draining, max_age=max_age)

    def drain(self) -> None:
        self._draining.set()

    async def metrics(self) -> tuple[bytes, str]:
        return await self._metrics.render(), CONTENT_TYPE

    def _metric_sources(self) -> MetricSources:
        return MetricSources(
            counters=lambda: self._core.counters,
            routes=lambda: self._core.table.routes,
            services=self._core.services,
            circuits=self._core.circuits,
            loads=self._core.loads,
            rate_limits=self._rates.loads,
            views=self._discovery.views,
            rejected_keys=lambda: len(self._discovery.rejections()),
            dropped_instances=lambda: sum(view.left_out for view in self._discovery.views()),
            dropped_log_lines=lambda: self._access.dropped,
            dropped_spans=lambda: 0 if self._spans is None else self._spans.dropped,
            dropped_journal_events=lambda: 0 if self._journal is None else self._journal.dropped,
            violations=lambda: self._violations.counts if self._settings.monitor else {},
            connections=lambda: self._listener.connections,
            connections_dropped=lambda: self._listener.connections_dropped,
            ready=lambda: self.readiness().ready,
        )


def _sticky_key(settings: Settings) -> bytes:
    key = settings.sticky_key
    return secrets.token_bytes(32) if key is None else hashlib.sha512(key.get_secret_value().encode()).digest()


def _journal(settings: Settings) -> Journal | None:
    """Raises JournalError."""
    if settings.journal is None:
        return None
    return Journal(settings.journal, segment=settings.journal_segment, kept=settings.journal_segments)


def _span_export(settings: Settings, redaction: Redaction) -> SpanExport | None:
    exporter = otlp_exporter(settings.trace_endpoint, os.environ)
    if exporter is None:
        return None
    return SpanExport(exporter, SpanMaker(redaction, service=settings.service, gateway_id=settings.gateway_id))


def _proxy_options(settings: Settings) -> ProxyOptions:
    """Raises ListenError where the proxy's port cannot be had."""
    return ProxyOptions(
        gateway_id=settings.gateway_id,
        listening_socket=bind(settings.listen_host, settings.listen.port, "--listen"),
        trusted_hops=settings.trusted_hops,
        trace_ratio=settings.trace_ratio,
        max_connections=settings.max_connections,
        keep_alive=settings.keep_alive,
        head_timeout=settings.head_timeout,
        body_grace=settings.body_grace,
        body_rate=settings.body_rate,
        write_timeout=settings.write_timeout,
        max_line=settings.max_line,
        max_field=settings.max_field,
        max_fields=settings.max_fields,
        max_head=settings.max_head,
    )


def _discovery_options(settings: Settings) -> DiscoveryOptions:
    registered = settings.registered
    return DiscoveryOptions(
        gateway_id=settings.gateway_id,
        prefix=settings.prefix,
        gateway_service=settings.service,
        version=__version__,
        snapshot_path=settings.snapshot,
        grace=settings.grace,
        max_watches=settings.max_watches,
        register=settings.register_self,
        register_address=registered.host or None,
        register_port=registered.port,
        register_tags=(settings.mode,),
        write_status=settings.write_status,
        allowed_addresses=settings.allowed_addresses,
        denied_addresses=settings.denied_addresses,
    )
