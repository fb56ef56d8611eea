"""Service policies and the `defaults` document."""

from __future__ import annotations

import json

import pytest
from pydantic import JsonValue

from gateway.core.model import (
    Balance,
    BalancePolicy,
    CircuitMode,
    CircuitPolicy,
    Connect,
    ConnectTls,
    HashOn,
    HashSource,
    RetryBudget,
    ServicePolicy,
)
from gateway.discovery.documents import (
    BUILT_IN,
    Defaults,
    Rejection,
    check_defaults,
    check_policy,
    parse_defaults,
    parse_policy,
)

FULL = b"""\
circuit: {consecutive_failures: 3, failure_ratio: 12.5%, window: 20s, min_requests: 5, open_for: 1s, max_open_for: 1m,
          half_open_probes: 2, max_open: 50%, failure_statuses: [500, 599], mode: shadow}
balance: {policy: ring_hash, on: {header: X-User}}
in_flight_per_instance: 1
slow_start: 30s
connect: {timeout: 1s, keep_alive: 0s, tls: {verify: false, server_name: a.example.com, cert_file: /c, key_file: /k}}
retry_budget: {ratio: 0%, min_per_second: 2}
"""


def accepted(raw: bytes, defaults: Defaults = BUILT_IN) -> ServicePolicy:
    policy = parse_policy("orders", raw, 7, defaults)
    assert isinstance(policy, ServicePolicy), str(policy)
    return policy


def defaults_of(raw: bytes) -> Defaults:
    defaults = parse_defaults(raw, 1)
    assert isinstance(defaults, Defaults), str(defaults)
    return defaults


def problems(document: JsonValue) -> list[tuple[str, str]]:
    return [(found.field, found.reason) for found in check_policy("orders", json.dumps(document).encode())]


def test_an_empty_policy_is_the_built_in_one() -> None:
    assert accepted(b"{}") == ServicePolicy("orders", 7)


def test_the_fullest_policy() -> None:
    assert accepted(FULL) == ServicePolicy(
        service="orders",
        version=7,
        circuit=CircuitPolicy(3, 0.125, 20, 5, 1, 60, 2, 0.5, frozenset({500, 599}), CircuitMode.SHADOW),
        balance=Balance(BalancePolicy.RING_HASH, HashOn(HashSource.HEADER, "x-user")),
        in_flight_per_instance=1,
        slow_start=30,
        connect=Connect(1, 0, ConnectTls(False, "a.example.com", None, "/c", "/k")),
        retry_budget=RetryBudget(0, 2),
    )


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("client_ip", HashOn(HashSource.CLIENT_IP)),
        ({"client_ip": True}, HashOn(HashSource.CLIENT_IP)),
        ({"cookie": "Session"}, HashOn(HashSource.COOKIE, "Session")),
        ({"header": "X-A"}, HashOn(HashSource.HEADER, "x-a")),
    ],
)
def test_what_a_ring_hash_hashes(on: JsonValue, expected: HashOn) -> None:
    raw = json.dumps({"balance": {"policy": "ring_hash", "on": on}}).encode()
    assert accepted(raw).balance.on == expected


