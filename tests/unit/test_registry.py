"""What one view changes: registered, deregistered, changed; nothing where the content is equal."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Health, Instance
from gateway.core.registry import Registry, ViewDifference
from tests.unit.core_support import instance, key

instances = st.builds(
    lambda number, port, health, weight, tags: instance(f"i{number}", weight, port=port, health=health, tags=tags),
    st.integers(0, 4),
    st.sampled_from((80, 81)),
    st.sampled_from(list(Health)),
    st.integers(0, 2),
    st.sets(st.sampled_from("xy")),
)
views = st.lists(instances, max_size=5, unique_by=lambda each: each.key)


def test_a_service_without_a_view_has_no_instances() -> None:
    assert Registry().instances("orders") == {}


def test_a_first_view_registers() -> None:
    registry = Registry()
    assert registry.services() == {}
    assert registry.apply("orders", [instance("a")]).registered == (instance("a"),)
    assert registry.services() == {"orders": (instance("a"),)}


def test_an_empty_view_makes_a_service_known() -> None:
    registry = Registry()
    assert not registry.apply("orders", [])
    assert registry.services() == {"orders": ()}


def test_equal_content_changes_nothing() -> None:
    registry = Registry()
    registry.apply("orders", [instance("a", meta={"x": "1"}), instance("b")])
    assert not registry.apply("orders", [instance("b"), instance("a", meta={"x": "1"})])


def test_health_weights_tags_and_metadata_change_an_instance() -> None:
    for after in (
        instance("a", health=Health.WARNING),
        instance("a", 5),
        instance("a", warning=3),
        instance("a", tags=["x"]),
        instance("a", meta={"x": "1"}),
    ):
        registry = Registry()
        registry.apply("orders", [instance("a")])
        assert registry.apply("orders", [after]) == ViewDifference(changed=(after,))


def test_a_moved_endpoint_deregisters_and_registers() -> None:
    before = instance("a", port=80)
    for after in (instance("a", port=81), replace(before, address="127.0.0.2")):
        registry = Registry()
        registry.apply("orders", [before])
        assert registry.apply("orders", [after]) == ViewDifference((after,), (before,))


def test_the_same_id_on_two_nodes_is_two_instances() -> None:
    registry = Registry()
    registry.apply("orders", [instance("a", node="n1"), instance("a", node="n2")])
    assert set(registry.instances("orders")) == {key("a", "n1"), key("a", "n2")}


def test_forgetting_deregisters_everything() -> None:
    registry = Registry()
    registry.apply("orders", [instance("a"), instance("b")])
    assert registry.forget("orders") == ViewDifference(deregistered=(instance("a"), instance("b")))
    assert registry.services() == {}
    assert not registry.forget("orders")


def test_services_do_not_touch_each_other() -> None:
    registry = Registry()
    registry.apply("orders", [instance("a")])
    assert registry.apply("stock", [instance("a")]).registered
    registry.forget("orders")
    assert set(registry.instances("stock")) == {key("a")}
    assert not registry.instances("orders")


@given(st.lists(views, max_size=6))
def test_differences_add_up_to_the_last_view(history: list[list[Instance]]) -> None:
    registry = Registry()
    mine: dict[object, Instance] = {}
    for view in history:
        difference = registry.apply("orders", view)
        for gone in difference.deregistered:
            assert mine.pop(gone.key) == gone
        for new in difference.registered:
            assert new.key not in mine
            mine[new.key] = new
        for changed in difference.changed:
            assert mine[changed.key] != changed
            assert mine[changed.key].endpoint == changed.endpoint
            mine[changed.key] = changed
        assert mine == {each.key: each for each in view} == registry.instances("orders")
