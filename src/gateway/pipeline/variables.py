"""What the variables of a template stand for, asked of a request on its way and of an instance.

All of the request is the client's, as it came in: what filters before have changed is not seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from gateway.core.model import Instance
from gateway.core.template import Source, Variable
from gateway.pipeline.stage import Call

Reader = Callable[[Call, Instance | None], str | None]
"""The value of a variable, None where there is none. It may be any text."""

_OF_REQUEST: dict[Source, Callable[[Call], str | None]] = {
    Source.METHOD: lambda call: call.facts.method,
    Source.PATH: lambda call: call.facts.path,
    Source.HOST: lambda call: call.facts.host,
    Source.CLIENT_IP: lambda call: call.facts.client_ip,
    Source.REQUEST_ID: lambda call: call.id,
    Source.ROUTE: lambda call: call.route.name,
}
_OF_REQUEST_BY_NAME: dict[Source, Callable[[Call, str], str | None]] = {
    Source.QUERY: lambda call, name: _first(call.facts.query_values(name)),
    Source.HEADER: lambda call, name: _first(call.facts.header_values(name)),
    Source.COOKIE: lambda call, name: call.facts.cookie(name),
    Source.CLAIM: lambda call, name: _claim(call.claims.get(name)),
}
_OF_INSTANCE: dict[Source, Callable[[Instance], str | None]] = {
    Source.INSTANCE_ID: lambda instance: instance.key.service_id,
    Source.INSTANCE_SERVICE: lambda instance: instance.service,
    Source.INSTANCE_NODE: lambda instance: instance.key.node,
    Source.INSTANCE_ADDRESS: lambda instance: instance.address,
    Source.INSTANCE_DATACENTER: lambda instance: instance.key.datacenter,
}


def reader(variable: Variable) -> Reader:
    source, name = variable.source, variable.name
    if source in _OF_REQUEST:
        of_request = _OF_REQUEST[source]
        return lambda call, _: of_request(call)
    if source in _OF_REQUEST_BY_NAME:
        by_name = _OF_REQUEST_BY_NAME[source]
        return lambda call, _: by_name(call, name)
    if source is Source.INSTANCE_META:
        return lambda _, instance: None if instance is None else instance.meta.get(name)
    of_instance = _OF_INSTANCE[source]
    return lambda _, instance: None if instance is None else of_instance(instance)


def _first(values: Sequence[str]) -> str | None:
    return values[0] if values else None


def _claim(value: JsonValue) -> str | None:
    """A text as it is, anything else in JSON."""
    return value if isinstance(value, str | None) else json.dumps(value, separators=(",", ":"))
