"""From health entries to instances: one function, one table; one bad entry harms no other."""

from __future__ import annotations

import json
import time
from ipaddress import ip_network

import pytest

from gateway.core.model import Health, InstanceKey
from gateway.discovery.addresses import AddressPolicy, BadAddress
from gateway.discovery.errors import ConsulBadAnswer
from gateway.discovery.health import Check, HealthReader, Parsed, health_of

Json = dict[str, object]


def entry(**service: object) -> Json:
    """As Consul 1.8.7 answers it for an instance with nothing but a name and a port."""
    return {
        "Node": {"ID": "x", "Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1", "Meta": None},
        "Service": {
            "ID": "o1",
            "Service": "orders",
            "Tags": [],
            "Address": "",
            "Meta": None,
            "Port": 80,
            "Weights": {"Passing": 1, "Warning": 1},
        }
        | service,
        "Checks": [{"Node": "n1", "CheckID": "serfHealth", "Status": "passing", "ServiceID": ""}],
    }


def without(made: Json, part: str, name: str | None = None) -> Json:
    if name is None:
        return {key: value for key, value in made.items() if key != part}
    inner = made[part]
    assert isinstance(inner, dict)
    return made | {part: {key: value for key, value in inner.items() if key != name}}


def node(**changes: object) -> Json:
    made = entry()
    inner = made["Node"]
    assert isinstance(inner, dict)
    return made | {"Node": inner | changes}


def parsed(*entries: object, policy: AddressPolicy | None = None) -> Parsed:
    return HealthReader("orders", policy or AddressPolicy()).read(json.dumps(entries).encode())


P, W, C, M = Health.PASSING, Health.WARNING, Health.CRITICAL, Health.MAINTENANCE


@pytest.mark.parametrize(
    ("checks", "health"),
    [
        ([], P),
        ([("c", "passing")], P),
        ([("c", "warning")], W),
        ([("c", "critical")], C),
        ([("c", "passing"), ("d", "warning")], W),
        ([("c", "critical"), ("d", "warning")], C),
        ([("serfHealth", "critical"), ("c", "passing")], C),
        ([("serfHealth", "passing"), ("c", "warning")], W),
        ([("_node_maintenance", "critical"), ("c", "passing")], M),
        ([("_service_maintenance:o1", "critical"), ("c", "critical")], M),
        ([("c", "critical"), ("_service_maintenance:o1", "critical")], M),
        ([("_service_maintenance", "passing")], P),
        ([("my_node_maintenance", "warning")], W),
        ([("c", "unheard-of")], C),
        ([("c", "")], C),
    ],
)
def test_health_is_the_worst_of_service_and_node(checks: list[tuple[str, str]], health: Health) -> None:
    assert health_of([Check(*check) for check in checks]) is health


@pytest.mark.parametrize(
    ("check", "unjudged"),
    [
        ({"Status": "critical", "Type": "http", "Output": ""}, True),
        ({"Status": "critical", "Type": "", "Output": ""}, True),
        ({"Status": "critical", "Type": "http", "Output": "connection refused"}, False),
        ({"Status": "critical", "Type": "ttl", "Output": ""}, False),
        ({"Status": "warning", "Type": "http", "Output": ""}, False),
        ({"Status": "critical", "CheckID": "_node_maintenance"}, False),
    ],
)
def test_which_instances_are_critical_by_checks_that_have_not_run(check: dict[str, str], unjudged: bool) -> None:
    others = [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "w", "Status": "warning", "Output": "slow"}]
    made = parsed(entry() | {"Checks": [{"CheckID": "c"} | check, *others]})
    (instance,) = made.instances
    assert made.unjudged == ({instance.key: W} if unjudged else {})


def test_an_instance_that_is_critical_for_another_reason_too_is_judged() -> None:
    checks = [{"CheckID": "a", "Status": "critical"}, {"CheckID": "b", "Status": "critical", "Output": "refused"}]
    assert parsed(entry() | {"Checks": checks}).unjudged == {}


