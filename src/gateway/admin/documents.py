"""Effective routes and service policies in the words of the documents that operators write.

What is shown is complete, defaults filled in, and would be accepted again as a document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.core.model import (
    Backend,
    CircuitPolicy,
    Connect,
    EditRequestHeaders,
    Filter,
    HashSource,
    HeaderEdit,
    Match,
    PathKind,
    Route,
    ServicePolicy,
    StripPrefix,
    ValueKind,
    ValueMatch,
)

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
Object = dict[str, Json]

_PATH_FIELDS = {PathKind.EXACT: "path_exact", PathKind.REGEX: "path_regex", PathKind.PREFIX: "path_prefix"}


def duration(seconds: float) -> str:
    """`250ms`, `10s`."""
    return f"{seconds:g}s" if seconds == int(seconds) else f"{round(seconds * 1000)}ms"


def share(fraction: float) -> str:
    """`50%`."""
    return f"{round(fraction * 100, 4):g}%"


def route_document(route: Route) -> Object:
    document: Object = {}
    if route.hostnames:
        document["hostnames"] = list(route.hostnames)
    document["match"] = [_match(match) for match in route.matches]
    document["backends"] = [_backend(backend) for backend in route.backends]
    if route.filters:
        document["filters"] = [_filter(item) for item in route.filters]
    timeouts, retry, limits, empty = route.timeouts, route.retry, route.limits, route.when_empty
    document["timeouts"] = {
        "request": duration(timeouts.request),
        "attempt": duration(timeouts.attempt),
        "idle": duration(timeouts.idle),
    }
    document["retry"] = {
        "attempts": retry.attempts,
        "retry_on": [*sorted(kind.value for kind in retry.on_failures), *(str(s) for s in sorted(retry.on_statuses))],
        "methods": sorted(retry.methods),
        "buffer": f"{retry.buffer}B",
    }
    document["limits"] = {
        "in_flight": limits.in_flight,
        "queue": limits.queue,
        "queue_timeout": duration(limits.queue_timeout),
        "body": f"{limits.body}B",
    }
    when_empty: Object = {"status": empty.status}
    if empty.retry_after is not None:
        when_empty["retry_after"] = duration(empty.retry_after)
    if empty.panic is not None:
        when_empty["panic"] = str(empty.panic)
    document["when_empty"] = when_empty
    document["escaped_slashes"] = "pass" if route.pass_escaped_slashes else "refuse"
    document["websocket"] = route.websocket
    return document


def policy_document(policy: ServicePolicy) -> Object:
    budget = policy.retry_budget
    balance: Object = {"policy": policy.balance.policy.value}
    if policy.balance.on is not None:
        source, name = policy.balance.on
        balance["on"] = "client_ip" if source is HashSource.CLIENT_IP else {source.value: name}
    return {
        "circuit": _circuit(policy.circuit),
        "balance": balance,
        "in_flight_per_instance": policy.in_flight_per_instance,
        "slow_start": duration(policy.slow_start),
        "connect": _connect(policy.connect),
        "retry_budget": {"ratio": share(budget.ratio), "min_per_second": budget.min_per_second},
    }


def _match(match: Match) -> Object:
    document: Object = {_PATH_FIELDS[match.path.kind]: match.path.value}
    if match.methods:
        document["methods"] = sorted(match.methods)
    if match.headers:
        document["headers"] = {value.name: _value(value) for value in match.headers}
    if match.query:
        document["query"] = {value.name: _value(value) for value in match.query}
    return document


def _value(match: ValueMatch) -> Json:
    if match.kind is ValueKind.EXACT:
        return match.value
    return {"present": True} if match.kind is ValueKind.PRESENT else {"regex": match.value}


def _backend(backend: Backend) -> Object:
    document: Object = {"service": backend.service, "weight": backend.weight}
    if backend.tags:
        document["tags"] = sorted(backend.tags)
    if backend.meta:
        document["meta"] = dict(backend.meta)
    return document


def _filter(item: Filter) -> Object:
    if isinstance(item, StripPrefix):
        return {"strip_prefix": item.prefix}
    name = "request_headers" if isinstance(item, EditRequestHeaders) else "response_headers"
    return {name: _edit(item.edit)}


def _edit(edit: HeaderEdit) -> Object:
    document: Object = {}
    if edit.set:
        document["set"] = dict(edit.set)
    if edit.add:
        added: dict[str, list[Json]] = {}
        for name, value in edit.add:
            added.setdefault(name, []).append(value)
        document["add"] = {name: list(values) for name, values in added.items()}
    if edit.remove:
        document["remove"] = list(edit.remove)
    return document


def _circuit(policy: CircuitPolicy) -> Object:
    return {
        "consecutive_failures": policy.consecutive_failures,
        "failure_ratio": share(policy.failure_ratio),
        "window": duration(policy.window),
        "min_requests": policy.min_requests,
        "open_for": duration(policy.open_for),
        "max_open_for": duration(policy.max_open_for),
        "half_open_probes": policy.half_open_probes,
        "max_open": share(policy.max_open),
        "failure_statuses": sorted(policy.failure_statuses),
        "mode": policy.mode.value,
    }


def _connect(connect: Connect) -> Object:
    document: Object = {"timeout": duration(connect.timeout), "keep_alive": duration(connect.keep_alive)}
    if connect.tls is not None:
        tls = connect.tls
        named = {
            "server_name": tls.server_name,
            "ca_file": tls.ca_file,
            "cert_file": tls.cert_file,
            "key_file": tls.key_file,
        }
        document["tls"] = {"verify": tls.verify, **{name: value for name, value in named.items() if value is not None}}
    return document
