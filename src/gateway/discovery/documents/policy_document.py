"""The document under `services/<service>`: what belongs to the instances, whichever route leads to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    StrictFloat,
    StrictInt,
    model_validator,
)

from gateway.core.model import (
    Balance,
    BalancePolicy,
    CircuitMode,
    CircuitPolicy,
    Connect,
    ConnectTls,
    HashOn,
    HashSource,
    RetryBudget,
    ServicePolicy,
)
from gateway.discovery.documents.model import Document, overlaid
from gateway.discovery.documents.syntax import HeaderName, Hostname, Name, OnlyTrue
from gateway.discovery.documents.units import DURATION, PERCENT, Between, refusal

_CIRCUIT, _BUDGET, _CONNECT, _TLS, _POLICY = CircuitPolicy(), RetryBudget(), Connect(), ConnectTls(), ServicePolicy("")

Status = Annotated[StrictInt, Field(ge=400, le=599)]


class CircuitDocument(Document):
    """The circuit breaker of each instance."""

    consecutive_failures: Annotated[StrictInt, Field(ge=0, le=10_000)] = Field(
        _CIRCUIT.consecutive_failures, description="Failures in a row that open it; 0 switches this rule off."
    )
    failure_ratio: Annotated[float, Between(PERCENT, "0%", "100%")] = Field(
        _CIRCUIT.failure_ratio,
        description="Share of failures within `window` that opens it, once `min_requests` were judged; 0% never opens.",
    )
    window: Annotated[float, Between(DURATION, "100ms", "1h")] = Field(
        _CIRCUIT.window, description="How far back `failure_ratio` looks."
    )
    min_requests: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = Field(
        _CIRCUIT.min_requests, description="Judged requests within `window` below which `failure_ratio` says nothing."
    )
    open_for: Annotated[float, Between(DURATION, "10ms", "24h")] = Field(
        _CIRCUIT.open_for, description="How long it stays open the first time; doubles with each re-opening."
    )
    max_open_for: Annotated[float, Between(DURATION, "10ms", "24h")] = Field(
        _CIRCUIT.max_open_for, description="The longest it stays open; not below `open_for`."
    )
    half_open_probes: Annotated[StrictInt, Field(ge=1, le=100)] = Field(
        _CIRCUIT.half_open_probes, description="Probes at once while half-open, and successes in a row that close it."
    )
    max_open: Annotated[float, Between(PERCENT, "0%", "100%")] = Field(
        _CIRCUIT.max_open, description="Largest share of the service's instances with a circuit that is not closed."
    )
    failure_statuses: Annotated[tuple[Status, ...], Field(max_length=200)] = Field(
        tuple(sorted(_CIRCUIT.failure_statuses)),
        description="Response statuses that count as failures of the instance.",
    )
    mode: Literal["enforce", "shadow", "off"] = Field(
        _CIRCUIT.mode.value, description="`shadow` reports what it would have done and stops nothing."
    )

    def over(self, base: CircuitPolicy) -> CircuitPolicy:
        return overlaid(base, self, failure_statuses=frozenset(self.failure_statuses), mode=CircuitMode(self.mode))


def _client_ip(value: JsonValue) -> JsonValue:
    return {"client_ip": True} if value == "client_ip" else value


class HashOnDocument(Document):
    """Exactly one of the fields; the word `client_ip` alone will do."""

    header: HeaderName | None = Field(None, description="Name of a request header.")
    cookie: Name | None = Field(None, description="Name of a cookie.")
    client_ip: OnlyTrue | None = Field(None, description="`true`: the client's address, as trusted hops tell it.")

    @model_validator(mode="after")
    def _one_source(self) -> HashOnDocument:
        if len(self.model_fields_set) != 1:
            raise refusal("takes exactly one of header, cookie and client_ip")
        return self

    def value(self) -> HashOn:
        if self.header is not None:
            return HashOn(HashSource.HEADER, self.header.lower())
        if self.cookie is not None:
            return HashOn(HashSource.COOKIE, self.cookie)
        return HashOn(HashSource.CLIENT_IP)


class BalanceDocument(Document):
    policy: Literal["weighted_round_robin", "least_request", "ring_hash"] = Field(
        "weighted_round_robin", description="How an instance is picked among those that may be."
    )
    on: Annotated[
        HashOnDocument | None, BeforeValidator(_client_ip, json_schema_input_type=Literal["client_ip"] | HashOnDocument)
    ] = Field(None, description="What `ring_hash` hashes: `{header: …}`, `{cookie: …}` or `client_ip`.")

    def over(self, base: Balance) -> Balance:
        policy = BalancePolicy(self.policy) if "policy" in self.model_fields_set else base.policy
        on = (self.on.value() if self.on else None) if "on" in self.model_fields_set else base.on
        inherited_in_vain = policy is not BalancePolicy.RING_HASH and "on" not in self.model_fields_set
        return Balance(policy, None if inherited_in_vain else on)


class ConnectTlsDocument(Document):
    """TLS towards the instances. Files are on the gateway's machine."""

    enabled: StrictBool = Field(True, description="`false`: plain connections, where the default is TLS.")
    verify: StrictBool = Field(_TLS.verify, description="Whether certificates are verified.")
    server_name: Hostname | None = Field(None, description="Name for SNI and verification, instead of the address.")
    ca_file: Name | None = Field(None, description="Authorities to trust, PEM; left out: the system's.")
    cert_file: Name | None = Field(None, description="Client certificate, PEM; goes with `key_file`.")
    key_file: Name | None = Field(None, description="Key of the client certificate, PEM.")

    def value(self) -> ConnectTls | None:
        if not self.enabled:
            return None
        return ConnectTls(self.verify, self.server_name, self.ca_file, self.cert_file, self.key_file)