def test_an_instance_as_consul_lists_it() -> None:
    made = parsed(entry(Tags=["stable", "v2"], Meta={"region": "eu"}, Weights={"Passing": 10, "Warning": 3}))
    (instance,) = made.instances
    assert instance.key == InstanceKey("dc1", "n1", "o1")
    assert (instance.service, instance.endpoint, instance.health) == ("orders", ("10.0.0.1", 80), P)
    assert (instance.weight_passing, instance.weight_warning) == (10, 3)
    assert (instance.tags, dict(instance.meta)) == (frozenset({"stable", "v2"}), {"region": "eu"})
    assert (made.left_out, made.entries) == ((), 1)


@pytest.mark.parametrize(
    ("service", "address"),
    [
        ({"Address": "10.9.9.9"}, "10.9.9.9"),
        ({"Address": ""}, "10.0.0.1"),
        ({"Address": "2001:DB8::1"}, "2001:db8::1"),
        ({"Address": "[2001:db8::1]"}, "2001:db8::1"),
        ({"Address": "orders.internal"}, "orders.internal"),
        ({"Address": "localhost"}, "localhost"),
        ({"Address": "127.0.0.1"}, "127.0.0.1"),
    ],
)
def test_address_with_its_fallback(service: Json, address: str) -> None:
    assert parsed(entry(**service)).instances[0].address == address


def test_a_service_entry_may_lack_its_address_altogether() -> None:
    assert parsed(without(entry(), "Service", "Address")).instances[0].address == "10.0.0.1"


@pytest.mark.parametrize(
    ("weights", "passing", "warning"),
    [
        ({"Passing": 7, "Warning": 0}, 7, 0),
        ({"Passing": 3}, 3, 1),
        ({}, 1, 1),
        (None, 1, 1),
        ({"Passing": -5, "Warning": -1}, 0, 0),
        ({"Passing": 10**9, "Warning": 65535}, 65535, 65535),
    ],
)
def test_weights(weights: object, passing: int, warning: int) -> None:
    (instance,) = parsed(entry(Weights=weights)).instances
    assert (instance.weight_passing, instance.weight_warning) == (passing, warning)


def test_weights_may_be_absent() -> None:
    assert parsed(without(entry(), "Service", "Weights")).instances[0].weight == 1


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (entry(Port=0), "Port"),
        (entry(Port=65536), "Port"),
        (entry(Port="80"), "Port"),
        (entry(Port=80.5), "Port"),
        (without(entry(), "Service", "Port"), "Port"),
        (without(entry(), "Service"), "Service"),
        (without(entry(), "Node"), "Node"),
        (entry(ID=""), "ID"),
        (entry(ID=None), "ID"),
        (entry(Meta=[]), "Meta"),
        (entry(Meta={"a": 1}), "Meta"),
        (entry(Tags="stable"), "Tags"),
        (entry(Tags=[None]), "Tags"),
        (entry(Weights={"Passing": "many"}), "Weights"),
        (entry(Service="users"), "not asked for"),
        (entry(ID="o\r\n1"), "control characters"),
        (node(Node="n\x001"), "control characters"),
        (entry(Address="10.0.0.1 "), "neither"),
        (entry(Address="http://10.0.0.1"), "neither"),
        (entry(Address="a\r\nb"), "neither"),
        (entry(Address="evil.example/x"), "neither"),
        (entry(Address="x" * 300), "neither"),
        (node(Address=""), "neither"),
        (entry(Address="169.254.169.254"), "denied"),
        (node(Address="0.0.0.0"), "denied"),
        (None, "object"),
        ([], "object"),
        ("x", "object"),
        (1, "object"),
    ],
)
def test_a_malformed_entry_is_left_out_and_the_others_stay(bad: object, told: str) -> None:
    made = parsed(entry(ID="a"), bad, entry(ID="b"))
    assert [instance.key.service_id for instance in made.instances] == ["a", "b"]
    (left_out,) = made.left_out
    assert told in left_out.reason
    assert left_out.what.isprintable()
    assert left_out.reason.isprintable()
    assert made.entries == 3


