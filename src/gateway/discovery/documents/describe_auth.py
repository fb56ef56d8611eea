"""`auth` as a document again. It holds no secret: what is secret is in files, and in credentials as hashes."""

from __future__ import annotations

import json
from collections.abc import Collection

from gateway.core.authentication import (
    ApiKey,
    Authentication,
    Basic,
    ClientCertificate,
    External,
    Headers,
    Jwt,
    KeySetFile,
    KeySetText,
    KeySetUrl,
    KeySource,
    Method,
    Place,
    PlaceKind,
    SecretFile,
)
from gateway.discovery.documents.model import Described
from gateway.discovery.documents.units import format_duration, format_size


def describe_auth(auth: Authentication | None) -> Described:
    if auth is None:
        return {"none": True}
    methods = [_method(method) for method in auth.methods]
    if auth.every:
        return {"all": [*methods]}
    return methods[0] if len(methods) == 1 else {"any": [*methods]}


def _method(method: Method) -> Described:
    match method:
        case Jwt():
            return {"jwt": _jwt(method)}
        case ApiKey():
            return {"api_key": _place(method.place) | _rest(method.scopes, method.headers, forward=method.forward)}
        case Basic():
            return {"basic": _rest(method.scopes, method.headers, forward=method.forward)}
        case External():
            return {"external": _external(method)}
        case ClientCertificate():
            return {"client_certificate": _client_certificate(method)}


def _client_certificate(policy: ClientCertificate) -> Described:
    lists = {
        "subject": policy.subjects,
        "common_name": policy.common_names,
        "san_dns": policy.san_dns,
        "san_uri": policy.san_uris,
        "san_email": policy.san_emails,
    }
    described: Described = {name: [*sorted(values)] for name, values in lists.items() if values}
    return described | ({"headers": dict(policy.headers)} if policy.headers else {})


def _external(external: External) -> Described:
    described: Described = {
        "service": external.service,
        "path": external.path,
        "request_headers": [*external.request_headers],
        "headers": dict(external.headers),
        "refusal_headers": [*external.refusal_headers],
        "owner": external.owner,
        "timeout": format_duration(external.timeout),
        "forward": external.forward,
    }
    return {name: value for name, value in described.items() if value is not None}


def _jwt(jwt: Jwt) -> Described:
    lists = {
        "algorithms": sorted(jwt.algorithms),
        "issuer": sorted(jwt.issuers),
        "audiences": sorted(jwt.audiences),
        "required_claims": jwt.required_claims,
    }
    return {
        **_keys(jwt.keys),
        **{name: [*values] for name, values in lists.items() if values},
        "leeway": format_duration(jwt.leeway),
        "max_size": format_size(jwt.max_size),
        **_place(jwt.place),
        **_rest(jwt.scopes, jwt.headers, forward=jwt.forward),
    }


def _keys(keys: KeySource) -> Described:
    match keys:
        case KeySetUrl():
            return {
                "jwks_url": keys.url,
                "allow_http": keys.url.startswith("http:"),
                "refresh": format_duration(keys.refresh),
                "min_refresh": format_duration(keys.min_refresh),
                "stale": format_duration(keys.stale),
            }
        case KeySetText():
            return {"jwks": json.loads(keys.text)}
        case KeySetFile():
            return {"jwks_file": keys.path}
        case SecretFile():
            return {"secret_file": keys.path}


def _place(place: Place) -> Described:
    return {} if place.kind is PlaceKind.AUTHORIZATION else {place.kind.value: place.name}


def _rest(scopes: Collection[str], headers: Headers, *, forward: bool) -> Described:
    described: Described = {"scopes": [*sorted(scopes)], "headers": dict(headers), "forward": forward}
    return {name: value for name, value in described.items() if value or name == "forward"}
