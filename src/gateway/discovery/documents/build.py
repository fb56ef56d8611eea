"""From accepted documents to the core's nouns."""

from __future__ import annotations

from gateway.core.filters import OwnResponse
from gateway.core.model import (
    Backend,
    BalancePolicy,
    Match,
    PathKind,
    PathMatch,
    Route,
    ServicePolicy,
    ValueKind,
    ValueMatch,
)
from gateway.discovery.documents.cors_document import cors_conflicts
from gateway.discovery.documents.defaults import RouteDefaults
from gateway.discovery.documents.policy_document import ServicePolicyDocument
from gateway.discovery.documents.rejection import Problem
from gateway.discovery.documents.route_document import (
    BackendDocument,
    HeaderMatchDocument,
    MatchDocument,
    QueryMatchDocument,
    RouteDocument,
)


def build_route(name: str, version: int, document: RouteDocument, defaults: RouteDefaults) -> Route:
    answer = _answer(document)
    policies = (defaults if answer is None else defaults.without_instances()).under(document)
    return Route(
        name=name,
        version=version,
        backends=tuple(_backend(backend) for backend in document.backends),
        sticky=policies.sticky,
        shadow=policies.shadow,
        matches=tuple(_match(match) for match in document.match),
        hostnames=tuple(dict.fromkeys(document.hostnames)),
        when=document.when,
        filters=policies.filters,
        timeouts=policies.timeouts,
        retry=policies.retry,
        limits=policies.limits,
        networks=policies.networks,
        cors=policies.cors,
        when_empty=policies.when_empty,
        pass_escaped_slashes=document.escaped_slashes == "pass",
        websocket=document.websocket,
        answer=answer,
        auth=policies.auth,
        require=policies.require,
    )


def _answer(document: RouteDocument) -> OwnResponse | None:
    if document.redirect is not None:
        return document.redirect.value()
    return None if document.respond is None else document.respond.value()


def route_conflicts(policies: Route | RouteDefaults, workers: int) -> list[Problem]:
    """What no field shows alone, since defaults take part in it, or how many `workers` there are."""
    found = cors_conflicts(policies.cors)
    if policies.limits.in_flight and workers > 1:
        found.append(Problem(("limits", "in_flight"), _needs_one_worker("in_flight", workers)))
    if policies.timeouts.request == 0 and policies.timeouts.attempt == 0:
        reason = "request and attempt must not both be 0: a silent instance would hold requests"
        found.append(Problem(("timeouts",), reason))
    return found


def policy_conflicts(policy: ServicePolicy, document: ServicePolicyDocument, workers: int) -> list[Problem]:
    found: list[Problem] = []
    if policy.in_flight_per_instance and workers > 1:
        reason = _needs_one_worker("in_flight_per_instance", workers)
        found.append(Problem(("in_flight_per_instance",), reason))
    if policy.circuit.max_open_for < policy.circuit.open_for:
        field = "max_open_for" if "max_open_for" in document.circuit.model_fields_set else "open_for"
        found.append(Problem(("circuit", field), "max_open_for must not be below open_for"))
    if policy.balance.policy is BalancePolicy.RING_HASH and policy.balance.on is None:
        found.append(Problem(("balance",), "ring_hash needs to know what to hash: on"))
    if policy.balance.policy is not BalancePolicy.RING_HASH and policy.balance.on is not None:
        found.append(Problem(("balance", "on"), "only ring_hash takes it"))
    tls = policy.connect.tls
    if tls is not None and (tls.cert_file is None) != (tls.key_file is None):
        found.append(Problem(("connect", "tls"), "cert_file and key_file go together"))
    return found


def _needs_one_worker(limit: str, workers: int) -> str:
    return f"{limit} needs one worker: this gateway runs {workers}, and none knows what the others have in flight"


def _backend(document: BackendDocument) -> Backend:
    return Backend(
        service=document.service,
        weight=document.weight,
        tags=frozenset(document.tags),
        meta=tuple(sorted(document.meta.items())),
        instances=document.instances,
        any_otherwise=document.otherwise == "any",
        prefer=document.prefer,
        fallback=document.fallback,
    )


def _match(document: MatchDocument) -> Match:
    return Match(
        path=_path(document),
        methods=frozenset(document.methods),
        headers=tuple(_value_match(name.lower(), value) for name, value in document.headers.items()),
        query=tuple(_value_match(name, value) for name, value in document.query.items()),
    )


def _path(document: MatchDocument) -> PathMatch:
    if document.path_exact is not None:
        return PathMatch(PathKind.EXACT, document.path_exact)
    if document.path_regex is not None:
        return PathMatch(PathKind.REGEX, document.path_regex)
    return PathMatch(PathKind.PREFIX, document.path_prefix)


def _value_match(name: str, document: HeaderMatchDocument | QueryMatchDocument) -> ValueMatch:
    if document.exact is not None:
        return ValueMatch(name, ValueKind.EXACT, document.exact)
    if document.regex is not None:
        return ValueMatch(name, ValueKind.REGEX, document.regex)
    return ValueMatch(name, ValueKind.PRESENT)