@pytest.mark.parametrize(
    ("document", "field", "reason"),
    [
        ({"circuit": {"mode": "on"}}, "circuit.mode", "has to be one of enforce, shadow or off"),
        ({"circuit": {"failure_ratio": 0.5}}, "circuit.failure_ratio",
         "a share is a number with a percent sign, such as 50% or 12.5%"),
        ({"circuit": {"failure_ratio": "101%"}}, "circuit.failure_ratio", "has to be between 0% and 100%"),
        ({"circuit": {"window": "0s"}}, "circuit.window", "has to be between 100ms and 1h"),
        ({"circuit": {"failure_statuses": [200]}}, "circuit.failure_statuses[0]", "has to be at least 400"),
        ({"circuit": {"open_for": "10m"}}, "circuit.open_for", "max_open_for must not be below open_for"),
        ({"circuit": {"max_open_for": "1s"}}, "circuit.max_open_for", "max_open_for must not be below open_for"),
        ({"circuit": {"half_open_probes": 0}}, "circuit.half_open_probes", "has to be at least 1"),
        ({"balance": {"policy": "random"}}, "balance.policy",
         "has to be one of weighted_round_robin, least_request or ring_hash"),
        ({"balance": {"policy": "ring_hash"}}, "balance", "ring_hash needs to know what to hash: on"),
        ({"balance": {"on": "client_ip"}}, "balance.on", "only ring_hash takes it"),
        ({"balance": {"policy": "ring_hash", "on": {}}}, "balance.on",
         "takes exactly one of header, cookie and client_ip"),
        ({"balance": {"policy": "ring_hash", "on": "x"}}, "balance.on", "has to be a mapping"),
        ({"balance": {"policy": "ring_hash", "on": {"client_ip": False}}}, "balance.on.client_ip", "can only be true"),
        ({"connect": {"tls": {"cert_file": "/c"}}}, "connect.tls", "cert_file and key_file go together"),
        ({"connect": {"tls": {"ca_file": ""}}}, "connect.tls.ca_file", "must not be empty"),
        ({"connect": {"tls": None}}, "connect.tls", "has no value: give one, or leave the field out"),
        ({"connect": {"timeout": "0s"}}, "connect.timeout", "has to be between 1ms and 60s"),
        ({"retry_budget": {"min_per_second": "10"}}, "retry_budget.min_per_second", "has to be a number"),
        ({"circiut": {}}, "circiut", "unknown field; did you mean circuit?"),
        ({"in_flight_per_instance": -1}, "in_flight_per_instance", "has to be at least 0"),
    ],
)  # fmt: skip
def test_refusals(document: JsonValue, field: str, reason: str) -> None:
    assert problems(document) == [(field, reason)]


def test_a_policy_overrides_defaults_field_by_field() -> None:
    defaults = defaults_of(
        b"service: {circuit: {window: 5s, mode: 'off'}, connect: {timeout: 2s, tls: {verify: false}}, slow_start: 9s}"
    )
    policy = accepted(b"circuit: {mode: enforce}\nconnect: {tls: {ca_file: /ca}}\n", defaults)
    assert policy.circuit == CircuitPolicy(window=5)
    assert policy.connect == Connect(timeout=2, tls=ConnectTls(verify=True, ca_file="/ca"))
    assert policy.slow_start == 9
    assert (policy.service, policy.version) == ("orders", 7)


def test_tls_by_default_can_be_switched_off() -> None:
    defaults = defaults_of(b"service: {connect: {tls: {}}}")
    assert accepted(b"{}", defaults).connect.tls == ConnectTls()
    assert accepted(b"connect: {tls: {enabled: false}}", defaults).connect.tls is None
    assert accepted(b"connect: {timeout: 1s}", defaults).connect.tls == ConnectTls()


def test_a_default_hash_is_left_behind_by_another_policy() -> None:
    defaults = defaults_of(b"service: {balance: {policy: ring_hash, on: client_ip}}")
    assert accepted(b"{}", defaults).balance.on == HashOn(HashSource.CLIENT_IP)
    assert accepted(b"balance: {policy: least_request}", defaults).balance == Balance(BalancePolicy.LEAST_REQUEST)


def test_problems_of_a_defaults_document_name_the_whole_way() -> None:
    found = check_defaults(
        b"route:\n  timeouts: {request: 0s, attempt: 0s}\nservice:\n  circuit: {open_for: 1h}\n", key="gateway/defaults"
    )
    assert [str(each).rsplit(": ", 1)[0] for each in found[1:]] == ["gateway/defaults:4:13: service.circuit.open_for"]
    assert (found[0].line, found[0].field) == (2, "route.timeouts")
    assert isinstance(parse_defaults(b"rout: {}", 3), Rejection)


def test_empty_defaults_are_the_built_in_ones() -> None:
    assert defaults_of(b"{}") == BUILT_IN
