"""Which requests are copied for a shadow, and with what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.model import Backend, Shadow
from gateway.pipeline.shadow import Copied, Shadowings
from gateway.pipeline.stage import Call, Received
from tests.support.calls import ROUTE, call

SHADOW = Shadow("next", share=0.5, buffer=4)


class World:
    def __init__(self, draw: float) -> None:
        self.copies: list[tuple[Shadow, bytes | None]] = []
        self.told: list[tuple[str, Copied]] = []
        self.shadowings = Shadowings(lambda: draw, self._copy, lambda *told: self.told.append(told))

    def _copy(self, shadow: Shadow, _: Call, body: bytes | None) -> None:
        self.copies.append((shadow, body))

    def ended(self, received: Received) -> None:
        stage = self.shadowings.of(replace(ROUTE, shadow=SHADOW))
        assert stage is not None
        asked = call()
        stage.request(asked)
        if asked.afterwards is not None:
            asked.afterwards(received)


@pytest.mark.parametrize(("draw", "copied"), [(0.0, True), (0.499, True), (0.5, False), (0.99, False)])
def test_a_share_is_copied(draw: float, *, copied: bool) -> None:
    world = World(draw)
    world.ended(Received(None, whole=True))
    assert bool(world.copies) is copied


@pytest.mark.parametrize("body", [None, b"", b"1234"])
def test_with_its_body(body: bytes | None) -> None:
    world = World(0.0)
    world.ended(Received(body, whole=True))
    assert world.copies == [(SHADOW, body)]
    assert world.told == []


@pytest.mark.parametrize("received", [Received(b"12345", whole=True), Received(None, whole=False)])
def test_unless_that_is_too_large(received: Received) -> None:
    world = World(0.0)
    world.ended(received)
    assert world.copies == []
    assert world.told == [(ROUTE.name, Copied.TOO_LARGE)]


def test_a_route_needs_its_shadow_and_others_have_none() -> None:
    assert World(0.0).shadowings.of(ROUTE) is None
    assert replace(ROUTE, backends=(Backend("orders"),), shadow=SHADOW).services() == {"orders", "next"}