class ConnectDocument(Document):
    timeout: Annotated[float, Between(DURATION, "1ms", "60s")] = Field(
        _CONNECT.timeout, description="How long making a connection may take, TLS included."
    )
    keep_alive: Annotated[float, Between(DURATION, "10ms", "1h", zero="no reuse")] = Field(
        _CONNECT.keep_alive,
        description="How long an idle connection is kept; keep it below what the service keeps, or connections race.",
    )
    tls: ConnectTlsDocument | None = Field(
        None, description="TLS towards the instances; `{}` is TLS with defaults. Replaces the default as a whole."
    )

    def over(self, base: Connect) -> Connect:
        return overlaid(base, self, tls=self.tls.value() if self.tls else None)


class RetryBudgetDocument(Document):
    ratio: Annotated[float, Between(PERCENT, "0%", "100%")] = Field(
        _BUDGET.ratio, description="Retries of the last 10 s, as a share of that time's requests."
    )
    min_per_second: Annotated[StrictFloat, Field(ge=0, le=100_000, allow_inf_nan=False)] = Field(
        _BUDGET.min_per_second, description="Retries a second that are always allowed."
    )

    def over(self, base: RetryBudget) -> RetryBudget:
        return overlaid(base, self)


class ServicePolicyDocument(Document):
    """How the instances of one service are used."""

    circuit: CircuitDocument = Field(CircuitDocument(), description="When an instance is left alone for a while.")
    balance: BalanceDocument = Field(BalanceDocument(), description="How an instance is picked.")
    in_flight_per_instance: Annotated[StrictInt, Field(ge=0, le=1_000_000)] = Field(
        _POLICY.in_flight_per_instance, description="Requests at once on one instance; 0 is no limit."
    )
    slow_start: Annotated[float, Between(DURATION, "10ms", "1h", zero="none")] = Field(
        _POLICY.slow_start, description="How long a new instance takes to reach its full weight."
    )
    connect: ConnectDocument = Field(ConnectDocument(), description="Connections to the instances.")
    retry_budget: RetryBudgetDocument = Field(RetryBudgetDocument(), description="How many retries the service bears.")

    def over(self, base: ServicePolicy) -> ServicePolicy:
        given = self.model_fields_set
        return replace(
            base,
            circuit=self.circuit.over(base.circuit),
            balance=self.balance.over(base.balance),
            connect=self.connect.over(base.connect),
            retry_budget=self.retry_budget.over(base.retry_budget),
            in_flight_per_instance=(
                self.in_flight_per_instance if "in_flight_per_instance" in given else base.in_flight_per_instance
            ),
            slow_start=self.slow_start if "slow_start" in given else base.slow_start,
        )
