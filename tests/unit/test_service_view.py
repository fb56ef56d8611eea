"""What an answer about one service may take out of the mirror: hidden, doubted and missing are different things."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from gateway.core.model import Instance
from gateway.discovery.addresses import AddressPolicy
from gateway.discovery.consul_client import Question
from gateway.discovery.doubt import Sign
from gateway.discovery.permissions import DENIED_RECHECK
from gateway.discovery.service_view import ServiceView
from gateway.discovery.transport import Reply
from gateway.discovery.watch import Taken


class World:
    """A Consul whose answers are given, and which is asked for our rights alone."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hidden: set[str] = set()
        self.held: list[str] = []
        self.view = ServiceView("orders", self, AddressPolicy(), 10.0, lambda: self.now, self._publish)

    def _publish(self, service: str, instances: Sequence[Instance]) -> None:
        self.held = sorted(instance.key.service_id for instance in instances)

    async def health_service(self, service: str, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        raise AssertionError("is not asked here")

    async def kv_read(self, key: str, index: int | None = None, wait: float = 0) -> Reply[bytes]:
        raise AssertionError("is not asked here")

    async def may_read(self, questions: Sequence[Question]) -> list[bool] | None:
        return [question.segment not in self.hidden for question in questions]

    async def told(self, names: str, signs: Sign = Sign.NONE, *, filtered: bool = False) -> Taken:
        """An answer with these instances, each on a node of its own name."""
        entries = [
            {"Node": {"Node": name, "Address": "10.0.0.1"}, "Service": {"ID": name, "Service": "orders", "Port": 80}}
            for name in names
        ]
        return await self.view.take(Reply(json.dumps(entries).encode(), filtered_by_acls=filtered), signs)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.told("ab")
    return world


async def test_what_is_missing_is_looked_for_once_more(world: World) -> None:
    assert await world.told("a") == Taken("live", changed=False, recheck=0)
    assert world.held == ["a", "b"]
    assert await world.told("a") == Taken("live", changed=True)
    assert world.held == ["a"]


async def test_each_that_is_missing_is_looked_for_once_more(world: World) -> None:
    await world.told("a")
    assert (await world.told("b")).recheck == 0
    assert world.held == ["a", "b"]
    await world.told("b")
    assert world.held == ["b"]


async def test_a_filtered_answer_is_not_believed_because_our_rights_are_back(world: World) -> None:
    """Consul filters a parked query by the rights of when it was asked."""
    taken = await world.told("", filtered=True)
    assert (taken.state, taken.recheck) == ("denied", 0)
    assert world.held == ["a", "b"]
    await world.told("ab")
    assert world.held == ["a", "b"]


async def test_where_some_nodes_are_always_hidden_others_may_go(world: World) -> None:
    await world.told("a", filtered=True)
    taken = await world.told("a", filtered=True)
    assert (taken.state, taken.recheck, world.held) == ("denied", DENIED_RECHECK, ["a"])


async def test_a_hidden_node_says_nothing_of_the_others(world: World) -> None:
    world.hidden = {"a"}
    await world.told("")
    assert world.held == ["a", "b"]
    await world.told("")
    assert world.held == ["a"]


async def test_a_denied_answer_does_not_use_up_the_doubt(world: World) -> None:
    world.hidden = {"orders"}
    assert (await world.told("", Sign.RECONNECTED)).state == "denied"
    world.hidden = set()
    for world.now in (1.0, 9.0):
        assert (await world.told("")).state == "doubted"
        assert world.held == ["a", "b"]
    world.now = 10.0
    assert (await world.told("")).recheck == 0
    await world.told("")
    assert world.held == []


async def test_a_doubt_of_one_does_not_take_the_second_look_from_another(world: World) -> None:
    assert (await world.told("a", Sign.RESET)).state == "doubted"
    taken = await world.told("")
    assert (taken.state, taken.recheck, world.held) == ("doubted", 0, ["a", "b"])
    assert (await world.told("a")).state == "doubted"
    assert world.held == ["a", "b"]


async def test_rights_that_came_back_are_told_when_all_was_read_afresh(world: World) -> None:
    world.hidden = {"orders"}
    await world.told("")
    world.hidden = set()
    assert await world.told("") == Taken("denied", changed=False, recheck=0, error="permitted again, reading afresh")
    assert await world.told("ab") == Taken("live", changed=False)
