"""Examples in the reference of routes, by the section that they stand in. Each is a whole route, and is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ROUTES: Mapping[str, Sequence[str]] = {
    "match": (
        """
match:
  - {path_exact: /orders/search, methods: [POST]}
  - path_regex: /orders/[0-9]+
    headers:
      x-tenant: acme
      x-version: {regex: "[23]"}
      x-internal: {present: true}
    query: {page: "2", sort: {regex: "name|date"}, debug: {present: true}}
backends: [{service: orders}]
escaped_slashes: pass
websocket: false
""",
        """
match:
  headers: {x-tenant: {exact: acme}}
  query: {page: {exact: "2"}}
backends: [{service: orders}]
""",
    ),
    "backends": (
        """
backends:
  - {service: orders, weight: 95, tags: [stable], prefer: 'instance.meta.zone == request.headers["x-zone"]'}
  - {service: orders, weight: 5, tags: [canary], meta: {region: eu}}
  - {service: orders-readonly, fallback: true}
""",
        """
match: {path_prefix: /store}
backends:
  - service: store
    instances: |
      instance.meta.role == (request.method in ["GET", "HEAD"] ? "replica" : "primary")
    otherwise: any
""",
    ),
    "sticky": (
        """
backends: [{service: shop}]
sticky: {cookie: at, max_age: 8h}
""",
        """
backends: [{service: shop}]
sticky: {header: x-session}
""",
        """
backends: [{service: assets}]
sticky: {none: true}
""",
    ),
    "shadow": (
        """
backends: [{service: orders}]
shadow: {service: orders-next, tags: [canary], meta: {region: eu}, percent: 10%, buffer: 64KiB, timeout: 10s}
""",
        """
backends: [{service: payments}]
shadow: {none: true}
""",
    ),
    "redirect": (
        """
hostnames: [example.com]
redirect: {status: 301, scheme: https, host: www.example.com, port: 8443, strip_query: true}
""",
        """
match: {path_prefix: /old}
redirect: {status: 308, replace_prefix: {from: /old, to: /new}}
""",
        """
match: {path_prefix: /me}
redirect: {path: "/tenants/${request.header.x-tenant:-none}"}
""",
    ),
    "respond": (
        """
match: {path_exact: /robots.txt}
respond:
  status: 200
  body: |
    User-agent: *
    Disallow: /
  content_type: text/plain
  headers: {cache-control: max-age=3600}
""",
    ),
    "filters": (
        """
match: {path_prefix: /shop}
backends: [{service: shop}]
filters:
  - strip_prefix: /shop
  - replace_prefix: {from: /v1, to: /v2}
  - rewrite_path: {regex: "/v2/u/([0-9]+)/(.*)", to: /v2/users/$1/$2}
  - host: service
  - query: {set: {tenant: "${request.header.x-tenant:-none}"}, add: {via: [edge]}, remove: [debug]}
  - request_headers: {set: {x-user: "${claims.sub}"}, add: {x-instance: "${instance.id}"}, remove: [cookie]}
  - response_headers: {set: {x-served-by: "${instance.node}"}, remove: [server]}
""",
        """
backends: [{service: shop}]
filters: [{path: "/tenants/${request.header.x-tenant}${request.path}"}]
""",
    ),
    "auth": (
        """
backends: [{service: status}]
auth: {none: true}
""",
    ),
    "auth.jwt": (
        """
backends: [{service: orders}]
auth:
  jwt:
    jwks_url: https://issuer.example.com/jwks
    refresh: 5m
    min_refresh: 10s
    stale: 24h
    algorithms: [ES256, RS256]
    issuer: https://issuer.example.com
    audiences: [orders]
    required_claims: [sub]
    scopes: ["orders:read"]
    leeway: 30s
    max_size: 8KiB
    headers: {x-user: sub}
    forward: true
require: '"admin" in claims.roles || request.method == "GET"'
""",
        """
