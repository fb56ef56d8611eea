"""Settings: three sources, one parser, and messages that say where a bad value came from."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import (
    NO_FLAG,
    Address,
    KeyPair,
    Settings,
    SettingsError,
    load,
    misspelt_environment,
    parse_address,
    parse_duration,
    parse_size,
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _file(tmp_path: Path, text: str, name: str = "gateway.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_design() -> None:
    settings = load()
    assert (settings.mode, settings.prefix, settings.service) == ("edge", "gateway", "gateway")
    assert settings.listen == Address("", 8080)
    assert settings.host_of(settings.entrance) is None
    assert settings.admin_listen == Address("127.0.0.1", 8081)
    assert settings.ready_max_age is None


def test_sources_rank_file_then_environment_then_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(tmp_path, 'prefix = "file"\nservice = "file"\nlog_level = "error"\n')
    monkeypatch.setenv("GATEWAY_PREFIX", "environment")
    monkeypatch.setenv("GATEWAY_SERVICE", "environment")
    settings = load({"prefix": "flag", "service": None})
    assert (settings.prefix, settings.service, settings.log_level) == ("flag", "environment", "error")


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_DRAIN_TIME", "")
    assert load().drain_time == 10.0


def test_all_sources_are_read_by_the_same_parsers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(tmp_path, 'trusted_hops = ["10.0.0.0/8", "::1"]\ngrace = "1m30s"\ndrain_time = 5\n')
    monkeypatch.setenv("GATEWAY_ALLOWED_ADDRESSES", "10.0.0.0/8, 192.168.0.0/16")
    settings = load({"listen": "[::1]:9", "keep_alive": "250ms", "register_self": False})
    assert [str(network) for network in settings.trusted_hops] == ["10.0.0.0/8", "::1/128"]
    assert [str(network) for network in settings.allowed_addresses] == ["10.0.0.0/8", "192.168.0.0/16"]
    assert (settings.grace, settings.drain_time, settings.keep_alive) == (90.0, 5.0, 0.25)
    assert settings.listen == Address("::1", 9)
    assert settings.register_self is False


def test_each_problem_names_its_source_and_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(tmp_path, 'lisen = ":80"\ngrace = "soon"\n')
    monkeypatch.setenv("GATEWAY_MODE", "middle")
    with pytest.raises(SettingsError) as caught:
        load({"trusted_hops": "10.0.0.1/8"})
    problems = caught.value.problems
    assert "gateway.toml: lisen: unknown setting; did you mean listen?" in problems
    assert "gateway.toml: grace: 'soon' is not a duration such as 250ms, 10s or 1m30s" in problems
    assert "GATEWAY_MODE: Input should be 'edge' or 'sidecar'" in problems
    assert "--trusted-hops: 10.0.0.1/8 has host bits set" in problems
    assert len(problems) == 4


def test_the_journal_is_off_unless_a_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load().journal, load().monitor) == (None, False)
    monkeypatch.setenv("GATEWAY_JOURNAL", "/var/lib/gateway/journal")
    monkeypatch.setenv("GATEWAY_MONITOR", "1")
    settings = load({"journal_segment": "64MiB", "journal_segments": "8"})
    assert (settings.journal, settings.monitor) == (Path("/var/lib/gateway/journal"), True)
    assert (settings.journal_segment, settings.journal_segments) == (64 << 20, 8)
    for bad in ({"journal_segment": "0"}, {"journal_segment": "-1"}, {"journal_segments": "1"}):
        with pytest.raises(SettingsError, match="--journal-segment"):
            load(bad)


def test_a_bad_token_is_not_shown(tmp_path: Path) -> None:
    _file(tmp_path, 'consul_token = ["5ecret"]\n')
    with pytest.raises(SettingsError) as caught:
        load()
    assert "5ecret" not in str(caught.value)
    _file(tmp_path, 'consul_token = "5ecret"\n')
    assert "5ecret" not in repr(load())


def test_a_named_file_has_to_exist_and_to_be_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "nowhere.toml"
    with pytest.raises(SettingsError, match=r"nowhere\.toml: there is no such file"):
        load(file=missing)
    monkeypatch.setenv("GATEWAY_CONFIG", str(missing))
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load()
    monkeypatch.setenv("GATEWAY_CONFIG", str(_file(tmp_path, "prefix =", "bad.toml")))
    with pytest.raises(SettingsError, match=r"bad\.toml: not TOML"):
        load()
    with pytest.raises(SettingsError, match="cannot be read"):
        load(file=tmp_path)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load().prefix = "other"  # type: ignore[misc] # this is what is tried


def test_sidecars_listen_on_loopback_unless_told_otherwise() -> None:
    sidecar = load({"mode": "sidecar"})
    assert sidecar.host_of(sidecar.entrance) == "127.0.0.1"
    assert sidecar.host_of(Address("0.0.0.0", 8443)) == "0.0.0.0"


@pytest.mark.parametrize(
    ("given", "registered"),
    [
        ({"listen": ":81"}, ("", 81)),
        ({"listen": "10.0.0.1:81"}, ("10.0.0.1", 81)),
        ({"listen": "0.0.0.0:81"}, ("", 81)),
        ({"listen": "[::]:81"}, ("", 81)),
        ({"listen": "0.0.0.0:81", "advertise": "edge.example:80"}, ("edge.example", 80)),
        ({"listen": "10.0.0.1:81", "advertise": ":80"}, ("", 80)),
    ],
)
def test_what_is_registered_is_an_address_to_reach(given: dict[str, object], registered: tuple[str, int]) -> None:
    assert load(given).registered == registered


def test_the_default_id_is_stable_and_fits_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "böx.example_1")
    assert load({"listen": ":81"}).gateway_id == "b-x.example_1-81"
    assert load({"id": "edge-1"}).gateway_id == "edge-1"


@pytest.mark.parametrize("prefix", ["", "/gateway", "gateway/", "a//b", "a/../b", "a b"])
def test_prefixes_that_are_no_key_are_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match="--prefix"):
        load({"prefix": prefix})


def test_consul_settings_override_consuls_own_variables() -> None:
    settings = load({"consul_address": "10.0.0.9:8500", "consul_token_file": "/run/token", "consul_verify": "false"})
    environment = settings.consul_environment(
        {"CONSUL_HTTP_ADDR": "elsewhere", "CONSUL_HTTP_TOKEN": "old", "CONSUL_DATACENTER": "dc2"}
    )
    assert environment == {
        "CONSUL_HTTP_ADDR": "10.0.0.9:8500",
        "CONSUL_HTTP_TOKEN_FILE": "/run/token",
        "CONSUL_HTTP_SSL_VERIFY": "false",
        "CONSUL_DATACENTER": "dc2",
    }
    assert load().consul_environment({"CONSUL_HTTP_TOKEN": "kept"}) == {"CONSUL_HTTP_TOKEN": "kept"}


def test_misspelt_variables_are_told_and_strangers_left_alone() -> None:
    environment = {"GATEWAY_LISTNE": ":80", "GATEWAY_SERVICE_HOST": "10.1.1.1", "GATEWAY_LISTEN": ":80", "PATH": ""}
    assert misspelt_environment(environment) == ["GATEWAY_LISTNE is not a setting; did you mean GATEWAY_LISTEN?"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("10s", 10), ("1m30s", 90), ("1h", 3600), ("2", 2), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1 s", "-1s", "1d", "1s2", "١s x", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "size"), [("8KiB", 8192), ("1MiB", 1 << 20), ("10", 10), ("10B", 10)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_what_is_no_size() -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size("8kb")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":8080", Address("", 8080)),
        ("127.0.0.1:1", Address("127.0.0.1", 1)),
        ("[::1]:1", Address("::1", 1)),
        ("gw.example.com:1", Address("gw.example.com", 1)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["8080", "::1:80", "host", "host:", ":65536", "http://host:80", "[::1]"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_address(text)


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert re.search(r"[.)]$", field.description), name


TLS = {"tls_listen": ":8443", "tls_certificates": "/etc/a.pem:/etc/a.key, /etc/both.pem"}


def test_certificates_are_pairs_or_files_with_both(tmp_path: Path) -> None:
    pairs = (KeyPair(Path("/etc/a.pem"), Path("/etc/a.key")), KeyPair(Path("/etc/both.pem"), Path("/etc/both.pem")))
    assert load(TLS).tls_certificates == pairs
    _file(tmp_path, 'tls_listen = ":8443"\ntls_certificates = ["/etc/a.pem:/etc/a.key", "/etc/both.pem"]\n')
    assert load().tls_certificates == pairs
    for bad in (":", "a:", ":b", "a:b:c"):
        with pytest.raises(SettingsError, match=r"--tls-certificates: .* is not certificate\.pem:key\.pem"):
            load(TLS | {"tls_certificates": bad})


def test_tls_listens_beside_plain_http_or_alone() -> None:
    both = load(TLS)
    assert (both.entrance.port, both.registered.port) == (8080, 8080)
    assert both.tls_listen == Address("", 8443)
    alone = load(TLS | {"listen": "off"})
    assert alone.listen is None
    assert (alone.entrance.port, alone.registered.port) == (8443, 8443)
    assert alone.gateway_id.endswith("-8443")
    assert load(TLS | {"mode": "sidecar"}).host_of(Address("", 8443)) == "127.0.0.1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"listen": "off"}, "--listen: `off` leaves nowhere to listen, unless tls_listen is set"),
        ({"tls_listen": ":8443"}, "--tls-listen: needs tls_certificates"),
        (TLS | {"listen": ":8443"}, "--tls-listen: is where listen is"),
        ({"tls_certificates": "/a.pem"}, "--tls-certificates: is of no use without tls_listen"),
        ({"tls_client_ca": "/a.pem"}, "--tls-client-ca: is of no use without tls_listen"),
        (TLS | {"tls_client_crl": "/a.pem"}, "--tls-client-crl: is of no use without tls_client_ca"),
        (TLS | {"tls_client_certificates": "required"}, "--tls-client-certificates: required needs tls_client_ca"),
        (TLS | {"tls_min_version": "1.1"}, "--tls-min-version: "),
        (
            {"admin_listen": ":8081"},
            "--admin-listen: :8081 is not loopback, and so needs a token",
        ),
        ({"admin_listen": "0.0.0.0:8081"}, "--admin-listen: 0.0.0.0:8081 is not loopback"),
        ({"admin_listen": "[::]:8081"}, r"--admin-listen: \[::\]:8081 is not loopback"),
        ({"admin_listen": "admin.test:8081"}, "--admin-listen: admin.test:8081 is not loopback"),
        ({"admin_token_file": "/t", "admin_token": "x" * 16}, "--admin-token-file: and admin_token are both set"),
    ],
)
def test_settings_that_do_not_go_together(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(given)


@pytest.mark.parametrize("listen", ["127.0.0.1:8081", "localhost:8081", "[::1]:8081", "127.5.5.5:1"])
def test_loopback_needs_no_token(listen: str) -> None:
    assert load({"admin_listen": listen}).admin_token is None


def test_a_conflict_names_where_the_value_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(tmp_path, 'listen = "off"\n')
    monkeypatch.setenv("GATEWAY_ADMIN_LISTEN", ":8081")
    with pytest.raises(SettingsError, match=r"gateway.toml: listen: .*\nGATEWAY_ADMIN_LISTEN: "):
        load()


def test_an_admin_token_is_long_enough_not_shown_and_no_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "5ecret")
    with pytest.raises(SettingsError, match="GATEWAY_ADMIN_TOKEN") as caught:
        load()
    assert "5ecret" not in str(caught.value)
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "5ecret of 16 characters")
    assert load({"admin_listen": ":8081"}).admin_token is not None
    assert "5ecret" not in repr(load())
    assert "admin_token" in NO_FLAG
