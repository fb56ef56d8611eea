"""What requests say about where they may go: `instances` and `prefer`, cookies and headers that keep a client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from multidict import CIMultiDict

from gateway.build import COMPILED
from gateway.core import steering
from gateway.core.candidate import steps_for
from gateway.core.facts import RequestFacts
from gateway.core.model import Backend, Instance, Route, Sticky, StickyOn
from gateway.core.predicate import BadPredicate
from gateway.core.serving import Serving, Standing, Steering
from gateway.core.steering import Steerer
from gateway.core.sticky import tagger
from gateway.discovery.predicates import compile_instances
from gateway.pipeline.stage import Call, Identity
from tests.unit.core_support import instance, key

TAG = tagger(b"a key that nobody else has")
EU = instance("eu", meta={"region": "eu", "role": "replica"}, tags=["stable"])
US = instance("us", meta={"region": "us"}, node="n2")
BARE = instance("bare")
ALL = (EU, US, BARE)
with_other_bounds = pytest.mark.skipif(COMPILED, reason="a compiled core takes no bound but its own")


@dataclass
class World:
    """One route and its steerer; `failed` are the failures of predicates that it was told of."""

    route: Route
    failed: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.steerer = Steerer(compile_instances, TAG, lambda route, field: self.failed.append((route, field)))

    def steer(self, call: Call | None = None, *standings: Standing) -> Steering:
        given = standings or [standing(backend) for backend in self.route.backends]
        return self.steerer.steer(call or asking(self.route), given)


def asking(route: Route, *headers: tuple[str, str], claims: dict[str, str] | None = None) -> Call:
    facts = RequestFacts("GET", "api.example.com", "/orders/1", "v=2", CIMultiDict(headers), "192.0.2.7")
    return Call(facts, route, None, "/", "", [], claims=dict(claims or {}), identity=Identity("jwt", "ann"))


def standing(
    backend: Backend, instances: Sequence[Instance] = ALL, permitted: Sequence[Instance] | None = None
) -> Standing:
    may_be_picked = instances if permitted is None else permitted
    return Standing(backend, instances, frozenset(each.key for each in may_be_picked))


def only(source: str, *headers: tuple[str, str], claims: dict[str, str] | None = None) -> set[str]:
    route = Route("r", 1, (Backend("orders", instances=source),))
    found = World(route).steer(asking(route, *headers, claims=claims)).serving[0].only
    assert found is not None
    return {each.service_id for each in found}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("instance.meta.region == 'eu'", {"eu"}),
        ("has(instance.meta.region)", {"eu", "us"}),
        ("!has(instance.meta.region)", {"bare"}),
        ("'stable' in instance.tags", {"eu"}),
        ("instance.node == 'n2' && instance.datacenter == 'dc1'", {"us"}),
        ("instance.id.startsWith('e') || instance.id == 'bare'", {"eu", "bare"}),
        ("instance.service == 'orders' && instance.port > 1024 && instance.address != ''", {"eu", "us", "bare"}),
        ("instance.health == 'passing' && instance.weight >= 1", {"eu", "us", "bare"}),
        ("instance.meta.region == request.headers['x-region']", {"us"}),
        ("instance.meta.region == claims.region", {"eu"}),
        ("request.method == 'GET' && instance.meta.role == 'replica'", {"eu"}),
        ("request.path == '/orders/1' && instance.tags.exists(t, t.startsWith(request.headers['x-tag']))", {"eu"}),
        ("identity.owner == 'ann' && route.name == 'r'", {"eu", "us", "bare"}),
        ("request.method == 'POST'", set()),
    ],
)
def test_instances_are_chosen_by_what_they_and_the_request_are(source: str, names: set[str]) -> None:
    assert only(source, ("X-Region", "us"), ("X-Tag", "sta"), claims={"region": "eu"}) == names


def test_an_error_excludes_its_instance_and_is_counted() -> None:
    world = World(Route("r", 1, (Backend("orders", instances="instance.meta.region == 'eu'", prefer="claims.x"),)))
    assert world.steer().serving == (Serving(frozenset({EU.key}), frozenset()),)
    assert Counter(world.failed) == {("r", "instances"): 1, ("r", "prefer"): 3}


def test_an_error_that_another_operand_outweighs_is_none() -> None:
    assert only("instance.meta.region == 'eu' || true") == {"eu", "us", "bare"}


def test_prefer_says_who_rather() -> None:
    world = World(Route("r", 1, (Backend("orders", prefer="instance.meta.region == request.headers['x-region']"),)))
    assert world.steer(asking(world.route, ("X-Region", "us"))).serving == (Serving(None, frozenset({US.key})),)
    assert world.steer().serving == (Serving(),)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("instance.meta.region = 'eu'", "="),
        ("instance.region == 'eu'", "region"),
        ("instance.tags == 'eu'", "=="),
        ("instanze.tags.exists(t, true)", "did you mean instance?"),
        ("instance.port", "a predicate is a bool"),
    ],
)
def test_bad_ones_are_rejected_with_what_is_wrong(source: str, reason: str) -> None:
    with pytest.raises(BadPredicate) as bad:
        compile_instances(source)
    assert reason in bad.value.reason


# --- what is found once -------------------------------------------------------------------------------------------


class _Counted(dict[str, str]):
    """Metadata that counts how often it is asked."""

    asked = 0

    def __getitem__(self, name: str) -> str:
        self.asked += 1
        return super().__getitem__(name)


def test_what_does_not_ask_about_the_request_is_found_once_for_each_set_of_instances() -> None:
    meta = _Counted(region="eu")
    counted = instance("counted", meta=meta)
    backend = Backend("orders", instances="instance.meta.region.startsWith('e')")
    world = World(Route("r", 1, (backend,)))
    here = standing(backend, (counted, US))
    for _ in range(10):
        assert world.steer(None, here).serving[0].only == frozenset({counted.key})
    assert meta.asked == 1
    gone = standing(backend, (counted,))
    assert world.steer(None, gone).serving[0].only == frozenset({counted.key})
    assert meta.asked == 1, "the instance is the same as before"
    again = standing(backend, (instance("counted", meta=meta, weight=2),))
    assert world.steer(None, again).serving[0].only == frozenset({counted.key})
    assert meta.asked == 2


def test_so_are_the_parts_of_it_that_do_not() -> None:
    meta = _Counted(region="eu")
    counted = instance("counted", meta=meta)
    backend = Backend("orders", instances="instance.meta.region.startsWith('e') && request.headers['x'] == 'y'")
    world = World(Route("r", 1, (backend,)))
    here = standing(backend, (counted,))
    for value, expected in (("y", frozenset({counted.key})), ("z", frozenset()), ("y", frozenset({counted.key}))):
        assert world.steer(asking(world.route, ("X", value)), here).serving[0].only == expected
    assert meta.asked == 1


def test_what_asks_about_the_request_alone_is_asked_once_for_all_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def counting(self: RequestFacts, name: str) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return self.headers.getall(name, ())

    monkeypatch.setattr(RequestFacts, "header_map", property(lambda self: _Headers(counting, self)))
    assert only("instance.meta.region == request.headers['x-region'].lowerAscii()", ("X-Region", "EU")) == {"eu"}
    assert asked == 1


class _Headers(dict[str, str]):
    def __init__(self, ask: object, facts: RequestFacts) -> None:
        self._ask, self._facts = ask, facts

    def __getitem__(self, name: str) -> str:
        assert callable(self._ask)
        return str(self._ask(self._facts, name)[0])


@with_other_bounds
def test_all_instances_of_a_backend_share_the_steps_of_a_predicate(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [instance(f"i{number}", tags=[f"t{each}" for each in range(20)]) for number in range(200)]
    backend = Backend("orders", instances="instance.tags.exists(t, t == request.headers['x'])")
    world = World(Route("r", 1, (backend,)))
    call = asking(world.route, ("X", "t19"))
    assert len(world.steer(call, standing(backend, many)).serving[0].only or ()) == 200
    assert [steps_for(count) for count in (1, 200, 900, 10_000)] == [10_100, 30_000, 100_000, 100_000]
    monkeypatch.setattr(steering, "steps_for", lambda _: 1000)
    found = world.steer(call, standing(backend, many)).serving[0].only
    assert found is not None
    assert 0 < len(found) < 50
    assert len(world.failed) == 200 - len(found)


@with_other_bounds
def test_once_the_steps_are_used_up_nothing_more_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [instance(f"i{number}", tags=[f"t{number}"]) for number in range(30)]
    backend = Backend("orders", instances="instance.tags.exists(t, t == request.headers['x']) || instance.port > 0")
    world = World(Route("r", 1, (backend,)))
    monkeypatch.setattr(steering, "steps_for", lambda _: 20)
    found = world.steer(asking(world.route, ("X", "none")), standing(backend, many)).serving[0].only
    assert found is not None
    assert len(found) < 10, "those whose tags could not be looked through may have the port"
    assert len(world.failed) == 30 - len(found)


def test_a_route_that_is_gone_is_forgotten() -> None:
    world = World(Route("r", 1, (Backend("orders", instances="true"),)))
    world.steer()
    world.steerer.retain(frozenset())
    assert not world.steerer._made


# --- sticky -------------------------------------------------------------------------------------------------------

COOKIE = Sticky(StickyOn.COOKIE, "at")
HEADER = Sticky(StickyOn.HEADER, "x-session")
SHADE = instance("shade", service="shade")


def sticky_world(on: Sticky, *backends: Backend) -> World:
    return World(Route("r", 1, backends or (Backend("orders"),), sticky=on))


def test_a_cookie_prefers_the_instance_that_it_was_made_for() -> None:
    world = sticky_world(COOKIE)
    assert world.steer(asking(world.route, ("Cookie", f"x=1; at={TAG(US)}"))) == Steering(
        (Serving(None, frozenset({US.key})),), 0
    )


@pytest.mark.parametrize("value", ["", "nonsense", tagger(b"another key")(US), TAG(SHADE), "dc1/n2/us"])
def test_any_other_cookie_says_nothing(value: str) -> None:
    world = sticky_world(COOKIE)
    assert world.steer(asking(world.route, ("Cookie", f"at={value}"))) == Steering((Serving(),))
    assert world.steer() == Steering((Serving(),))


def test_a_cookie_holds_its_client_in_its_backend() -> None:
    backends = (Backend("orders", 9), Backend("shade", 1))
    world = sticky_world(COOKIE, *backends)
    held = world.steer(
        asking(world.route, ("Cookie", f"at={TAG(SHADE)}")), standing(backends[0]), standing(backends[1], (SHADE,))
    )
    assert held == Steering((Serving(), Serving(None, frozenset({SHADE.key}))), 1)


def test_a_cookie_for_an_instance_that_may_not_be_picked_says_nothing() -> None:
    world = sticky_world(COOKIE)
    here = standing(world.route.backends[0], permitted=[EU, BARE])
    assert world.steer(asking(world.route, ("Cookie", f"at={TAG(US)}")), here) == Steering((Serving(),))
    narrowed = sticky_world(COOKIE, Backend("orders", instances="instance.id != 'us'"))
    found = narrowed.steer(asking(narrowed.route, ("Cookie", f"at={TAG(US)}")))
    assert found == Steering((Serving(frozenset({EU.key, BARE.key})),))


def test_the_tag_of_an_instance_tells_nothing_and_differs_by_identity() -> None:
    tags = {TAG(each) for each in (EU, US, BARE, SHADE, instance("eu", node="n9"), instance("eu", service="other"))}
    assert len(tags) == 6
    assert all(len(tag) == 32 and "eu" not in tag for tag in tags)
    assert TAG(instance("eu", port=1)) == TAG(EU), "at another address it is the same instance"


def chosen(world: World, value: str, *standings: Standing) -> tuple[int | None, str]:
    found = world.steer(asking(world.route, ("X-Session", value)), *standings)
    assert found.held is not None
    (preferred,) = found.serving[found.held].preferred
    return found.held, preferred.service_id


def test_equal_headers_go_to_equal_instances_by_weight() -> None:
    instances = (instance("a", 1), instance("b", 2), instance("c", 5))
    world = sticky_world(HEADER)
    here = standing(world.route.backends[0], instances)
    seen = Counter(chosen(world, f"v{number}", here)[1] for number in range(4000))
    for name, share in (("a", 500), ("b", 1000), ("c", 2500)):
        assert abs(seen[name] - share) < 120
    assert all(chosen(world, f"v{number}", here) == chosen(world, f"v{number}", here) for number in range(50))


def test_only_the_clients_of_one_that_left_are_moved() -> None:
    instances = [instance(name) for name in "abcd"]
    world = sticky_world(HEADER)
    backend = world.route.backends[0]
    before = {f"v{number}": chosen(world, f"v{number}", standing(backend, instances))[1] for number in range(400)}
    after = {value: chosen(world, value, standing(backend, instances[:3]))[1] for value in before}
    assert {value for value in before if before[value] != after[value]} == {
        value for value in before if before[value] == "d"
    }
    open_circuit = {
        value: chosen(world, value, standing(backend, instances, permitted=instances[:3]))[1] for value in before
    }
    assert open_circuit == after


def test_backends_keep_their_shares_of_the_clients_and_a_fallback_has_none() -> None:
    backends = (Backend("orders", 9), Backend("shade", 1), Backend("spare", 100, fallback=True))
    world = sticky_world(HEADER, *backends)
    spare = instance("spare", service="spare")
    all_up = (standing(backends[0]), standing(backends[1], (SHADE,)), standing(backends[2], (spare,)))
    seen = Counter(chosen(world, f"v{number}", *all_up)[0] for number in range(3000))
    assert set(seen) == {0, 1}
    assert abs(seen[1] - 300) < 90
    down = (standing(backends[0], ()), standing(backends[1], ()), all_up[2])
    assert chosen(world, "v1", *down) == (2, "spare")


def test_without_the_header_nothing_is_said() -> None:
    world = sticky_world(HEADER)
    assert world.steer() == Steering((Serving(),))
    nobody = standing(world.route.backends[0], ())
    assert world.steer(asking(world.route, ("X-Session", "v")), nobody) == Steering((Serving(),))


def test_otherwise_any_takes_part_where_nobody_else_may_be_picked() -> None:
    backend = Backend("orders", instances="instance.id == 'us'", any_otherwise=True)
    world = sticky_world(HEADER, backend)
    assert chosen(world, "v")[1] == "us"
    assert chosen(world, "v", standing(backend, permitted=[EU]))[1] == "eu"
    assert key("us", "n2") == US.key
