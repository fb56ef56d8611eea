"""Values of credentials are not told, wherever they are sent and however their names are spelt."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from gateway.core.authentication import ApiKey, Authentication, Basic, Jwt, KeySetText, Place, PlaceKind
from gateway.core.model import Backend, Route
from gateway.settings import Settings
from gateway.telemetry.redaction import Redaction

REDACTION = Redaction(
    ["authorization", "x-api-key"], ["token", "api_key", "password"], ["X-Api-Key", "X_Api_Key", "Referer"]
)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", ""),
        ("page=2&sort=name", "page=2&sort=name"),
        ("token=s3cret&page=2", "token=***&page=2"),
        ("a=1;token=s3;cret&b=2", "a=1;token=***&b=2"),
        ("TOKEN=s3cret", "TOKEN=***"),
        ("api-key=s3cret", "api-key=***"),
        ("%74oken=s3cret", "%74oken=***"),
        ("user[password]=s3cret&auth.token=s3cret", "user[password]=***&auth.token=***"),
        ("token[]=s3cret", "token[]=***"),
        ("token=s3cret=s3cret", "token=***"),
        ("token=&token", "token=***&token"),
        ("tokens=1&&=x&%zz=1", "tokens=1&&=x&%zz=1"),
    ],
)
def test_query(query: str, told: str) -> None:
    assert REDACTION.query(query) == told


def test_headers_that_are_named_are_shown_and_credentials_in_them_are_not() -> None:
    sent = CIMultiDict(
        {"x-api-key": "s3cret", "X_API_KEY": "s3cret", "Accept": "*/*", "Referer": "https://x/?a=1&token=s3cret"}
    )
    assert REDACTION.headers(sent) == {"x-api-key": "***", "x_api_key": "***", "referer": "https://x/?a=1&token=***"}


def test_what_routes_take_credentials_from_is_redacted_for_all_requests() -> None:
    redaction = Redaction(["authorization"], ["token"], ["authorization", "x-pass", "x-ticket"])
    auth = Authentication(
        (
            ApiKey(Place(PlaceKind.QUERY, "Pass")),
            ApiKey(Place(PlaceKind.HEADER, "x-pass")),
            Jwt(KeySetText("{}"), Place(PlaceKind.HEADER, "x-ticket")),
            Basic(),
        )
    )
    headers = CIMultiDict({"Authorization": "s3cret", "X-Pass": "s3cret", "X-Ticket": "s3cret"})
    redaction.follow([Route("open", 1, (Backend("orders"),)), Route("closed", 1, (Backend("orders"),), auth=auth)])
    assert redaction.query("pass=s3cret&token=s3cret") == "pass=***&token=***"
    assert set(redaction.headers(headers).values()) == {"***"}
    redaction.follow([])
    assert redaction.query("pass=1") == "pass=***", "requests of a route that has gone may still end"
    assert set(redaction.headers(headers).values()) == {"***"}


def test_credentials_by_definition_are_never_told() -> None:
    sent = CIMultiDict({"Authorization": "s3cret", "Cookie": "s3cret", "Proxy-Authorization": "s3cret"})
    assert set(Redaction((), (), tuple(sent)).headers(sent).values()) == {"***"}


@pytest.mark.parametrize("name", ["authorization", "cookie", "set-cookie", "x-api-key", "proxy-authorization"])
def test_by_default_no_usual_credential_is_told(name: str) -> None:
    settings = Settings(log_headers=name)
    redaction = Redaction(settings.redact_headers, settings.redact_query, settings.log_headers)
    assert redaction.headers(CIMultiDict({name: "s3cret"})) == {name: "***"}
    for parameter in ("access_token", "token", "api_key", "password", "client_secret", "sig"):
        assert redaction.query(f"{parameter}=s3cret") == f"{parameter}=***"
