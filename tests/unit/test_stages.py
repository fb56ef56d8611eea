"""The stages of a route: made once for each of its versions, in their order."""

from __future__ import annotations

from gateway.core.model import Backend, Route
from gateway.pipeline.stage import Call, Pipelines, ResponseHead


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def request(self, _: Call) -> None:
        """Goes on."""

    def response(self, _: Call, head: ResponseHead) -> None:
        head.fields.append(("x-stage", self.name))


def pipelines() -> Pipelines:
    return Pipelines(
        [
            lambda route: Named(f"first of {route.version}"),
            lambda route: Named("for the odd") if route.version % 2 else None,
            lambda route: Named(f"last of {route.version}"),
        ]
    )


def names(made: Pipelines, route: Route) -> list[str]:
    return [stage.name for stage in made.of(route) if isinstance(stage, Named)]


def route(version: int) -> Route:
    return Route("orders", version, (Backend("orders"),))


def test_stages_stand_in_the_order_of_their_makers() -> None:
    assert names(pipelines(), route(1)) == ["first of 1", "for the odd", "last of 1"]
    assert names(pipelines(), route(2)) == ["first of 2", "last of 2"]


def test_they_are_made_once_for_each_version() -> None:
    made, old, new = pipelines(), route(1), route(2)
    stages = made.of(old)
    assert made.of(old) is stages
    assert names(made, new) == ["first of 2", "last of 2"]
    assert names(made, old) == ["first of 1", "for the odd", "last of 1"], "a request keeps the version it matched"


def test_those_of_routes_that_are_gone_are_forgotten() -> None:
    made, first = pipelines(), route(1)
    stages = made.of(first)
    made.retain(frozenset({"orders"}))
    assert made.of(first) is stages
    made.retain(frozenset())
    assert made.of(first) is not stages
