"""What must hold whether the way of a request is compiled or not; `make test-compiled` runs these compiled."""

import pickle
from dataclasses import replace

import pytest
from opentelemetry.sdk.metrics.export import HistogramDataPoint

from gateway.app.workers.channel import pickled
from gateway.core.breaker import Circuit
from gateway.core.model import Backend, Health, Instance, InstanceKey, Route, ServicePolicy
from gateway.core.tickets import Attempt, Ticket
from gateway.telemetry.counts import Counts
from tests.support import compiled

ROUTE = Route("orders", 1, (Backend("orders"),))
INSTANCE = Instance(InstanceKey("dc1", "n1", "orders-1"), "orders", "127.0.0.1", 9001, Health.PASSING)
VALUES = [ROUTE, INSTANCE, ServicePolicy("orders"), Backend("orders", 3)]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_go_from_process_to_process(value: object) -> None:
    come = pickle.loads(pickled(value))
    assert come == value
    assert hash(come) == hash(value)


def test_values_are_replaced_and_frozen() -> None:
    assert replace(ROUTE, name="other").backends is ROUTE.backends
    with pytest.raises(AttributeError):
        ROUTE.name = "other"  # type: ignore[misc]


def test_counts_go_from_process_to_process() -> None:
    counts = Counts()
    counts.request_ended("GET", "orders", 200, None, 0.01)
    counts.attempt_ended("orders", "reset", 0.01)
    come: Counts = pickle.loads(pickle.dumps(counts))
    assert come.failures == counts.failures
    (point,) = come.server.metric().data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert point.count == 1


@pytest.mark.parametrize("cls", [Attempt, Circuit, Ticket])
def test_parts_of_a_core_are_made_without_their_constructor(cls: type[object]) -> None:
    assert type(cls.__new__(cls)) is cls


def test_a_tree_made_from_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_digest", lambda: "of other sources")
    compiled.environment.cache_clear()
    try:
        assert not compiled.environment()
    finally:
        compiled.environment.cache_clear()
