"""Writes the pages under `docs/reference/` from the models: `python -m gateway.cli.reference [FOLDER]`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.cli import reference_examples
from gateway.core.model import Reason
from gateway.discovery.documents import CredentialDocument, RouteDocument, ServicePolicyDocument
from gateway.proxy.http.refusals import TITLES
from gateway.settings import NO_FLAG, Settings, environment_name, flag_name, shown_default

FOLDER = Path("docs/reference")
_NOTE = "<!-- Written by `python -m gateway.cli.reference` from the models; edit those. -->\n"

_ROUTES = """# Routes

A route is one key in Consul KV, `<prefix>/routes/<name>`, with one document in JSON or YAML 1.2. It says what it
matches, where it sends, and under which request policies. What belongs to the instances, which several routes may
share, is in their [service policy](service-policy.md).

The smallest route:

```json
{"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}
```

A fuller one:

```yaml
hostnames: [api.example.com, "*.shop.example.com"]
match:
  path_prefix: /orders
  methods: [GET, POST]
  headers: {x-tenant: acme}
when: |
  request.headers["x-tier"] == "gold" && !request.path.endsWith(".php")
backends:
  - {service: orders, weight: 9, tags: [stable], prefer: 'instance.meta.zone == request.headers["x-zone"]'}
  - {service: orders, weight: 1, tags: [canary], meta: {region: eu}}
  - {service: orders-readonly, fallback: true}
sticky: {cookie: at, max_age: 8h}
filters:
  - {strip_prefix: /orders}
  - {request_headers: {set: {x-tier: edge}, remove: [cookie]}}
auth:
  jwt: {jwks_url: "https://issuer.example.com/jwks", issuer: "https://issuer.example.com", audiences: [orders]}
require: '"admin" in claims.roles || request.method == "GET"'
timeouts: {request: 10s, attempt: 2s, idle: 60s}
retry: {attempts: 3, retry_on: [connect_failure, "502", "503", "504"], buffer: 64KiB}
limits: {in_flight: 200, queue: 100, queue_timeout: 1s, header: 16KiB, rate: 100/s by client_ip}
networks: {deny: [10.6.6.0/24]}
cors: {origins: [https://app.example.com], headers: [content-type], credentials: true}
when_empty: {status: 503, retry_after: 1s}
```

Several routes may match a request; one is taken: by hostname (exact, then the longest wildcard, then none), then by
exact path, regular expression, longest prefix, then by method, by the number of headers and by the number of query
parameters that had to match, then one with `when` before one without; ties by name.

Unknown fields, duplicate keys, YAML anchors and aliases are refused. A document with a problem is refused alone, and
says line and field; its last good version stays in force. `gateway check --kind route FILE` tells the same without
Consul, `gateway routes put` before it writes. A key `<prefix>/defaults` may hold other defaults than those below,
`{"route": {…}, "service": {…}}`, with `auth`, `require`, `filters`, `sticky`, `shadow`, `timeouts`, `retry`, `limits`,
`networks`, `cors` and `when_empty` of routes, and all fields of service policies. What a route matches and where it
sends is its own.

Which instances take a request (`backends`, `sticky`) is told in [backends.md](../backends.md).
Who may send requests (`auth`), and which of them (`require`), is told in [authentication](../authentication.md).

Durations are written `250ms`, `10s`, `1m30s`, sizes `64KiB`, `1MiB`, shares `50%`, rates `100/s`. What limits, networks
and CORS do is told in [limits.md](../limits.md).
"""

_POLICY = """# Service policies

A service policy is one key in Consul KV, `<prefix>/services/<service>`, with one document in JSON or YAML 1.2:
circuits, balancing, limits and connections of the instances of that service, whatever routes lead to them. A service
without one has the defaults.

```yaml
circuit: {consecutive_failures: 5, failure_ratio: 50%, window: 10s, min_requests: 20, open_for: 10s, max_open_for: 300s}
balance: {policy: weighted_round_robin}
in_flight_per_instance: 0
slow_start: 0s
connect: {timeout: 250ms}
retry_budget: {ratio: 20%, min_per_second: 10}
```

It is read, checked and refused as [routes](routes.md) are; a changed policy keeps the circuits of the instances.
"""

_CREDENTIALS = """# Credentials

A credential is one key in Consul KV, `<prefix>/credentials/<id>`, with one document in JSON or YAML 1.2, as
`gateway credentials create` writes it. It holds no secret, and is read, checked and refused as [routes](routes.md) are.
What routes make of it is told in [authentication](../authentication.md).

```json
{"kind": "api_key", "sha256": "bdd03d560993e675516ba5a50638b6531ac2ac3d5847c61916cfced6e9f6a9e5", "owner": "acme"}
```
"""

_SETTINGS = """# Settings

