"""External authorisation: what a service's answers do to a request, and what becomes of one that nobody answers for."""

from __future__ import annotations

import pytest

from gateway.core.authentication import ApiKey, External, Place, PlaceKind
from gateway.core.model import Reason
from gateway.pipeline.stage import Identity
from tests.unit.authentication_support import Said, World, bearer, refused

ASKS = External(
    "authz",
    headers=(("X-User", "x-auth-user"), ("X-Roles", "x-roles")),
    refusal_headers=("location",),
    owner="x-auth-user",
)
KEY = ApiKey(Place(PlaceKind.HEADER, "x-api-key"))


async def test_whom_it_lets_pass_goes_on_with_what_it_said() -> None:
    world = World()
    world.service.says = Said(204, [("X-Auth-User", "ann"), ("X-Roles", "a"), ("x-roles", "b"), ("X-Other", "o")])
    sent = [bearer("t"), ("X-User", "forged"), ("x_roles", "forged"), ("Accept", "*/*")]
    answer, call = await world.ask(world.route(ASKS), *sent)
    assert answer is None
    assert call.fields == [("Accept", "*/*"), ("X-User", "ann"), ("X-Roles", "a, b")]
    assert call.identity == Identity("external", "ann")
    assert call.claims == {"x-auth-user": "ann", "x-roles": "a, b"}


async def test_what_it_does_not_say_is_not_sent_and_what_the_client_said_of_it_is_removed() -> None:
    world = World()
    world.service.says = Said(200)
    answer, call = await world.ask(world.route(ASKS), ("X-User", "forged"))
    assert answer is None
    assert call.fields == []
    assert call.identity == Identity("external", "")


async def test_authorization_goes_upstream_only_where_the_route_says_so() -> None:
    world = World()
    world.service.says = Said(200)
    _, call = await world.ask(world.route(External("authz", forward=True)), bearer("t"))
    assert call.fields == [bearer("t")]


@pytest.mark.parametrize(
    ("said", "reason", "fields"),
    [
        (
            Said(401, [("WWW-Authenticate", "Bearer x"), ("Location", "/login"), ("Set-Cookie", "a=b")]),
            Reason.UNAUTHENTICATED,
            (("WWW-Authenticate", "Bearer x"), ("Location", "/login")),
        ),
        (Said(401), Reason.UNAUTHENTICATED, (("WWW-Authenticate", 'External realm="gateway"'),)),
        (Said(403, [("WWW-Authenticate", "Bearer x"), ("X", "y")]), Reason.FORBIDDEN, ()),
    ],
)
async def test_whom_it_refuses_is_refused(said: Said, reason: Reason, fields: tuple[tuple[str, str], ...]) -> None:
    world = World()
    world.service.says = said
    answer, call = await world.ask(world.route(ASKS), ("Accept", "*/*"))
    assert refused(answer, reason) == f"authz answered {said.status}"
    assert answer is not None
    assert answer.fields == fields
    assert call.identity is None


@pytest.mark.parametrize("status", [100, 301, 302, 304, 400, 404, 429, 500, 503])
async def test_any_other_answer_is_none(status: int) -> None:
    world = World()
    world.service.says = Said(status, [("Location", "/"), ("X-Auth-User", "ann")])
    answer, _ = await world.ask(world.route(ASKS))
    assert refused(answer, Reason.AUTHORISATION_UNAVAILABLE) == f"authz answered {status}"


async def test_nobody_to_ask_lets_nobody_pass() -> None:
    world = World()
    answer, _ = await world.ask(world.route(ASKS))
    assert refused(answer, Reason.AUTHORISATION_UNAVAILABLE) == "authz: no_healthy_instance"
    assert answer is not None
    assert answer.fields == ()


async def test_of_several_it_is_asked_only_where_that_decides() -> None:
    world = World()
    answer, _ = await world.ask(world.route(KEY, ASKS))
    assert refused(answer, Reason.AUTHORISATION_UNAVAILABLE).startswith("no API key; authz")
    world.service.says = Said(200, [("X-Auth-User", "ann")])
    answer, call = await world.ask(world.route(KEY, ASKS))
    assert answer is None
    assert call.identity == Identity("external", "ann")
    asked = len(world.service.asked)
    answer, _ = await world.ask(world.route(KEY, ASKS, every=True))
    assert refused(answer) == "no API key"
    assert len(world.service.asked) == asked


def test_a_route_needs_the_services_that_it_asks() -> None:
    assert World().route(KEY, ASKS).services() == {"orders", "authz"}
