"""Networks of a route: who may come in, and how each spelling of an address is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import Network, Networks
from gateway.core.model import Reason
from gateway.pipeline.networks import NetworkRules, NetworkSet
from tests.unit.pipeline_support import ROUTE, answer_of, call


def networks(*written: str) -> tuple[Network, ...]:
    return tuple(ip_network(each) for each in written)


def passes(client: str, allow: Sequence[Network] = (), deny: Sequence[Network] = ()) -> bool:
    answer = answer_of(NetworkRules(allow, deny), call(client_ip=client))
    assert answer is None or (answer.reason is Reason.FORBIDDEN and answer.detail is None and answer.note)
    return answer is None


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("10.0.0.1", True),
        ("10.6.6.6", False),
        ("11.0.0.1", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("::ffff:10.0.0.1", True),
        ("::ffff:10.6.6.6", False),
        ("2001:db8::1", True),
        ("2001:db8:bad::1", False),
        ("2001:db9::1", False),
        ("::a00:1", False),
        ("unknown", False),
    ],
)
def test_deny_wins_over_allow_and_all_others_stay_out(client: str, expected: bool) -> None:
    allow = networks("10.0.0.0/8", "192.0.2.7", "2001:db8::/32")
    assert passes(client, allow, networks("10.6.6.0/24", "2001:db8:bad::/48")) is expected


def test_with_deny_alone_all_others_come_in() -> None:
    assert passes("192.0.2.1", deny=networks("10.0.0.0/8"))
    assert passes("2001:db8::1", deny=networks("10.0.0.0/8"))
    assert not passes("10.0.0.1", deny=networks("10.0.0.0/8"))


def test_a_client_without_an_address_stays_out() -> None:
    assert not passes("unknown", deny=networks("10.0.0.0/8"))


def test_ipv4_in_its_ipv6_form_is_the_same_network() -> None:
    assert passes("10.1.2.3", networks("::ffff:10.0.0.0/104"))
    assert not passes("11.1.2.3", networks("::ffff:10.0.0.0/104"))


def test_a_route_without_networks_has_no_stage() -> None:
    assert NetworkRules.of(ROUTE) is None
    for rules in (Networks(allow=networks("10.0.0.0/8")), Networks(deny=networks("10.0.0.0/8"))):
        assert NetworkRules.of(replace(ROUTE, networks=rules)) is not None


V4 = st.builds(
    lambda number, bits: IPv4Network((number, bits), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
)
V6 = st.builds(
    lambda number, bits: IPv6Network((number, bits), strict=False), st.integers(2**64, 2**128 - 1), st.integers(0, 128)
)
MANY = st.lists(V4 | V6, min_size=1, max_size=8)


@given(MANY, MANY, st.data())
def test_it_finds_what_a_search_one_by_one_finds(
    found: list[Network], others: list[Network], data: st.DataObject
) -> None:
    near = data.draw(st.sampled_from([*found, *others]))
    for address in (near.network_address, near.broadcast_address):
        assert (address in NetworkSet(found)) == any(address in network for network in found)


def test_thousands_of_networks_take_a_look_for_each_length_of_prefix() -> None:
    many = NetworkSet(ip_network((number << 12, 20)) for number in range(10_000))
    assert ip_address(9_999 << 12 | 5) in many
    assert ip_address(10_000 << 12) not in many
    assert [len(prefixes) for prefixes in many._prefixes.values()] == [1, 0]
