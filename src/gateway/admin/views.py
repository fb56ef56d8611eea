"""The bodies of the admin surface, as plain values in the project's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from gateway.admin.sources import CertificateLike, ConsulStanding, DutyLike, Json, Object, RejectionLike, ShownView
from gateway.core.model import Instance, InstanceKey, Route, ServicePolicy
from gateway.core.views import CircuitView, RouteLoad


def routes_body(
    routes: Iterable[Route],
    loads: Iterable[RouteLoad],
    rejections: Sequence[RejectionLike],
    describe: Callable[[Route], Mapping[str, Json]],
) -> Object:
    load = {item.route: item for item in loads}
    return {
        "routes": [
            {
                "name": route.name,
                "version": route.version,
                "in_flight": load[route.name].in_flight if route.name in load else 0,
                "queued": load[route.name].queued if route.name in load else 0,
                "document": describe(route),
            }
            for route in sorted(routes, key=lambda route: route.name)
        ],
        "rejections": [rejection(item) for item in rejections],
    }


def rejection(item: RejectionLike) -> Object:
    return {
        "key": item.key,
        "line": item.line,
        "column": item.column,
        "field": item.field,
        "reason": item.reason,
        "modify_index": item.modify_index,
    }


def services_body(
    services: Mapping[str, Sequence[Instance]],
    policies: Mapping[str, ServicePolicy],
    circuits: Mapping[InstanceKey, CircuitView],
    describe: Callable[[ServicePolicy], Mapping[str, Json]],
) -> Object:
    return {
        "services": [
            {
                "service": service,
                "instances": [_instance(instance, circuits.get(instance.key)) for instance in services[service]],
                "policy": describe(policies.get(service) or ServicePolicy(service)),
                "policy_version": policies[service].version if service in policies else None,
            }
            for service in sorted(services)
        ]
    }


def _instance(instance: Instance, circuit: CircuitView | None) -> Object:
    return {
        "instance": str(instance.key),
        "datacenter": instance.key.datacenter,
        "node": instance.key.node,
        "service_id": instance.key.service_id,
        "address": instance.address,
        "port": instance.port,
        "health": str(instance.health),
        "weight": instance.weight,
        "weights": {"passing": instance.weight_passing, "warning": instance.weight_warning},
        "tags": sorted(instance.tags),
        "meta": dict(instance.meta),
        "circuit": None if circuit is None else circuit.state.value,
        "in_flight": 0 if circuit is None else circuit.in_flight,
    }


def circuits_body(circuits: Iterable[CircuitView], now: float) -> Object:
    """`now` in the core's seconds; what is shown are spans from it."""
    return {
        "circuits": [
            {
                "service": circuit.service,
                "instance": str(circuit.key),
                "state": circuit.state.value,
                "mode": circuit.mode.value,
                "in_state_for": round(max(0.0, now - circuit.since), 3),
                "half_open_in": None if circuit.open_until is None else round(max(0.0, circuit.open_until - now), 3),
                "consecutive_failures": circuit.consecutive_failures,
                "openings": circuit.openings,
                "in_flight": circuit.in_flight,
            }
            for circuit in circuits
        ]
    }


def tls_body(certificates: Iterable[CertificateLike]) -> Object:
    return {
        "certificates": [
            {
                "file": certificate.file,
                "names": list(certificate.names),
                "expires": _time(certificate.not_after),
                "error": certificate.error,
            }
            for certificate in certificates
        ]
    }


def consul_body(standing: ConsulStanding, views: Sequence[ShownView]) -> Object:
    ages = [view.age for view in views if view.age is not None]
    return {
        "address": standing.address,
        "oldest_age": round(max(ages), 3) if ages else None,
        "views": [_view(view) for view in views],
        "registration": _duty(standing.registration),
        "status": _duty(standing.status),
    }


def _view(view: ShownView) -> Object:
    return {
        "view": view.name,
        "state": view.state,
        "age": None if view.age is None else round(view.age, 3),
        "index": view.index,
        "error": view.error,
        "last_change": _time(view.last_change),
        "wakeups": view.wakeups,
        "empty_wakeups": view.empty_wakeups,
        "throttled": view.throttled,
        "left_out": view.left_out,
    }


def _duty(duty: DutyLike) -> Object:
    return {"done": duty.done, "error": duty.error}


def _time(seconds: float | None) -> Json:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
