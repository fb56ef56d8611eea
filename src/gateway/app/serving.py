"""What serves requests in one event loop: the core, and all that is around it. It knows nothing of Consul."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence

from gateway.app import parts
from gateway.app.figures import Figures
from gateway.app.seat import Seat
from gateway.core.authentication import Credential
from gateway.core.gateway import Gateway
from gateway.core.model import Instance, Route, ServicePolicy
from gateway.core.steering import Steerer
from gateway.core.sticky import tagger
from gateway.core.views import CircuitChange
from gateway.discovery.addresses import AddressPolicy
from gateway.discovery.predicates import compile_instances, compile_require, compile_when
from gateway.discovery.regex import compile_full_match, compile_groups
from gateway.journal import checkpoint
from gateway.journal.monitor import Monitor
from gateway.journal.segments import JournalError
from gateway.journal.stream import EventListener, EventStream
from gateway.journal.violations import Violations
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
from gateway.proxy.listener import Drained, Listener, require_c_parser
from gateway.proxy.service_calls import ServiceCalls
from gateway.proxy.shadows import Shadows
from gateway.proxy.upstream.pooled_upstream import PooledUpstream
from gateway.settings import Settings
from gateway.telemetry.access import AccessLog
from gateway.telemetry.counts import Counts
from gateway.telemetry.lag import LoopLag
from gateway.telemetry.observer import Observer
from gateway.telemetry.redaction import Redaction

logger = logging.getLogger("gateway")
circuit_logger = logging.getLogger("gateway.circuits")

_JOURNAL_RETRY = 1.0


class Serving:
    """Takes what discovery finds (a `DiscoverySink`), and serves by it from `start` on."""

    def __init__(
        self,
        settings: Settings,
        listening: parts.Listening,
        sticky_key: bytes,
        view_age: Callable[[str], float | None],
        seat: Seat | None = None,
    ) -> None:
        """To be made in the event loop. `seat` is for one of several workers. Raises TlsError, JournalError or OSError
        where a file cannot be had."""
        require_c_parser()
        loop = asyncio.get_running_loop()
        number = 0 if seat is None else seat.number
        proxy_options = parts.proxy_options(settings, listening, None if seat is None else seat.turns)
        self._certificates = parts.certificates(settings)
        self._following: asyncio.Task[None] | None = None
        self.counts = Counts()
        self.on_circuit: Callable[[CircuitChange], None] | None = None
        """Told of each transition of a circuit."""
        self._lag = LoopLag()
        self._access = AccessLog(settings.access_log, number, None if seat is None else seat.output_lock)
        self._journal = parts.journal(settings, number)
        self._violations = Violations()
        self._monitored = settings.monitor
        self._events = self._stream(settings)
        self.core = Gateway(
            compile_full_match,
            random.random,
            self._circuit_changed,
            trace=self._events,
            compile_when=compile_when,
            on_predicate_error=self._when_failed,
        )
        self._late_journal: asyncio.Task[None] | None = None
        if self._journal is not None:
            self._journal.begin(self._checkpoint)
        elif settings.journal is not None:
            self._late_journal = loop.create_task(self._begin_journal(settings, number))
        tag = tagger(sticky_key)
        self.conductor = Conductor(self.core, loop.time, Steerer(compile_instances, tag, self._steering_failed))
        instances_at = AddressPolicy(settings.allowed_addresses, settings.denied_addresses)
        self._upstream = PooledUpstream(proxy_options, instances_at.check)
        self.rates = RateLimits(loop.time, settings.rate_limit_keys)
        self._fetcher = Fetcher(AddressPolicy(denied=settings.denied_addresses).check)
        calls = ServiceCalls(self.conductor, self._upstream)
        self._authenticators = Authenticators(
            self._fetcher,
            Time(loop.time, time.time, asyncio.sleep, random.random),
            Asker(calls),
            certificates=settings.tls_client_ca is not None,
        )
        authorisation = Authorisation(compile_require, self._require_failed)
        self._shadows = Shadows(calls, self._shadow_ended)
        shadowings = Shadowings(random.random, self._shadows, self._shadow_ended)
        self._pipelines = Pipelines(
            makers(self._authenticators, authorisation, self.rates, StickyCookies(tag), shadowings, compile_groups)
        )
        self._redaction = Redaction(settings.redact_headers, settings.redact_query, settings.log_headers)
        self._spans = parts.span_export(settings, self._redaction)
        observer = Observer(self.counts, self._access, self._redaction, view_age, self._spans)
        self._listener = Listener(
            self.conductor, self._pipelines, self._upstream, proxy_options, observer, self._certificates
        )

    # --- what discovery finds (DiscoverySink), and the name of our own node ---

    def routes(self, routes: Sequence[Route]) -> None:
        self._authenticators.follow(routes)
        self._redaction.follow(routes)
        self.conductor.apply_routes(routes)
        self._pipelines.retain(frozenset(route.name for route in routes))
        self.rates.follow(routes)

    def policies(self, policies: Mapping[str, ServicePolicy]) -> None:
        self.conductor.apply_policies(policies)

    def credentials(self, credentials: Sequence[Credential]) -> None:
        self._authenticators.credentials(credentials)

    def instances(self, service: str, instances: Sequence[Instance]) -> None:
        if self.conductor.apply_view(service, instances).deregistered:
            self._close_unused()

    def forget(self, service: str) -> None:
        self.conductor.forget_service(service)
        self._close_unused()

    def prefer(self, node: str) -> None:
        self.conductor.prefer(node)

    def _close_unused(self) -> None:
        """The connections of instances that are gone."""
        mirrored = self.core.services().values()
        self._upstream.retain({instance.endpoint for instances in mirrored for instance in instances})

    # --- serving ---

    async def open(self) -> None:
        """All was made with it."""

    async def start(self) -> None:
        """Takes requests from now on. Raises ListenError."""
        self._lag.start()
        if self._certificates is not None:
            self._following = asyncio.create_task(self._certificates.follow())
        await self._listener.start()

    @property
    def able(self) -> bool:
        return True

    async def drain(self, linger: float, limit: float, *, accepting: bool) -> Drained:
        """As `Listener.drain`."""
        return await self._listener.drain(linger, limit, accepting=accepting)

    async def close(self) -> None:
        """Cuts off what is in flight, and ends all parts in order."""
        if self._following is not None:
            self._following.cancel()
        await self._listener.stop()
        await self._shadows.close()
        await self._upstream.close()
        await self._authenticators.close()
        await self._fetcher.close()
        self.conductor.close()
        self._lag.stop()
        if self._late_journal is not None:
            self._late_journal.cancel()
        await self._access.close()
        if self._spans is not None:
            await self._spans.close()
        if self._journal is not None:
            await self._journal.close()

    async def figures(self) -> Figures:
        return self.figures_now()

    def figures_now(self) -> Figures:
        """As they are in this moment: `counters` and `counts` go on."""
        return Figures(
            counters=self.core.counters,
            counts=self.counts,
            circuits=tuple(self.core.circuits()),
            loads=tuple(self.core.loads()),
            rate_limits=tuple(self.rates.loads()),
            violations=self._violations.counts if self._monitored else {},
            connections=self._listener.connections,
            connections_dropped=self._listener.connections_dropped,
            certificates=() if self._certificates is None else self._certificates.standings(),
            handshake_failures=self._listener.handshake_failures,
            in_flight=self._listener.in_flight,
            dropped_log_lines=self._access.dropped,
            dropped_spans=0 if self._spans is None else self._spans.dropped,
            dropped_journal_events=0 if self._journal is None else self._journal.dropped,
            lag=self._lag.worst,
        )

    # --- what happens in it ---

    def _stream(self, settings: Settings) -> EventStream | None:
        """Where the core tells its events, if anyone listens, or is going to."""
        listeners: list[EventListener] = []
        if self._journal is not None:
            listeners.append(self._journal)
        if settings.monitor:
            listeners.append(Monitor(self._violations))
        return EventStream(listeners) if listeners or settings.journal is not None else None

    def _checkpoint(self) -> checkpoint.State:
        return checkpoint.take(self.core)

    async def _begin_journal(self, settings: Settings, worker: int) -> None:
        """Once the gateway before has ended, whose journal it was."""
        assert self._events is not None
        logger.warning("The journal begins when the gateway before has ended.", extra={"path": str(settings.journal)})
        try:
            while self._journal is None:
                await asyncio.sleep(_JOURNAL_RETRY)
                self._journal = parts.journal(settings, worker)
        except JournalError as error:
            logger.error("There is no journal.", extra={"error": str(error)})
            return
        self._journal.begin(self._checkpoint, self._events.last)
        self._events.add(self._journal)
        logger.info("The journal begins.", extra={"path": str(settings.journal)})

    def _circuit_changed(self, change: CircuitChange) -> None:
        self.counts.circuit_changed(change.service, change.after)
        if self.on_circuit is not None:
            self.on_circuit(change)
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

    def _when_failed(self, route: str) -> None:
        self.counts.predicate_failed(route, "when")

    def _steering_failed(self, route: str, field: str) -> None:
        self.counts.predicate_failed(route, field)

    def _require_failed(self, route: str) -> None:
        self.counts.predicate_failed(route, "require")

    def _shadow_ended(self, route: str, result: Copied) -> None:
        self.counts.shadow_ended(route, result.value)
