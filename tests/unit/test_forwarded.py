"""Whose word is believed about the client's address, and what we say ourselves."""

from ipaddress import ip_network

import pytest

from gateway.proxy.http.forwarded import Forwarding, plain_address

FORWARDING = Forwarding([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("spelled", "plain"),
    [
        ("10.1.1.1", "10.1.1.1"),
        ("::ffff:10.1.1.1", "10.1.1.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("nonsense", "unknown"),
        ("", "unknown"),
    ],
)
def test_one_spelling_for_each_address(spelled: str, plain: str) -> None:
    assert plain_address(spelled) == plain


@pytest.mark.parametrize(
    ("peer", "said", "client"),
    [
        ("8.8.8.8", {"x-forwarded-for": ["1.1.1.1"]}, "8.8.8.8"),
        ("10.0.0.1", {}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": ["1.1.1.1"]}, "1.1.1.1"),
        ("10.0.0.1", {"x-forwarded-for": ["6.6.6.6, 1.1.1.1, 10.0.0.2"]}, "1.1.1.1"),
        ("10.0.0.1", {"x-forwarded-for": ["6.6.6.6, 1.1.1.1", "10.0.0.2"]}, "1.1.1.1"),
        ("10.0.0.1", {"x-forwarded-for": ["10.0.0.3, 10.0.0.2"]}, "10.0.0.3"),
        ("10.0.0.1", {"x-forwarded-for": ["1.1.1.1, rubbish, 10.0.0.2"]}, "10.0.0.2"),
        ("10.0.0.1", {"x-forwarded-for": ["1.1.1.1:8080"]}, "1.1.1.1"),
        ("10.0.0.1", {"x-forwarded-for": ["[2001:db8::1]:8080"]}, "2001:db8::1"),
        ("10.0.0.1", {"x-forwarded-for": ["2001:db8::1"]}, "2001:db8::1"),
        ("fd00::1", {"forwarded": ['for="[2001:db8::1]:80";proto=https, For=10.0.0.2']}, "2001:db8::1"),
        ("10.0.0.1", {"forwarded": ["proto=https"]}, "10.0.0.1"),
        ("10.0.0.1", {"forwarded": ["for=_hidden, for=10.0.0.2"]}, "10.0.0.2"),
        ("unknown", {"x-forwarded-for": ["1.1.1.1"]}, "unknown"),
    ],
)
def test_the_client_is_the_first_hop_that_is_not_trusted(peer: str, said: dict[str, list[str]], client: str) -> None:
    assert FORWARDING.client_ip(peer, said) == client


@pytest.mark.parametrize(
    ("peer", "said", "scheme"),
    [
        ("10.0.0.1", {}, "http"),
        ("10.0.0.1", {"x-forwarded-proto": ["https"]}, "https"),
        ("10.0.0.1", {"x-forwarded-proto": ["HTTPS, http"]}, "https"),
        ("10.0.0.1", {"x-forwarded-proto": ["http, https"]}, "http"),
        ("10.0.0.1", {"x-forwarded-proto": [""]}, "http"),
        ("8.8.8.8", {"x-forwarded-proto": ["https"]}, "http"),
    ],
)
def test_the_scheme_is_what_a_trusted_hop_says(peer: str, said: dict[str, list[str]], scheme: str) -> None:
    assert FORWARDING.scheme(peer, said, "http") == scheme
    assert FORWARDING.scheme(peer, {}, "https") == "https"


def test_without_networks_nobody_is_trusted() -> None:
    assert Forwarding(()).client_ip("127.0.0.1", {"x-forwarded-for": ["1.1.1.1"]}) == "127.0.0.1"


def test_ipv6_and_ports_are_quoted_in_forwarded() -> None:
    fields = dict(FORWARDING.fields("2001:db8::1", "2001:db8::1", "http", "api.test:8080", 80, {}))
    assert fields["Forwarded"] == 'for="[2001:db8::1]";proto=http;host="api.test:8080"'
    assert fields["X-Forwarded-For"] == "2001:db8::1"


def test_without_a_host_none_is_told() -> None:
    fields = dict(FORWARDING.fields("1.1.1.1", "1.1.1.1", "http", None, 80, {}))
    assert fields["Forwarded"] == "for=1.1.1.1;proto=http"
    assert "X-Forwarded-Host" not in fields