backends: [{service: orders}]
auth: {jwt: {jwks_url: http://127.0.0.1:8090/jwks, allow_http: true, header: x-token}}
""",
        """
backends: [{service: orders}]
auth: {jwt: {jwks_file: /etc/gateway/jwks.json, cookie: token}}
""",
        """
backends: [{service: orders}]
auth: {jwt: {secret_file: /etc/gateway/secret, query: token}}
""",
        """
backends: [{service: orders}]
auth:
  jwt:
    jwks: {keys: [{kty: OKP, crv: Ed25519, kid: k1, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}]}
""",
    ),
    "auth.api_key": (
        """
backends: [{service: orders}]
auth: {api_key: {header: x-api-key, scopes: ["orders:read"], headers: {x-owner: owner}, forward: true}}
""",
        """
backends: [{service: orders}]
auth: {api_key: {query: key}}
""",
    ),
    "auth.basic": (
        """
backends: [{service: orders}]
auth: {basic: {scopes: ["orders:read"], headers: {x-user: sub}, forward: true}}
""",
    ),
    "auth.external": (
        """
backends: [{service: orders}]
auth:
  external:
    service: authz
    path: /check
    request_headers: [authorization, cookie]
    headers: {x-user: x-auth-user}
    refusal_headers: [x-reason]
    owner: x-auth-user
    timeout: 500ms
    forward: true
""",
    ),
    "auth.client_certificate": (
        """
backends: [{service: orders}]
auth:
  client_certificate:
    san_uri: [spiffe://example.com/billing, spiffe://example.com/orders]
    headers: {x-client: san_uri}
""",
        """
backends: [{service: orders}]
auth:
  client_certificate:
    subject: "CN=billing,O=Acme"
    common_name: billing
    san_dns: billing.example.com
    san_email: billing@example.com
""",
    ),
    "auth.any": (
        """
backends: [{service: orders}]
auth:
  any:
    - jwt: {jwks_file: /etc/gateway/jwks.json, audiences: [orders]}
    - api_key: {header: x-api-key}
""",
        """
backends: [{service: orders}]
auth:
  all:
    - basic: {}
    - client_certificate: {}
    - external: {service: authz}
""",
    ),
    "timeouts": (
        """
backends: [{service: orders}]
timeouts: {request: 10s, attempt: 2s, idle: 60s}
""",
    ),
    "retry": (
        """
backends: [{service: orders}]
retry: {attempts: 3, retry_on: [connect_failure, "503"], methods: [GET, HEAD], buffer: 64KiB}
""",
    ),
    "limits": (
        """
backends: [{service: orders}]
limits: {in_flight: 200, queue: 100, queue_timeout: 1s, body: 1MiB, header: 16KiB, rate: 100/s by client_ip}
""",
    ),
    "limits.rate": (
        """
backends: [{service: orders}]
auth: {jwt: {jwks_file: /etc/gateway/jwks.json}}
limits:
  rate:
    - {limit: 100/s, burst: 200, by: {client_ip: true}}
    - {limit: 1000/m, by: {header: x-tenant}}
    - {limit: 10000/d, by: {claim: sub}}
    - {limit: 600/m, by: {credential: true}}
    - {limit: 5000/s, by: {route: true}}
""",
    ),
    "networks": (
        """
backends: [{service: orders}]
networks: {allow: [10.0.0.0/8, "2001:db8::/32"], deny: [10.6.6.0/24]}
""",
    ),
    "cors": (
        """
backends: [{service: orders}]
cors:
  origins: [https://app.example.com, "https://*.example.com"]
  methods: [GET, PUT]
  headers: [content-type, x-tenant]
  expose: [x-total]
  credentials: true
  max_age: 10m
""",
    ),
    "when_empty": (
        """
backends: [{service: orders}]
when_empty: {status: 503, retry_after: 1s, panic: warning}
""",
    ),
}
