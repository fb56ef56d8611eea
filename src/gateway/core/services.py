"""The services as the gateway runs them: the mirror's instances, each with its circuit, under its policy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial

from mypy_extensions import mypyc_attr

from gateway.core.breaker import FAILED, PASSED, CircuitEvent, CircuitState, Imposition, Judgement, Permit
from gateway.core.events import Recorder
from gateway.core.model import CircuitMode, Instance, InstanceKey, ServicePolicy
from gateway.core.pool import WARM_STEPS, Member, Selector, Service
from gateway.core.registry import Registry, ViewDifference
from gateway.core.timers import Timers
from gateway.core.views import CircuitChange, CircuitView, Counters

_Place = tuple[str, InstanceKey, tuple[str, int]]


def _place(service: Service, instance: Instance) -> _Place:
    return (service.name, instance.key, instance.endpoint)


@mypyc_attr(allow_interpreted_subclasses=True)
class Services:
    """Owns the state variables `services`, `service_health` and `circuit_states`.

    `changed` is called with a service after any step that could let a waiting ticket go, or leave it without hope.
    """

    def __init__(
        self,
        timers: Timers,
        counters: Counters,
        draw: Callable[[], float],
        changed: Callable[[Service, float], None],
        on_circuit: Callable[[CircuitChange], None] | None,
        prefer_node: str | None,
        recorder: Recorder | None,
    ) -> None:
        self._timers = timers
        self._counters = counters
        self._draw = draw
        self._notify = changed
        self._on_circuit = on_circuit
        self._prefer_node = prefer_node
        self._recorder = recorder
        self._registry = Registry()
        self._services: dict[str, Service] = {}
        self._departed: dict[_Place, Member] = {}
        """Deregistered with requests in flight, which count on if it is registered again before they have ended."""
        self.policies: Mapping[str, ServicePolicy] = {}

    def get(self, name: str) -> Service:
        """The service of that name; without a view yet it has no instances."""
        service = self._services.get(name)
        if service is None:
            policy = self.policies.get(name) or ServicePolicy(name)
            service = self._services[name] = Service(name, policy, self._prefer_node)
        return service

    def mirrored(self) -> Mapping[str, tuple[Instance, ...]]:
        return self._registry.services()

    def circuits(self) -> Iterator[CircuitView]:
        for service in self._services.values():
            for member in service.members.values():
                yield _view(member)

    def circuit(self, name: str, key: InstanceKey) -> CircuitView | None:
        """None where the mirror has no such instance."""
        member = self._member(name, key)
        return None if member is None else _view(member)

    def apply_policies(self, policies: Mapping[str, ServicePolicy], now: float) -> None:
        self.policies = policies
        for service in tuple(self._services.values()):
            policy = policies.get(service.name) or ServicePolicy(service.name)
            if policy != service.policy:
                service.policy = policy
                self._warm_up(service, now)
                self.changed(service, now)

    def apply_view(self, name: str, instances: Iterable[Instance], now: float) -> ViewDifference:
        """Makes `instances` the mirror's content of a service; circuits of surviving instances carry over."""
        difference = self._registry.apply(name, instances)
        self._reconcile(self.get(name), difference, now)
        return difference

    def prefer(self, node: str, now: float) -> None:
        self._prefer_node = node
        for service in tuple(self._services.values()):
            service.prefer_node = node
            self.changed(service, now)

    def retain_pools(self, used: Mapping[str, Collection[Selector]]) -> None:
        """Forgets pools of backends that no route has any more, by service."""
        for service in self._services.values():
            service.retain_pools(used.get(service.name, ()))

    def forget(self, name: str, now: float) -> None:
        """Drops a service that no route names any more."""
        self._reconcile(self.get(name), self._registry.forget(name), now)
        del self._services[name]

    def _reconcile(self, service: Service, difference: ViewDifference, now: float) -> None:
        if not difference:
            return
        self._departed = {place: member for place, member in self._departed.items() if member.in_flight}
        for instance in difference.deregistered:
            self.deregister_service(service, instance, now)
        for instance in difference.registered:
            self.register_service(service, instance, now)
        for instance in difference.changed:
            self.update_health(service, instance, now)
        if difference.deregistered or difference.registered:
            keys = frozenset(service.members)
            for pool in (*service.pools.values(), *service.steered.values()):
                pool.retain(keys)
        service.view_version += 1
        self.changed(service, now)

    def register_service(self, service: Service, instance: Instance, now: float) -> None:
        member = self._departed.pop(_place(service, instance), None)
        if member is None:
            member = Member(service, instance, now)
        else:
            member.rejoin(service, instance, now)
        service.members[instance.key] = member
        self._warm_up(service, now)
        if self._recorder is not None:
            self._recorder.register_service(instance, now)

    def deregister_service(self, service: Service, instance: Instance, now: float) -> None:
        """From here on the instance is never picked; what it has in flight finishes where it is."""
        member = service.members.pop(instance.key)
        if member.in_flight:
            self._departed[_place(service, instance)] = member
        if self._recorder is not None:
            self._recorder.deregister_service(instance, now)

    def update_health(self, service: Service, instance: Instance, now: float) -> None:
        member = service.members[instance.key]
        if instance.weight and not member.instance.weight:
            member.warm_since = now
            self._warm_up(service, now)
        member.instance = instance
        if self._recorder is not None:
            self._recorder.update_health(instance, now)

    def judge(self, member: Member, permit: Permit, failed: bool, now: float) -> Judgement:
        """Records one judged attempt on the member's circuit, and makes the transition that its rules call for.

        Where that changes who may be picked, the caller has to say so with `changed` when it has done its own part.
        """
        circuit, policy = member.circuit, member.service.policy.circuit
        if not self._runs(member):
            return Judgement(failed)
        event = circuit.fail(permit, policy, now) if failed else circuit.succeed(permit, policy, now)
        if event is None:
            return Judgement(failed, changed=True) if permit.probe else (FAILED if failed else PASSED)
        if event is CircuitEvent.TRIP and not member.service.may_open_another():
            self._counters.openings_held += 1
            return Judgement(failed, held=True)
        self.trigger_circuit_breaker(member, event, now)
        return Judgement(failed, event, changed=True)

    def trigger_circuit_breaker(self, member: Member, event: CircuitEvent, now: float) -> None:
        """Makes a transition of one circuit; `changed` is for the caller to call."""
        service, circuit = member.service, member.circuit
        before, policy = circuit.state, service.policy.circuit
        circuit.apply(event, policy, now, self._draw)
        if circuit.state is CircuitState.OPEN:
            epoch = circuit.epoch
            self._timers.at(circuit.open_until, partial(self._mature, member, epoch))
        self._warm_closed(member, now)
        if self._on_circuit is not None:
            change = CircuitChange(service.name, member.key, event, before, circuit.state, policy.mode, now)
            self._on_circuit(change)

    def impose_circuit(self, name: str, key: InstanceKey, imposed: Imposition, now: float) -> Member | None:
        """Has a circuit be what other workers made of it; None where nothing came of it: the instance is gone, or its
        circuit is this worker's own. `changed` is for the caller to call."""
        member = self._member(name, key)
        if member is None or not member.circuit.impose(imposed, member.service.policy.circuit, now):
            return None
        self._warm_closed(member, now)
        return member

    def changed(self, service: Service, now: float) -> None:
        service.version += 1
        self._notify(service, now)

    def _mature(self, member: Member, epoch: int, now: float) -> None:
        if member.circuit.epoch == epoch and self._runs(member):
            self.trigger_circuit_breaker(member, CircuitEvent.MATURE, now)
            if self._recorder is not None:
                self._recorder.mature(member.service.name, member.key, now)
            self.changed(member.service, now)

    def _member(self, name: str, key: InstanceKey) -> Member | None:
        service = self._services.get(name)
        return None if service is None else service.members.get(key)

    def _warm_closed(self, member: Member, now: float) -> None:
        """An instance whose circuit has just closed is as a new one."""
        service = member.service
        if member.circuit.state is CircuitState.CLOSED and service.policy.circuit.mode is CircuitMode.ENFORCE:
            member.warm_since = now
            self._warm_up(service, now)

    def _runs(self, member: Member) -> bool:
        """Whether it is what the mirror holds, not one that was deregistered since."""
        return member.service.members.get(member.key) is member

    def _warm_up(self, service: Service, now: float) -> None:
        """Has the weights of a service recomputed at each step of its slow start."""
        length = service.policy.slow_start
        if length:
            for step in range(1, WARM_STEPS):
                self._timers.at(now + length * (step / (WARM_STEPS - 1)), partial(self.changed, service))


def _view(member: Member) -> CircuitView:
    circuit = member.circuit
    return CircuitView(
        key=member.key,
        service=member.service.name,
        state=circuit.state,
        mode=member.service.policy.circuit.mode,
        since=circuit.since,
        open_until=circuit.open_until if circuit.state is CircuitState.OPEN else None,
        consecutive_failures=circuit.consecutive_failures,
        openings=circuit.openings,
        in_flight=member.in_flight,
        probes=circuit.probes,
        probes_passed=circuit.probes_passed,
        elsewhere=circuit.elsewhere,
    )
