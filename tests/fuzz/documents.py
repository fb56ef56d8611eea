"""What anyone who may write to KV writes: a value, or a rejection that says where."""

from __future__ import annotations

from gateway.discovery.documents import (
    Rejection,
    parse_credential,
    parse_defaults,
    parse_policy,
    parse_route,
)
from tests.unit.test_documents_fuzz import GOOD_JSON, GOOD_OWN, GOOD_POLICY, GOOD_YAML

SEEDS = [GOOD_YAML, GOOD_JSON, GOOD_OWN, GOOD_POLICY, b"{}", b"a: &b [*b]", b"- !!python/object:x {}"]
FOUND: list[bytes] = []


def fuzz(data: bytes) -> None:
    found = (
        parse_route("fuzzed", data, 1),
        parse_policy("fuzzed", data, 1),
        parse_credential("fuzzed", data, 1),
        parse_defaults(data, 1),
    )
    for each in found:
        if isinstance(each, Rejection):
            assert each.reason
            assert each.line >= 1
            assert each.column >= 1
