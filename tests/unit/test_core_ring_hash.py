"""Hashed requests: who stays where, and whose requests move when an instance leaves."""

from __future__ import annotations

import pytest

from gateway.core.model import (
    Balance,
    BalancePolicy,
    HashOn,
    HashSource,
    Health,
)
from tests.unit.core_support import ONE_STRIKE, Shell, facts, instance, name_of, policy, route, shell_with

BY_CLIENT = Balance(BalancePolicy.RING_HASH, HashOn(HashSource.CLIENT_IP))


def clients(shell: Shell, count: int = 300) -> dict[str, str]:
    return {
        address: shell.picks(route(), 1, facts(client_ip=address))[0]
        for address in (f"192.0.2.{number}" for number in range(count))
    }


def test_a_client_stays_with_its_instance() -> None:
    shell = shell_with(*[instance(f"i{number}") for number in range(5)])
    shell.policies(policy(balance=BY_CLIENT))
    before = clients(shell)
    assert len(set(before.values())) == 5
    assert clients(shell) == before


@pytest.mark.parametrize("how", ["deregistered", "critical", "circuit", "busy"])
def test_only_the_share_of_one_that_leaves_moves(how: str) -> None:
    shell = shell_with(*[instance(f"i{number}") for number in range(5)])
    shell.policies(policy(balance=BY_CLIENT, cap=2 if how == "busy" else 0, circuit=ONE_STRIKE))
    before = clients(shell)
    owned = next(address for address, owner in before.items() if owner == "i0")
    others = [instance(f"i{number}") for number in range(1, 5)]
    if how == "deregistered":
        shell.view(*others)
    elif how == "critical":
        shell.view(instance("i0", health=Health.CRITICAL), *others)
    elif how == "circuit":
        shell.fail(shell.send(route(), facts(client_ip=owned)))
    else:
        assert {name_of(shell.send(route(), facts(client_ip=owned))) for _ in range(2)} == {"i0"}
    after = clients(shell)
    assert "i0" not in after.values()
    assert all(after[address] == owner for address, owner in before.items() if owner != "i0")


def test_a_hashed_retry_goes_elsewhere_and_its_client_comes_back() -> None:
    shell = shell_with(*[instance(f"i{number}") for number in range(5)])
    shell.policies(policy(balance=BY_CLIENT))
    first = shell.send(route(), facts(client_ip="192.0.2.7"))
    second = shell.retried(first)
    assert name_of(second) != name_of(first)
    shell.answer(second)
    assert shell.picks(route(), 1, facts(client_ip="192.0.2.7")) == [name_of(first)]


@pytest.mark.parametrize(
    ("on", "headers"),
    [
        (HashOn(HashSource.HEADER, "x-user"), [("X-User", "{}")]),
        (HashOn(HashSource.COOKIE, "session"), [("Cookie", "other=1; session={}")]),
    ],
)
def test_a_header_or_a_cookie_decides(on: HashOn, headers: list[tuple[str, str]]) -> None:
    shell = shell_with(*[instance(f"i{number}") for number in range(5)])
    shell.policies(policy(balance=Balance(BalancePolicy.RING_HASH, on)))

    def pick(user: int) -> str:
        return shell.picks(route(), 1, facts(headers=[(name, value.format(user)) for name, value in headers]))[0]

    first = [pick(user) for user in range(40)]
    assert len(set(first)) == 5
    assert [pick(user) for user in range(40)] == first


def test_a_request_without_what_is_hashed_takes_its_turn() -> None:
    shell = shell_with(instance("a"), instance("b"))
    shell.policies(policy(balance=Balance(BalancePolicy.RING_HASH, HashOn(HashSource.HEADER, "x-user"))))
    assert shell.shares(route(), 10) == {"a": 5, "b": 5}


def test_what_is_hashed_may_be_any_bytes() -> None:
    shell = shell_with(instance("a"), instance("b"))
    shell.policies(policy(balance=Balance(BalancePolicy.RING_HASH, HashOn(HashSource.HEADER, "x-user"))))
    shell.picks(route(), 1, facts(headers=[("x-user", "caf\udce9")]))
