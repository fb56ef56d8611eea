"""The asyncio shell round the core: its clock, its one timer, and the requests that wait for a decision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from gateway.core.breaker import Imposition
from gateway.core.facts import RequestFacts
from gateway.core.gateway import Gateway
from gateway.core.model import Instance, InstanceKey, Reason, Route, ServicePolicy
from gateway.core.registry import ViewDifference
from gateway.core.require import Authenticated
from gateway.core.steering import Steerer
from gateway.core.tickets import Attempt, Broken, Deliver, Done, End, Failure, Head, Reject, Send, Ticket, Wait

_END = End()


class Waiting:
    """A ticket that is queued. Cancelled in `wait`, it gives its place up."""

    __slots__ = ("_conductor", "_future", "ticket")

    def __init__(self, conductor: Conductor, ticket: Ticket, future: asyncio.Future[Send | Reject]) -> None:
        self._conductor = conductor
        self.ticket = ticket
        self._future = future

    async def wait(self) -> Send | Reject:
        try:
            return await self._future
        except asyncio.CancelledError:
            self._conductor.give_up(self.ticket)
            raise


class Conductor:
    """All calls of one event loop into its core go through here, so that whoever a step wakes is told at once."""

    def __init__(self, core: Gateway, clock: Callable[[], float], steerer: Steerer | None = None) -> None:
        """Without `steerer` there must be no route whose requests say where they may go."""
        self.core = core
        self._steerer = steerer
        self._clock = clock
        self._waiting: dict[int, asyncio.Future[Send | Reject]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    # --- requests ---

    def admit(self, route: Route, facts: RequestFacts, asking: Authenticated | None = None) -> Send | Reject | Waiting:
        """Opens a ticket; what is Waiting is queued, and has to be waited for. Where requests say which instances they
        may go to, `asking` is needed."""
        now, steering = self._clock(), None
        if route.steers:
            assert self._steerer is not None
            assert asking is not None
            steering = self._steerer.steer(asking, self.core.standings(route, now))
        decision = self.core.route_request(route, facts, now, steering)
        if isinstance(decision, Wait):
            return self._queued(decision)
        if not self.core.quiet:
            self._settle()
        return decision

    def process(self, attempt: Attempt, result: Head | Failure) -> Deliver | Send | Reject | Broken | Waiting:
        """Tells what became of an attempt; what is Waiting is for its retry, and has to be waited for."""
        decision = self.core.process_response(attempt, result, self._clock())
        if isinstance(decision, Wait):
            return self._queued(decision)
        if not self.core.quiet:
            self._settle()
        assert not isinstance(decision, Done)
        return decision

    def end(self, attempt: Attempt) -> None:
        """The response is complete."""
        self.core.process_response(attempt, _END, self._clock())
        if not self.core.quiet:
            self._settle()

    def abandon(self, ticket: Ticket) -> None:
        """The client left; nothing happens to a ticket that has ended."""
        self.core.abandon(ticket, self._clock())
        self._settle()

    def reject(self, ticket: Ticket, reason: Reason) -> Reject:
        """Ends a ticket that the shell refuses itself."""
        rejection = self.core.reject(ticket, reason, self._clock())
        self._settle()
        return rejection

    @property
    def waiting(self) -> int:
        """Requests that wait for a decision."""
        return len(self._waiting)

    # --- changes of the world ---

    def apply_routes(self, routes: Sequence[Route]) -> None:
        self.core.apply_routes(routes, self._clock())
        if self._steerer is not None:
            self._steerer.retain(frozenset(route.name for route in routes))
        self._settle()

    def apply_policies(self, policies: Mapping[str, ServicePolicy]) -> None:
        self.core.apply_policies(policies, self._clock())
        self._settle()

    def apply_view(self, service: str, instances: Sequence[Instance]) -> ViewDifference:
        difference = self.core.apply_view(service, instances, self._clock())
        self._settle()
        return difference

    def forget_service(self, service: str) -> None:
        self.core.forget_service(service, self._clock())
        self._settle()

    def prefer(self, node: str) -> None:
        self.core.prefer(node, self._clock())
        self._settle()

    def impose_circuit(self, service: str, key: InstanceKey, imposed: Imposition) -> None:
        self.core.impose_circuit(service, key, imposed, self._clock())
        self._settle()

    def close(self) -> None:
        """Stops the timer; nothing may be called afterwards."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- waking ---

    def _queued(self, decision: Wait) -> Waiting:
        """Settles after a step that made its own ticket wait; what to wait on."""
        # A place before settling: the very step that made this ticket wait may have woken it.
        future = self._waiting[decision.ticket.id] = asyncio.get_running_loop().create_future()
        self._settle()
        return Waiting(self, decision.ticket, future)

    def give_up(self, ticket: Ticket) -> None:
        """The one who waited for this ticket's decision has left."""
        self._waiting.pop(ticket.id, None)
        self.abandon(ticket)

    def _settle(self) -> None:
        for decision in self.core.take_woken():
            ticket = decision.attempt.ticket if isinstance(decision, Send) else decision.ticket
            future = self._waiting.pop(ticket.id)
            if not future.done():
                future.set_result(decision)
        deadline = self.core.next_deadline
        if deadline is not None and (self._timer is None or deadline < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            # Remembered here: uvloop's handle of a time that has come already does not tell it.
            self._timer_at = deadline
            self._timer = asyncio.get_running_loop().call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.core.tick(self._clock())
        self._settle()
