"""The decision core: routes, services and requests put together, one atomic step at a time.

The five operations of the specification and where they are:

    register_service, deregister_service   differences of a view (`apply_view`; `core.services`)
    update_health                          a changed instance in a view (`apply_view`; `core.services`)
    trigger_circuit_breaker                a circuit makes a transition (`core.services`)
    route_request                          a ticket is opened: sent, queued or rejected
    process_response                       head, end or failure of an attempt: delivered, retried, ended

Nothing here waits, reads a clock or draws by itself: `now` is an argument of each step, `draw` (a uniform number in
[0, 1)) is given at construction. A step answers for the ticket at hand; what it released for tickets that had been
told to wait is collected for `take_woken`. With `trace`, each action of a step is told as an event (`core.events`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from mypy_extensions import mypyc_attr

from gateway.core.admission import Lane
from gateway.core.breaker import UNJUDGED, Imposition, Judgement
from gateway.core.events import Event, Recorder
from gateway.core.facts import RequestFacts, TicketFacts
from gateway.core.model import FailureKind, Instance, InstanceKey, Outcome, Reason, Route, ServicePolicy
from gateway.core.pool import Member, Service
from gateway.core.refusals import REASON_OF_FAILURE, STATUSES
from gateway.core.registry import ViewDifference
from gateway.core.retry import may_retry_failure, may_retry_status
from gateway.core.routes import Routes
from gateway.core.routing import CompileRegex, OnPredicateError, RoutingTable
from gateway.core.services import Services
from gateway.core.serving import Standing, Steering
from gateway.core.split import Split
from gateway.core.tickets import (
    Attempt,
    Broken,
    Deliver,
    Done,
    End,
    Failure,
    Head,
    Reject,
    Result,
    Send,
    Ticket,
    TicketState,
    Wait,
)
from gateway.core.timers import Timers
from gateway.core.views import CircuitChange, CircuitView, Counters, RouteLoad
from gateway.core.when import CompileWhen, no_when

_SWITCHING_PROTOCOLS = 101

D = TypeVar("D", Done, Broken)


@mypyc_attr(allow_interpreted_subclasses=True)
class Gateway:
    """All decisions of one worker. Not thread-safe: one event loop owns it."""

    def __init__(
        self,
        compile_regex: CompileRegex,
        draw: Callable[[], float],
        on_circuit: Callable[[CircuitChange], None] | None = None,
        prefer_node: str | None = None,
        trace: Callable[[Event], None] | None = None,
        *,
        compile_when: CompileWhen = no_when,
        on_predicate_error: OnPredicateError | None = None,
    ) -> None:
        """`prefer_node` as in `prefer`; routes with `when` need `compile_when`."""
        recorder = self._recorder = None if trace is None else Recorder(trace, draw)
        if recorder is not None:
            draw = recorder.draw
        self._draw = draw
        self._timers = Timers()
        self.counters = Counters()
        self._services = Services(
            self._timers, self.counters, draw, self._wake_service, on_circuit, prefer_node, recorder
        )
        self._routes = Routes(self._services, compile_regex, compile_when, on_predicate_error)
        self._woken: list[Send | Reject] = []
        self._ticket_count = 0

    # --- changes of the world ---

    def apply_routes(self, routes: Iterable[Route], now: float) -> None:
        """Puts a new table in force. Tickets keep the version they matched; counts survive by the route's name."""
        self._routes.apply(routes)
        if self._recorder is not None:
            self._recorder.apply_routes(self.table.routes.values(), now)

    def apply_policies(self, policies: Mapping[str, ServicePolicy], now: float) -> None:
        """Puts service policies in force, by service; a service without one has the defaults."""
        if self._recorder is not None:
            self._recorder.apply_policies(policies.values(), now)
        self._services.apply_policies(policies, now)

    def apply_view(self, service: str, instances: Iterable[Instance], now: float) -> ViewDifference:
        """Makes `instances` the mirror's content of a service; circuits of surviving instances carry over."""
        if self._recorder is not None:
            instances = tuple(instances)
            self._recorder.apply_view(service, instances, now)
        return self._services.apply_view(service, instances, now)

    def forget_service(self, service: str, now: float) -> None:
        """Drops a service that no route names any more; what still waits for it is rejected."""
        if self._recorder is not None:
            self._recorder.forget_service(service, now)
        self._services.forget(service, now)
        self._routes.forget_service(service)

    def prefer(self, node: str, now: float) -> None:
        """Has instances on this node picked while there are any: a sidecar's own node."""
        if self._recorder is not None:
            self._recorder.prefer(node, now)
        self._services.prefer(node, now)

    def impose_circuit(self, service: str, key: InstanceKey, imposed: Imposition, now: float) -> None:
        """Has a circuit be what other workers made of it; nothing happens to one that is this worker's own."""
        member = self._services.impose_circuit(service, key, imposed, now)
        if self._recorder is not None:
            self._recorder.impose_circuit(service, key, imposed, member is not None, now)
        if member is not None:
            self._services.changed(member.service, now)

    # --- requests ---

    def match(self, facts: RequestFacts) -> Route | None:
        return self._routes.table.match(facts)

    def standings(self, route: Route, now: float) -> Sequence[Standing]:
        """What the backends of a route have, for whoever finds out how a request steers."""
        return self._routes.split(route, now).standings()

    def route_request(
        self, route: Route, facts: TicketFacts, now: float, steering: Steering | None = None
    ) -> Send | Wait | Reject:
        """Opens a ticket for a request that matched `route`; `steering` is what it says about the route's backends."""
        recorder = self._recorder
        if recorder is not None:
            facts = recorder.watched(facts)
        self._ticket_count += 1
        self.counters.tickets += 1
        split = self._routes.split(route, now)
        ways = None
        if steering is not None:
            ways = split.ways(steering)
            ways.refresh(now)
        pool = split.choose(ways)
        ticket = Ticket(self._ticket_count, route, facts, pool, self._routes.gate(route.name), ways)
        pool.service.budget.count_request(now)
        decision: Send | Wait | Reject
        if pool.block is not None:
            decision = self._reject_blocked(ticket, now)
        else:
            decision = self._admit(ticket, now) or self._refuse(ticket, Reason.QUEUE_FULL)
        if recorder is not None:
            in_force = self.table.routes.get(route.name) is route
            recorder.route_request(ticket, decision, steering, in_force, now)
        return decision

    def process_response(
        self, attempt: Attempt, result: Result, now: float
    ) -> Deliver | Send | Wait | Reject | Broken | Done:
        """Takes what became of an attempt. Must not be called once its ticket has ended."""
        if isinstance(result, Head):
            return self._head(attempt, result, now)
        if isinstance(result, End):
            return self._finish(attempt, Done(attempt.ticket), result, now)
        return self._failure(attempt, result, now)

    def abandon(self, ticket: Ticket, now: float) -> None:
        """The client left. Says nothing about the instance; does nothing to a ticket that has ended."""
        if ticket.state is TicketState.ENDED:
            return
        self._close(ticket, Outcome.ABANDONED)
        if self._recorder is not None:
            self._recorder.abandon(ticket, now)
        self._wake_behind(ticket, now)

    def reject(self, ticket: Ticket, reason: Reason, now: float) -> Reject:
        """Ends a ticket, before its response head, for a reason that says nothing about an instance."""
        rejection = self._refuse(ticket, reason)
        if self._recorder is not None:
            self._recorder.refuse(rejection, now)
        self._wake_behind(ticket, now)
        return rejection

    def take_woken(self) -> Sequence[Send | Reject]:
        """Decisions for waiting tickets that the last steps released; to be taken after each operation."""
        if not self._woken:
            return ()
        woken, self._woken = self._woken, []
        return woken

    # --- time ---

    def tick(self, now: float) -> None:
        """Does what is due: queues expire, circuits mature, late probes are judged, slow starts go on."""
        if self._recorder is not None:
            due = self._timers.next
            if due is not None and due <= now:
                self._recorder.tick(now)
        self._timers.run(now)

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to take and nothing to come, as nearly always after a step."""
        return not (self._woken or self._timers)

    @property
    def next_deadline(self) -> float | None:
        """When `tick` has something to do next."""
        return self._timers.next

    # --- looking in ---

    @property
    def table(self) -> RoutingTable:
        return self._routes.table

    @property
    def traced_tickets(self) -> Mapping[int, Ticket]:
        """Tickets that have not ended, by number; a core that is not traced does not know them."""
        return {} if self._recorder is None else self._recorder.tickets

    @property
    def policies(self) -> Mapping[str, ServicePolicy]:
        return self._services.policies

    def services(self) -> Mapping[str, tuple[Instance, ...]]:
        return self._services.mirrored()

    def circuits(self) -> Iterator[CircuitView]:
        return self._services.circuits()

    def circuit(self, service: str, key: InstanceKey) -> CircuitView | None:
        """None where the mirror has no such instance."""
        return self._services.circuit(service, key)

    def loads(self) -> Iterator[RouteLoad]:
        return self._routes.loads()

    # --- admitting ---

    def _admit(self, ticket: Ticket, now: float) -> Send | Wait | None:
        """Sends or queues; None where the queue is full."""
        gate, limits = ticket.gate, ticket.route.limits
        if not gate.holds_back(ticket):
            sent = self._send_if_possible(ticket, now)
            if sent is not None:
                return sent
        if gate.queued >= limits.queue:
            return None
        until = ticket.queued_until = now + limits.queue_timeout
        ticket.expiry = self._timers.at(until, partial(self._expire, ticket))
        ticket.state = TicketState.QUEUED
        gate.join(ticket)
        return Wait(ticket, until)

    def _send_if_possible(self, ticket: Ticket, now: float) -> Send | None:
        if ticket.gate.full(ticket.route.limits.in_flight):
            return None
        member = ticket.pool.pick(ticket.tried, ticket.facts, self._draw)
        return None if member is None else self._send(ticket, member, now)

    def _send(self, ticket: Ticket, member: Member, now: float) -> Send:
        service = member.service
        if ticket.state is TicketState.QUEUED:
            self._unqueue(ticket)
        ticket.state = TicketState.ATTEMPTING
        ticket.attempts += 1
        self.counters.attempts += 1
        permit = member.circuit.begin(service.policy.circuit)
        attempt = ticket.attempt = Attempt(ticket, ticket.attempts, member, service.policy, permit)
        self._hold(attempt)
        if permit.probe:
            service.version += 1
            self._timers.at(now + service.policy.circuit.open_for, partial(self._late_probe, attempt))
        return Send(attempt)

    def _hold(self, attempt: Attempt) -> None:
        attempt.ticket.gate.in_flight += 1
        member = attempt.member
        member.in_flight += 1
        if member.in_flight == member.service.policy.in_flight_per_instance:
            member.service.load_version += 1

    def _release(self, attempt: Attempt) -> None:
        attempt.ticket.gate.in_flight -= 1
        member = attempt.member
        if member.in_flight == member.service.policy.in_flight_per_instance:
            member.service.load_version += 1
        member.in_flight -= 1
        if attempt.permit.probe and not attempt.judged:
            attempt.judged = True
            member.circuit.cancel(attempt.permit)
            member.service.version += 1

    # --- results ---

    def _head(self, attempt: Attempt, head: Head, now: float) -> Deliver | Send | Wait:
        ticket = attempt.ticket
        failed = head.status in attempt.policy.circuit.failure_statuses
        judgement = UNJUDGED
        if failed or attempt.permit.probe or head.status == _SWITCHING_PROTOCOLS:
            judgement = self._judge_head(attempt, failed, now)
        retry = ticket.route.retry
        again = ticket.attempts < retry.attempts and may_retry_status(
            retry, ticket.facts.method, head.status, head.replayable
        )
        delivered = Deliver(ticket)
        if not again:
            ticket.state = TicketState.RESPONDING
        if self._recorder is not None:
            self._recorder.process_response(attempt, head, judgement, None if again else delivered, now)
        self._spread(attempt, judgement, now)
        if again:
            placed = self._try_again(attempt, now)
            if placed is not None:
                return placed
            ticket.state = TicketState.RESPONDING
            if self._recorder is not None:
                self._recorder.deliver(ticket, now)
        return delivered

    def _failure(self, attempt: Attempt, failure: Failure, now: float) -> Send | Wait | Reject | Broken:
        ticket, kind = attempt.ticket, failure.kind
        if ticket.state is TicketState.RESPONDING or kind is FailureKind.TRUNCATED:
            return self._finish(attempt, Broken(ticket), failure, now)
        judgement = UNJUDGED if kind is FailureKind.STALE_CONNECTION else self._judge(attempt, True, now)
        retry, reason = ticket.route.retry, REASON_OF_FAILURE[kind]
        again = ticket.attempts < retry.attempts and may_retry_failure(
            retry, ticket.facts.method, kind, failure.replayable
        )
        rejection = None if again else self._refuse(ticket, reason)
        if self._recorder is not None:
            self._recorder.process_response(attempt, failure, judgement, rejection, now)
        self._spread(attempt, judgement, now)
        if rejection is None:
            placed = self._try_again(attempt, now)
            if placed is not None:
                return placed
            rejection = self._refuse(ticket, reason)
            if self._recorder is not None:
                self._recorder.reject(rejection, now)
        self._wake_behind(ticket, now)
        return rejection

    def _finish(self, attempt: Attempt, ended: D, result: Result, now: float) -> D:
        """The response has ended, whole or cut."""
        ticket, broken = attempt.ticket, isinstance(ended, Broken)
        judgement = self._judge(attempt, broken, now)
        self._close(ticket, Outcome.BROKEN if broken else Outcome.RESPONDED)
        if self._recorder is not None:
            self._recorder.process_response(attempt, result, judgement, ended, now)
        self._spread(attempt, judgement, now)
        self._wake_behind(ticket, now)
        return ended

    def _split(self, ticket: Ticket, now: float) -> Split:
        """The split of the ticket's route, with all that the ticket may choose from as it is at this moment."""
        split = self._routes.split(ticket.route, now)
        if ticket.ways is not None:
            ticket.ways.refresh(now)
        return split

    def _try_again(self, attempt: Attempt, now: float) -> Send | Wait | None:
        """Another attempt for the ticket, or a place in the queue for one; None where neither may be had."""
        ticket, before = attempt.ticket, attempt.member.service
        tried = (*ticket.tried, attempt.instance.key)
        pool = ticket.pool
        pool.refresh(now)
        if not pool.offers(tried):
            split = self._split(ticket, now)
            pool = split.choose_other(ticket.ways, tried) or (pool if pool.block is None else split.choose(ticket.ways))
        if pool.block is not None:
            return None
        budget = pool.service.budget
        if not budget.allows(pool.service.policy.retry_budget, now):
            self.counters.retries_denied += 1
            return None
        ticket.tried, ticket.pool = tried, pool
        self._release(attempt)
        pool.refresh(now)
        again = self._admit(ticket, now)
        if again is None:
            self._hold(attempt)
            return None
        budget.count_retry(now)
        self.counters.retries += 1
        if self._recorder is not None:
            self._recorder.retry(ticket, again, now)
        self._wake((*before.lanes, *ticket.gate.lanes.values()), now)
        return again

    def _judge(self, attempt: Attempt, failed: bool, now: float) -> Judgement:
        if attempt.judged:
            return UNJUDGED
        attempt.judged = True
        return self._services.judge(attempt.member, attempt.permit, failed, now)

    def _judge_head(self, attempt: Attempt, failed: bool, now: float) -> Judgement:
        """After a good head the body still counts, as an ordinary attempt of the epoch that the head led into."""
        circuit, permit = attempt.member.circuit, attempt.permit
        counts = not attempt.judged and permit.epoch == circuit.epoch
        judgement = self._judge(attempt, failed, now)
        if counts and not failed:
            attempt.permit, attempt.judged = circuit.ordinary, False
        return judgement

    def _late_probe(self, attempt: Attempt, now: float) -> None:
        ticket = attempt.ticket
        if attempt.judged or ticket.attempt is not attempt or ticket.state is not TicketState.ATTEMPTING:
            return
        judgement = self._judge(attempt, True, now)
        if self._recorder is not None:
            self._recorder.late_probe(attempt, judgement, now)
        self._spread(attempt, judgement, now)

    def _spread(self, attempt: Attempt, judgement: Judgement, now: float) -> None:
        """Has waiting tickets feel what a judgement changed."""
        if judgement.changed:
            self._services.changed(attempt.member.service, now)

    # --- endings ---

    def _close(self, ticket: Ticket, outcome: Outcome) -> None:
        if ticket.state is TicketState.ENDED:
            raise AssertionError(f"ticket {ticket.id} ended twice: {ticket.outcome} and {outcome}")
        if ticket.state is TicketState.QUEUED:
            self._unqueue(ticket)
        elif ticket.attempt is not None:
            self._release(ticket.attempt)
        ticket.state = TicketState.ENDED
        ticket.outcome = outcome
        self.counters.outcomes[outcome] += 1

    def _refuse(self, ticket: Ticket, reason: Reason) -> Reject:
        self._close(ticket, Outcome.REJECTED)
        self.counters.rejections[reason] += 1
        return Reject(ticket, reason, STATUSES[reason])

    def _reject_blocked(self, ticket: Ticket, now: float) -> Reject:
        """Ends a ticket whose pool has nothing to pick from, as the route's `when_empty` says."""
        rejection = self._refuse(ticket, ticket.pool.block or Reason.NO_HEALTHY_INSTANCE)
        when_empty = ticket.route.when_empty
        rejection.status, rejection.retry_after = when_empty.status, when_empty.retry_after
        if ticket.pool.reopens_at is not None:
            rejection.retry_after = max(0.0, ticket.pool.reopens_at - now)
        return rejection

    def _expire(self, ticket: Ticket, now: float) -> None:
        self._turn_away(self._refuse(ticket, Reason.QUEUE_TIMEOUT), now)
        self._wake_behind(ticket, now)

    def _turn_away(self, rejection: Reject, now: float) -> None:
        """Tells a ticket that had been told to wait that it was rejected."""
        self._woken.append(rejection)
        if self._recorder is not None:
            self._recorder.reject(rejection, now)

    def _let_go(self, sent: Send, now: float) -> None:
        """Tells a ticket that had been told to wait that it is sent."""
        self._woken.append(sent)
        if self._recorder is not None:
            self._recorder.dequeue(sent, now)

    # --- the queue ---

    def _unqueue(self, ticket: Ticket) -> None:
        ticket.gate.leave(ticket)
        if ticket.expiry is not None:
            self._timers.cancel(ticket.expiry)
            ticket.expiry = None

    def _wake_service(self, service: Service, now: float) -> None:
        if service.lanes:
            self._wake(service.lanes, now)

    def _wake_behind(self, ticket: Ticket, now: float) -> None:
        """Wakes those who waited for a place that this ticket held in flight, or held in the queue before them.

        The ticket has ended, and lets go of its attempt: that one knows its ticket, and two that hold each other would
        stay until the collector finds them.
        """
        attempt, ticket.attempt = ticket.attempt, None
        service = ticket.pool.service if attempt is None else attempt.member.service
        lanes = ticket.gate.lanes
        if service.lanes or lanes:
            self._wake((*service.lanes, *lanes.values()), now)

    def _wake(self, lanes: Iterable[Lane], now: float) -> None:
        """Lets go, oldest first, every head of these lanes that may go now."""
        candidates = {lane for lane in lanes if lane}
        while candidates:
            lane = min(candidates, key=lambda each: each.head.id)
            if not self._advance(lane, now) or not lane:
                candidates.discard(lane)

    def _advance(self, lane: Lane, now: float) -> bool:
        """Takes one ticket out of its lane, to be sent, rejected or queued elsewhere; False where all have to wait.

        That is the oldest, but a retry that waits for a member it has not tried does not hold up those behind it.
        """
        lane.pool.refresh(now)
        if lane.pool.block is not None:
            self._redirect(lane.head, now)
            return True
        for ticket in lane.candidates():
            sent = self._send_if_possible(ticket, now)
            if sent is not None:
                self._let_go(sent, now)
                return True
        return False

    def _redirect(self, ticket: Ticket, now: float) -> None:
        """The pool that a queued ticket waited for has emptied: another backend's, or the end."""
        pool = self._split(ticket, now).choose(ticket.ways)
        if pool.block is not None:
            self._turn_away(self._reject_blocked(ticket, now), now)
            return
        gate = ticket.gate
        gate.leave(ticket)
        ticket.pool = pool
        held_back = gate.holds_back(ticket)
        gate.join(ticket)
        if self._recorder is not None:
            self._recorder.requeue(ticket, now)
        sent = None if held_back else self._send_if_possible(ticket, now)
        if sent is not None:
            self._let_go(sent, now)
