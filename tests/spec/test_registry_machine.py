"""The mirror's content in the core: each view is taken apart into the actions that `specs/GatewayImpl.tla` knows.

A rule that is named as an action of the module has its guard, and its view makes just this one step. Each step is
held against what the views said last, by the module's properties.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.model import Health, Instance, InstanceKey
from gateway.core.registry import Registry, ViewDifference
from tests.unit.core_support import instance

SERVICES = ("orders", "stock")
services = st.sampled_from(SERVICES)
names = st.sampled_from(("a", "b", "c"))
healths = st.sampled_from(tuple(Health))
weights = st.sampled_from((0, 1, 5))
tags = st.sampled_from(((), ("canary",)))
ports = st.sampled_from((80, 81))
PICKS = st.integers(0, 11)
entries = st.tuples(names, healths, weights, tags, ports)
View = dict[InstanceKey, Instance]


def made(service: str, name: str, health: Health, weight: int, marks: tuple[str, ...], port: int) -> Instance:
    return instance(name, weight, service=service, health=health, tags=marks, port=port)


class RegistryMachine(RuleBasedStateMachine):
    """`mirror` is what the last view of each service said; `replayed` what the differences alone add up to."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.mirror: dict[str, View] = {}
        self.replayed: dict[str, View] = {service: {} for service in SERVICES}

    def held(self, service: str) -> View:
        return self.mirror.get(service, {})

    def applied(self, service: str, view: View) -> ViewDifference:
        others = {name: dict(self.registry.instances(name)) for name in SERVICES if name != service}
        difference = self.registry.apply(service, view.values())
        self.mirror[service] = view
        self.replay(service, difference)
        for name, before in others.items():
            assert self.registry.instances(name) == before, "RegistryConsistency: a view of another service"
        return difference

    def replay(self, service: str, difference: ViewDifference) -> None:
        """In the order in which the core takes them: each action under its guard, and none that changes nothing."""
        content = self.replayed[service]
        for gone in difference.deregistered:
            assert content.pop(gone.key) == gone, "DeregisterService"
        for came in difference.registered:
            assert came.key not in content, "RegisterService"
            content[came.key] = came
        for new in difference.changed:
            old = content[new.key]
            assert old != new, "UpdateHealth"
            assert old.endpoint == new.endpoint, "UpdateHealth"
            content[new.key] = new

    # --- the actions ---

    @rule(service=services, entry=entries)
    def register_service(self, service: str, entry: tuple[str, Health, int, tuple[str, ...], int]) -> None:
        new = made(service, *entry)
        before = self.held(service)
        if new.key not in before:
            assert self.applied(service, {**before, new.key: new}) == ViewDifference(registered=(new,))

    @precondition(lambda self: any(self.mirror.values()))
    @rule(pick=PICKS)
    def deregister_service(self, pick: int) -> None:
        service, gone = self.picked(pick)
        after = {key: each for key, each in self.held(service).items() if key != gone.key}
        assert self.applied(service, after) == ViewDifference(deregistered=(gone,))

    @precondition(lambda self: any(self.mirror.values()))
    @rule(pick=PICKS, health=healths, weight=weights, marks=tags)
    def update_health(self, pick: int, health: Health, weight: int, marks: tuple[str, ...]) -> None:
        service, old = self.picked(pick)
        new = replace(old, health=health, weight_passing=weight, tags=frozenset(marks))
        expected = ViewDifference() if new == old else ViewDifference(changed=(new,))
        assert self.applied(service, {**self.held(service), new.key: new}) == expected

    def picked(self, pick: int) -> tuple[str, Instance]:
        every = [(service, each) for service, view in sorted(self.mirror.items()) for each in view.values()]
        return every[pick % len(every)]

    # --- what brings several of them at once ---

    @precondition(lambda self: any(self.mirror.values()))
    @rule(pick=PICKS)
    def an_instance_moves(self, pick: int) -> None:
        """Another address or port is another place: what was there is gone."""
        service, old = self.picked(pick)
        new = replace(old, port=161 - old.port)
        assert self.applied(service, {**self.held(service), new.key: new}) == ViewDifference((new,), (old,))

    @rule(service=services, view=st.lists(entries, max_size=3, unique_by=lambda entry: entry[0]))
    def apply_view(self, service: str, view: list[tuple[str, Health, int, tuple[str, ...], int]]) -> None:
        after = {each.key: each for each in (made(service, *entry) for entry in view)}
        self.applied(service, after)
        assert not self.applied(service, after), "RegistryConsistency: nothing comes of the same view"

    @rule(service=services)
    def forget_service(self, service: str) -> None:
        before = self.mirror.pop(service, {})
        difference = self.registry.forget(service)
        assert difference == ViewDifference(deregistered=tuple(before.values()))
        self.replay(service, difference)

    # --- the properties ---

    @invariant()
    def registry_consistency(self) -> None:
        """What is held is what the views said last, and what the differences add up to; of nothing else it knows."""
        assert self.registry.services() == {name: tuple(view.values()) for name, view in self.mirror.items()}
        for service in SERVICES:
            assert self.registry.instances(service) == self.held(service) == self.replayed[service]

    @invariant()
    def valid_service_states(self) -> None:
        for service in SERVICES:
            for key, each in self.registry.instances(service).items():
                assert (each.key, each.service) == (key, service)
                assert each.health in Health
                if each.health >= Health.CRITICAL:
                    assert each.weight == 0


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
