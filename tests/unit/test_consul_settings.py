"""CONSUL_* variables, as Consul's own tools read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.discovery.consul_settings import ConsulSettings
from gateway.discovery.errors import ConsulSettingsError

read = ConsulSettings.from_environment


def test_defaults_are_the_local_agent() -> None:
    assert read({}).address == "http://127.0.0.1:8500"
    assert read({"CONSUL_HTTP_ADDR": "", "CONSUL_HTTP_TOKEN": ""}) == read({})


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("consul.example", "http://consul.example:8500"),
        ("10.0.0.1:9500", "http://10.0.0.1:9500"),
        ("http://10.0.0.1:9500", "http://10.0.0.1:9500"),
        ("https://consul.example:8501", "https://consul.example:8501"),
        ("https://consul.example", "https://consul.example:443"),
        ("https://consul.example/", "https://consul.example:443"),
        ("[::1]:8500", "http://[::1]:8500"),
        ("http://[2001:db8::1]:8500", "http://[2001:db8::1]:8500"),
        ("unix:///run/consul.sock", "unix:///run/consul.sock"),
    ],
)
def test_address(given: str, address: str) -> None:
    assert read({"CONSUL_HTTP_ADDR": given}).address == address


@pytest.mark.parametrize(
    "given",
    [
        "ftp://x:1",
        "http://",
        "host:notaport",
        "host:99999",
        "http://u:p@host:1",
        "http://host/path",
        "unix://relative",
        "http://host?x",
    ],
)
def test_bad_address_names_the_variable(given: str) -> None:
    with pytest.raises(ConsulSettingsError, match="CONSUL_HTTP_ADDR"):
        read({"CONSUL_HTTP_ADDR": given})


def test_credentials_in_the_address_are_not_shown() -> None:
    with pytest.raises(ConsulSettingsError, match="CONSUL_HTTP_AUTH") as raised:
        read({"CONSUL_HTTP_ADDR": "http://user:hidden@host:1"})
    assert "hidden" not in str(raised.value)


def test_everything_else() -> None:
    settings = read(
        {
            "CONSUL_HTTP_ADDR": "consul:8501",
            "CONSUL_HTTP_TOKEN": "secret",
            "CONSUL_HTTP_TOKEN_FILE": "/run/token",
            "CONSUL_HTTP_AUTH": "user:pass",
            "CONSUL_HTTP_SSL": "true",
            "CONSUL_HTTP_SSL_VERIFY": "0",
            "CONSUL_CACERT": "/ca.pem",
            "CONSUL_CAPATH": "/ca",
            "CONSUL_CLIENT_CERT": "/c.pem",
            "CONSUL_CLIENT_KEY": "/k.pem",
            "CONSUL_TLS_SERVER_NAME": "server.dc1.consul",
            "CONSUL_NAMESPACE": "team",
            "CONSUL_DATACENTER": "dc2",
        }
    )
    assert settings.address == "https://consul:8501"
    assert (settings.token, settings.token_file) == ("secret", Path("/run/token"))
    assert (settings.verify, settings.ca_file, settings.ca_path) == (False, Path("/ca.pem"), Path("/ca"))
    assert (settings.cert_file, settings.key_file) == (Path("/c.pem"), Path("/k.pem"))
    assert (settings.server_name, settings.namespace, settings.datacenter) == ("server.dc1.consul", "team", "dc2")
    assert settings.http_auth == "user:pass"


def test_secrets_are_not_shown() -> None:
    shown = repr(read({"CONSUL_HTTP_TOKEN": "secret", "CONSUL_HTTP_AUTH": "user:pass"}))
    assert "secret" not in shown
    assert "pass" not in shown


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"CONSUL_HTTP_SSL": "yes"}, "CONSUL_HTTP_SSL"),
        ({"CONSUL_HTTP_SSL_VERIFY": "2"}, "CONSUL_HTTP_SSL_VERIFY"),
        ({"CONSUL_CLIENT_CERT": "/c.pem"}, "CONSUL_CLIENT_KEY"),
        ({"CONSUL_HTTP_TOKEN": "a\r\nX-Evil: 1"}, "CONSUL_HTTP_TOKEN"),
        ({"CONSUL_NAMESPACE": "ä"}, "CONSUL_NAMESPACE"),
    ],
)
def test_bad_values_name_their_variable(environment: dict[str, str], named: str) -> None:
    with pytest.raises(ConsulSettingsError, match=named):
        read(environment)