Of one gateway process, from `gateway.toml` (in the working directory, or where `--config` or `GATEWAY_CONFIG` says),
`GATEWAY_*` environment variables, and flags of `gateway run`, in rising order. One name serves all three:
`drain_time` in the file is `GATEWAY_DRAIN_TIME` and `--drain-time`. Unknown keys in the file are refused, with the
file and the key.

Durations are written `250ms`, `10s`, `1m30s`, or as a number of seconds; sizes `64KiB`, or as a number of bytes;
addresses `:8080`, `127.0.0.1:8080`, `[::1]:8080`; several networks with commas between, or as a list in the file.
`true` and `false` are `--name` and `--no-name` as flags. An empty environment variable is an unset one.

```toml
mode = "edge"
listen = ":8080"
consul_address = "127.0.0.1:8500"
consul_token_file = "/etc/gateway/consul-token"
snapshot = "/var/lib/gateway/snapshot.json"
trusted_hops = ["10.0.0.0/8"]
```
"""

_PROBLEMS = """# Problems

What the gateway itself answers, as `application/problem+json` (RFC 9457). The `type` is `urn:alims-gateway:problem:`
and the reason; the same reason is in the access log, and in the metric `gateway_refusals_total`. `request_id` leads to
the line of the access log. No problem names an address or repeats what the client sent.

