"""Routes and policies as documents again, with every default filled in: what is in force, in operators' notation."""

from __future__ import annotations

from pydantic import JsonValue

from gateway.core.limits import Cors, Networks, RateLimit, RateSource
from gateway.core.model import (
    Backend,
    Balance,
    CircuitPolicy,
    Connect,
    ConnectTls,
    HashSource,
    Limits,
    Match,
    PathKind,
    RetryPolicy,
    Route,
    ServicePolicy,
    Timeouts,
    ValueKind,
    ValueMatch,
    WhenEmpty,
)
from gateway.discovery.documents.answer_document import describe_answer
from gateway.discovery.documents.describe_auth import describe_auth
from gateway.discovery.documents.filters_document import describe_filter
from gateway.discovery.documents.model import Described
from gateway.discovery.documents.shadow_document import describe_shadow
from gateway.discovery.documents.sticky_document import describe_sticky
from gateway.discovery.documents.units import format_duration, format_percent, format_size

_PATH_FIELDS = {PathKind.EXACT: "path_exact", PathKind.REGEX: "path_regex", PathKind.PREFIX: "path_prefix"}


def describe(route: Route) -> Described:
    """The document that `parse_route` reads as this very route, whatever the defaults."""
    described: Described = {}
    if route.hostnames:
        described["hostnames"] = list(route.hostnames)
    described["match"] = [_match(match) for match in route.matches]
    if route.when is not None:
        described["when"] = route.when
    if route.answer is None:
        described["backends"] = [_backend(backend) for backend in route.backends]
        described["sticky"] = describe_sticky(route.sticky)
        described["shadow"] = describe_shadow(route.shadow)
    else:
        described |= describe_answer(route.answer)
    return described | {
        "filters": [describe_filter(each) for each in route.filters],
        "auth": describe_auth(route.auth),
        "require": route.require,
        "timeouts": _timeouts(route.timeouts),
        "retry": _retry(route.retry),
        "limits": _limits(route.limits),
        "networks": _networks(route.networks),
        "cors": _cors(route.cors),
        "when_empty": _when_empty(route.when_empty),
        "escaped_slashes": "pass" if route.pass_escaped_slashes else "refuse",
        "websocket": route.websocket,
    }


def describe_policy(policy: ServicePolicy) -> Described:
    """The document that `parse_policy` reads as this very policy, whatever the defaults."""
    return {
        "circuit": _circuit(policy.circuit),
        "balance": _balance(policy.balance),
        "in_flight_per_instance": policy.in_flight_per_instance,
        "slow_start": format_duration(policy.slow_start),
        "connect": _connect(policy.connect),
        "retry_budget": {
            "ratio": format_percent(policy.retry_budget.ratio),
            "min_per_second": policy.retry_budget.min_per_second,
        },
    }


def _match(match: Match) -> Described:
    described: Described = {_PATH_FIELDS[match.path.kind]: match.path.value}
    if match.methods:
        described["methods"] = [*sorted(match.methods)]
    if match.headers:
        described["headers"] = {header.name: _value(header) for header in match.headers}
    if match.query:
        described["query"] = {parameter.name: _value(parameter) for parameter in match.query}
    return described


def _value(match: ValueMatch) -> JsonValue:
    if match.kind is ValueKind.EXACT:
        return match.value
    if match.kind is ValueKind.REGEX:
        return {"regex": match.value}
    return {"present": True}


def _backend(backend: Backend) -> Described:
    described: Described = {"service": backend.service, "weight": backend.weight}
    if backend.tags:
        described["tags"] = [*sorted(backend.tags)]
    if backend.meta:
        described["meta"] = dict(backend.meta)
    if backend.instances is not None:
        described |= {"instances": backend.instances, "otherwise": "any" if backend.any_otherwise else "refuse"}
    if backend.prefer is not None:
        described["prefer"] = backend.prefer
    if backend.fallback:
        described["fallback"] = True
    return described


def _timeouts(timeouts: Timeouts) -> Described:
    return {
        "request": format_duration(timeouts.request),
        "attempt": format_duration(timeouts.attempt),
        "idle": format_duration(timeouts.idle),
    }


def _retry(retry: RetryPolicy) -> Described:
    conditions = sorted(kind.value for kind in retry.on_failures) + [
        str(status) for status in sorted(retry.on_statuses)
    ]
    return {
        "attempts": retry.attempts,
        "retry_on": [*conditions],
        "methods": [*sorted(retry.methods)],
        "buffer": format_size(retry.buffer),
    }


def _limits(limits: Limits) -> Described:
    return {
        "in_flight": limits.in_flight,
        "queue": limits.queue,
        "queue_timeout": format_duration(limits.queue_timeout),
        "body": format_size(limits.body),
        "header": format_size(limits.header),
        "rate": [_rate(rate) for rate in limits.rate],
    }


def _rate(rate: RateLimit) -> Described:
    source, name = rate.by
    named = source in (RateSource.HEADER, RateSource.CLAIM)
    return {"limit": rate.rate, "burst": rate.burst, "by": {source.value: name} if named else source.value}


def _networks(networks: Networks) -> Described:
    return {"allow": [*map(str, networks.allow)], "deny": [*map(str, networks.deny)]}


def _cors(cors: Cors) -> Described:
    return {
        "origins": [*cors.origins],
        "methods": [*cors.methods],
        "headers": [*cors.headers],
        "expose": [*cors.expose],
        "credentials": cors.credentials,
        "max_age": format_duration(cors.max_age),
    }


def _when_empty(when_empty: WhenEmpty) -> Described:
    return {
        "status": when_empty.status,
        "retry_after": format_duration(when_empty.retry_after or 0),
        "panic": "none" if when_empty.panic is None else str(when_empty.panic),
    }


def _circuit(circuit: CircuitPolicy) -> Described:
    return {
        "consecutive_failures": circuit.consecutive_failures,
        "failure_ratio": format_percent(circuit.failure_ratio),
        "window": format_duration(circuit.window),
        "min_requests": circuit.min_requests,
        "open_for": format_duration(circuit.open_for),
        "max_open_for": format_duration(circuit.max_open_for),
        "half_open_probes": circuit.half_open_probes,
        "max_open": format_percent(circuit.max_open),
        "failure_statuses": [*sorted(circuit.failure_statuses)],
        "mode": circuit.mode.value,
    }


def _balance(balance: Balance) -> Described:
    described: Described = {"policy": balance.policy.value}
    if balance.on is not None:
        source, name = balance.on
        described["on"] = source.value if source is HashSource.CLIENT_IP else {source.value: name}
    return described


def _connect(connect: Connect) -> Described:
    return {
        "timeout": format_duration(connect.timeout),
        "keep_alive": format_duration(connect.keep_alive),
        "tls": {"enabled": False} if connect.tls is None else _tls(connect.tls),
    }


def _tls(tls: ConnectTls) -> Described:
    names: Described = {
        "server_name": tls.server_name,
        "ca_file": tls.ca_file,
        "cert_file": tls.cert_file,
        "key_file": tls.key_file,
    }
    return {"verify": tls.verify} | {field: name for field, name in names.items() if name is not None}