def test_null_metadata_tags_and_checks_are_what_consul_itself_sends() -> None:
    made = parsed(entry(Meta=None, Tags=None) | {"Checks": None})
    assert made.instances[0].meta == {}
    assert not made.left_out


def test_labels_that_would_break_a_line_are_dropped_and_the_instance_stays() -> None:
    made = parsed(entry(Tags=["good", "evil\r\nX: 1"], Meta={"a": "b\nc", "d\r": "e", "f": "g", "h": "\0"}))
    (instance,) = made.instances
    assert (instance.tags, dict(instance.meta)) == (frozenset({"good"}), {"f": "g"})
    assert len(made.left_out) == 4
    assert all(item.reason.isprintable() for item in made.left_out)


def test_identity_is_datacenter_node_and_id() -> None:
    made = parsed(entry(), node(Node="n2"), node(Datacenter="dc2"), entry(Port=81))
    assert len(made.instances) == 3
    assert made.left_out[0].reason == "listed twice"


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[", b'"x"', b"\xff", b"[" * 100_000, b"[1,]"])
def test_an_answer_that_is_no_list_is_no_answer(body: bytes) -> None:
    with pytest.raises(ConsulBadAnswer):
        HealthReader("orders", AddressPolicy()).read(body)


@pytest.mark.parametrize("body", [b'[{"Node": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]", b'[{"Node":"\xff"}]'])
def test_bytes_that_break_parsers(body: bytes) -> None:
    try:
        made = HealthReader("orders", AddressPolicy()).read(body)
    except ConsulBadAnswer:
        return
    assert not made.instances


def test_a_thousand_instances_are_read_quickly_and_unchanged_ones_not_again() -> None:
    entries = [entry(ID=f"o{n}", Port=1000 + n, Meta={"n": str(n)}) for n in range(1000)]
    reader = HealthReader("orders", AddressPolicy())
    first = reader.read(json.dumps(entries).encode())
    began = time.perf_counter()
    changed = [*entries[:500], entry(ID="o500", Port=1500, Weights={"Passing": 5, "Warning": 1}), *entries[501:]]
    second = reader.read(json.dumps(changed).encode())
    took = time.perf_counter() - began
    assert len(first.instances) == len(second.instances) == 1000
    same = [a is b for a, b in zip(first.instances, second.instances, strict=True)]
    assert same.count(False) == 1
    assert second.instances[500].weight == 5
    assert took < 0.2


# --- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "fe80::1",
        "fe80::1%eth0",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "2852039166",
        "0xa9fea9fe",
        "169.254.43518",
        "0251.0376.0251.0376",
        "169.254.169.254.",
        "x.1",
        "",
        " ",
        "a b",
        "-x",
        "a..b",
    ],
)
def test_addresses_denied_by_default(address: str) -> None:
    with pytest.raises(BadAddress):
        AddressPolicy().check(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "::1", "2001:db8::1", "a.b-c.d_e", "x", "host.", "1a.2b"])
def test_addresses_permitted_by_default(address: str) -> None:
    assert AddressPolicy().check(address) == address


def test_allowed_networks_admit_nothing_else() -> None:
    policy = AddressPolicy(allowed=[ip_network("10.0.0.0/8")], denied=[ip_network("10.1.0.0/16")])
    assert policy.check("10.2.0.1") == "10.2.0.1"
    assert policy.check("::ffff:10.2.0.1")
    for address in ("10.1.0.1", "192.168.0.1", "::1", "some.name"):
        with pytest.raises(BadAddress):
            policy.check(address)


def test_denied_networks_can_be_lifted() -> None:
    assert AddressPolicy(denied=[]).check("169.254.1.1") == "169.254.1.1"
