"""What answers where Consul should: health entries, keys and values; and a snapshot on disk."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address, ip_network

import msgspec

from gateway.core.model import Health
from gateway.discovery.addresses import AddressPolicy
from gateway.discovery.consul_client import decode_kv
from gateway.discovery.errors import ConsulError
from gateway.discovery.health import HealthReader
from gateway.discovery.snapshot import decode
from gateway.discovery.transport import Reply

_ENTRY = (
    b'{"Node": {"Node": "n", "Address": "10.0.0.1", "Datacenter": "dc1"}, "Service": {"ID": "a-1", "Service": "a", '
    b'"Port": 80, "Address": "10.0.0.2", "Tags": ["t"], "Meta": {"k": "v"}, "Weights": {"Passing": 1, "Warning": 1}}, '
    b'"Checks": [{"CheckID": "c", "Status": "passing", "Output": "", "Type": "ttl"}]}'
)
SEEDS = [
    b"[" + _ENTRY + b"]",
    b"[" + _ENTRY + b", null, {}]",
    b"[" + _ENTRY.replace(b'"Meta": {"k": "v"}', b'"Meta": null') + b"]",
    b"[" + _ENTRY.replace(b"passing", b"critical").replace(b"10.0.0.2", b"169.254.169.254") + b"]",
    b'[{"Key": "gateway/routes/a", "Value": "e30=", "ModifyIndex": 7, "Flags": 0, "CreateIndex": 1, "LockIndex": 0}]',
    b'[{"Key": "gateway/routes/a", "Value": null, "ModifyIndex": 7}]',
    b"<html>",
    b"[]",
    b"null",
]
FOUND: list[bytes] = []

_LINK_LOCAL = ip_network("169.254.0.0/16")
_ADDRESSES = AddressPolicy((), (_LINK_LOCAL,))


def _is_denied(address: str) -> bool:
    """Names are looked up, and checked then."""
    try:
        return ip_address(address) in _LINK_LOCAL
    except ValueError:
        return False


def fuzz(data: bytes) -> None:
    reader = HealthReader("a", _ADDRESSES)
    with suppress(ConsulError):
        parsed = reader.read(data)
        assert reader.read(data).instances == parsed.instances, "what was seen before is not parsed again"
        for instance in parsed.instances:
            assert instance.service == "a"
            assert 1 <= instance.port <= 65535
            assert not _is_denied(instance.address)
            assert isinstance(instance.health, Health)
            assert all("\n" not in text for text in (*instance.tags, *instance.meta.values()))
    with suppress(ConsulError):
        for entry in decode_kv(Reply(data), "/v1/kv/gateway"):
            assert isinstance(msgspec.to_builtins(entry), dict)
    with suppress(ValueError):
        decode(data, _ADDRESSES)