| reason | status | means | what to look at |
|---|---|---|---|
"""
_MEANINGS: dict[Reason, tuple[str, str]] = {
    Reason.NO_ROUTE: ("No route matches.", "`gateway routes list`: hostname, path, method, headers"),
    Reason.NO_HEALTHY_INSTANCE: (
        "Consul calls no instance of the route's services passing or warning; `when_empty` may choose another status.",
        "`/v1/services`; the checks in Consul",
    ),
    Reason.CIRCUIT_OPEN: (
        "Instances are healthy in Consul, and the circuit of each is open; `Retry-After` says when one is probed.",
        "`/v1/circuits`; what the instances answered",
    ),
    Reason.QUEUE_FULL: ("All places are taken, and as many wait as may.", "`limits` of the route"),
    Reason.QUEUE_TIMEOUT: ("No place came free within `limits.queue_timeout`.", "`limits`; how slow the service is"),
    Reason.UPSTREAM_TIMEOUT: ("No response head in time.", "`timeouts` of the route; the service"),
    Reason.UPSTREAM_RESET: ("The instance broke the connection, or did not answer in HTTP.", "the service's logs"),
    Reason.UPSTREAM_UNREACHABLE: ("No connection could be made.", "the instance's address and port; `connect.timeout`"),
    Reason.LOOP_DETECTED: (
        "The request has passed this gateway before (`Via`).",
        "a service that is a gateway in front",
    ),
    Reason.BAD_REQUEST: ("The request cannot be understood safely, or not be forwarded so.", "`detail`; the client"),
    Reason.BODY_TOO_LARGE: ("The body is larger than `limits.body`.", "`limits` of the route"),
    Reason.REQUEST_TIMEOUT: ("The client was too slow.", "`head_timeout`, `body_grace`, `body_rate`"),
    Reason.EXPECTATION_FAILED: ("`Expect` asks for something else than `100-continue`.", "the client"),
    Reason.METHOD_NOT_ALLOWED: ("CONNECT: this is no forward proxy; or TRACE.", "the client"),
    Reason.URI_TOO_LONG: (
        "The request line is longer than `max_line`, or what the route's filters make of it longer than 8 KiB.",
        "settings; `filters` of the route",
    ),
    Reason.HEADERS_TOO_LARGE: (
        "The head is larger than `max_field`, `max_fields`, `max_head`, or the route's `limits.header`.",
        "settings; `limits` of the route",
    ),
    Reason.NOT_IMPLEMENTED: ("A transfer coding other than `chunked`.", "the client"),
    Reason.VERSION_NOT_SUPPORTED: ("Not HTTP/1.1 or 1.0.", "the client, or what is in front"),
    Reason.UNAUTHENTICATED: (
        "No credential that the route's `auth` takes. Why is in the log alone.",
        "`detail` of the access log, by `request_id`",
    ),
    Reason.FORBIDDEN: (
        "The client's network, a preflight's origin, the credential's scopes or the route's `require` do not allow it.",
        "`networks`, `cors`, `auth` and `require` of the route; `detail` of the log line; `trusted_hops`",
    ),
    Reason.RATE_LIMITED: (
        "One of the route's rate limits is used up; `Retry-After` says for how long.",
        "`limits.rate` of the route; `detail` of the log line names the limit",
    ),
    Reason.AUTHORISATION_UNAVAILABLE: (
        "The service that is asked about requests gave no clear answer, so nobody may pass.",
        "that service's instances and log; `detail` of the log line says what came of the question",
    ),
    Reason.OVERLOADED: (
        "As many requests wait for a response as may in this process; before any route is looked up.",
        "`max_in_flight`; which service is slow; more workers or gateways",
    ),
}

Schema = dict[str, Any]
Examples = Mapping[str, Sequence[str]]


def problems_page() -> str:
    rows = [
        f"| `{reason.value}` | {TITLES[reason][0]} | {means} | {_cell(look)} |"
        for reason in Reason
        for means, look in [_MEANINGS[reason]]
    ]
    internal = (
        "| `internal_error` | 500 | The gateway has an error of its own. | its log, by `request_id`; please report it |"
    )
    return _NOTE + _PROBLEMS + "\n".join([*rows, internal]) + "\n"


def settings_page() -> str:
    lines = [_SETTINGS]
    group = ""
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        if extra["group"] != group:
            group = str(extra["group"])
            lines += [f"\n## {group}\n", "| setting | variable and flag | default | means |", "|---|---|---|---|"]
        flag = "" if name in NO_FLAG else f"<br>`{flag_name(name)}`"
        default = "" if field.default in (None, ()) else f"`{shown_default(field.default)}`"
        unit = f" In {extra['unit']}." if extra["unit"] else ""
        ways = f"`{environment_name(name)}`{flag}"
        lines.append(f"| `{name}` | {ways} | {default} | {_cell(f'{field.description}{unit}')} |")
    return _NOTE + "\n".join(lines) + "\n"


def document_page(introduction: str, schema: Schema, examples: Examples = MappingProxyType({})) -> str:
    """All fields, section by section, in the order in which they are first mentioned; `examples` by section."""
    definitions = schema.get("$defs", {})
    sections = [_section("The document", schema, definitions)]
    seen: list[str] = []
    waiting = list(_mentioned(schema))
    while waiting:
        path, name = waiting.pop(0)
        if name in seen:
            continue
        seen.append(name)
        sections.append(_section(f"`{path}`", definitions[name], definitions, name))
        sections += [f"```yaml\n{example.strip()}\n```\n" for example in examples.get(path, ())]
        waiting = [(f"{path}.{inner}", target) for inner, target in _mentioned(definitions[name])] + waiting
    return _NOTE + introduction + "\n" + "\n".join(sections)


def _section(title: str, schema: Schema, definitions: Schema, name: str = "") -> str:
    lines = [f'## {title}<a id="{_anchor(name)}"></a>\n' if name else f"## {title}\n"]
    if schema.get("description"):
        lines.append(f"{schema['description']}\n")
    lines += ["| field | type | default | means |", "|---|---|---|---|"]
    required = schema.get("required", [])
    for field, described in schema["properties"].items():
        kind = _type(described, definitions)
        default = "required" if field in required else _default(described)
        lines.append(f"| `{field}` | {kind} | {default} | {_cell(described.get('description', ''))} |")
    return "\n".join(lines) + "\n"


def _mentioned(schema: Schema) -> Iterator[tuple[str, str]]:
    """Fields whose values are documents of their own, with the names of those."""
    for field, described in schema["properties"].items():
        for target in dict.fromkeys(re.findall(r"#/\$defs/(\w+)", msgspec.json.encode(described).decode())):
            yield field, target


def _type(schema: Schema, definitions: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[mapping](#{_anchor(name)})" if "properties" in definitions[name] else "text"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(kind, definitions) for kind in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "pattern" in schema and "ms|s|m|h" in schema["pattern"]:
        return "duration"
    if "pattern" in schema and "%" in schema["pattern"]:
        return "share"
    if "pattern" in schema and "KiB" in schema["pattern"]:
        return "size"
    kind: str = schema.get("type", "")
    if kind == "array":
        return f"list of {_type(schema['items'], definitions)}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"names to {_type(inner, definitions)}" if isinstance(inner, dict) else "mapping"
    if kind in ("integer", "number"):
        low, high = schema.get("minimum"), schema.get("maximum")
        noun = "whole number" if kind == "integer" else "number"
        return f"{noun}, {low:g} to {high:,}" if low is not None and high is not None else noun
    return {"string": "text", "boolean": "`true`, `false`"}.get(kind, kind)


def _default(schema: Schema) -> str:
    default = schema.get("default")
    if default is None or default in ([], {}, "") or isinstance(default, dict):
        return ""
    if isinstance(default, list):
        return "" if any(isinstance(item, dict) for item in default) else ", ".join(f"`{item}`" for item in default)
    return f"`{msgspec.json.encode(default).decode().strip(chr(34))}`"


def _anchor(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name.removesuffix("Document")).lower()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES: dict[str, Callable[[], str]] = {
    "routes.md": lambda: document_page(_ROUTES, RouteDocument.model_json_schema(), reference_examples.ROUTES),
    "service-policy.md": lambda: document_page(_POLICY, ServicePolicyDocument.model_json_schema()),
    "credentials.md": lambda: document_page(_CREDENTIALS, CredentialDocument.model_json_schema()),
    "settings.md": settings_page,
    "problems.md": problems_page,
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
