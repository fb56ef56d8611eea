"""What ends at a hop, in one pass."""

import pytest

from gateway.proxy.http.hop_headers import BadField, sift_request, sift_response


def test_a_clients_fields_are_sorted() -> None:
    sifted = sift_request(
        [
            ("Host", "a"),
            ("Accept", "*/*"),
            ("Via", "1.1 x"),
            ("TE", "trailers"),
            ("X-Forwarded-For", "1.1.1.1"),
            ("X-A", ""),
        ]
    )
    assert sifted.passed == [("Accept", "*/*"), ("X-A", "")]
    assert sifted.hops == {"via": ["1.1 x"], "x-forwarded-for": ["1.1.1.1"]}
    assert sifted.size == sum(len(line) for line in ("Host: a\r\n", "Accept: */*\r\n", "Via: 1.1 x\r\n")) + len(
        "TE: trailers\r\nX-Forwarded-For: 1.1.1.1\r\nX-A: \r\n"
    )


@pytest.mark.parametrize("name", ["X-Gateway-Role", "x-gateway-", "X-Consul-Token", "X-Forwarded-Prefix"])
def test_what_is_ours_to_say_is_stripped_from_routing_too(name: str) -> None:
    sifted = sift_request([(name, "x"), ("Accept", "*/*")])
    assert sifted.passed == [("Accept", "*/*")]


@pytest.mark.parametrize(
    "connection", [["close, X-A"], ["keep-alive", "x-a"], ["x-a"], [" X-A ,"], ["X-A, Via, X-Forwarded-For"]]
)
def test_what_connection_names_goes(connection: list[str]) -> None:
    sifted = sift_request([("X-A", "1"), ("x-a", "2"), ("X-B", "3"), ("Via", "1.1 x")], connection)
    assert sifted.passed == [("X-B", "3")]
    assert ("via" in sifted.hops) == ("Via" not in connection[0])


def test_ordinary_connection_values_strip_nothing() -> None:
    sifted = sift_request([("Keep-Alive", "5"), ("X-B", "3")], ["keep-alive", "Upgrade"])
    assert sifted.passed == [("X-B", "3")]


@pytest.mark.parametrize(
    "name",
    [
        "Content_Length",
        "transfer_encoding",
        "X_Forwarded-For",
        "x_gateway_user",
        "Authorization_".rstrip("_") + "_",
        "TE_",
    ],
)
def test_underscore_twins(name: str) -> None:
    ours = name.lower().replace("_", "-") in (
        "content-length",
        "transfer-encoding",
        "x-forwarded-for",
        "x-gateway-user",
    )
    if ours:
        with pytest.raises(BadField):
            sift_request([(name, "1")])
    else:
        assert sift_request([(name, "1")]).passed == [(name, "1")]


@pytest.mark.parametrize("value", ["caf\xe9", "caf\udce9", "\U0001f600"])
def test_bytes_that_are_not_ascii_pass_except_where_we_read(value: str) -> None:
    assert sift_request([("X", value)]).passed == [("X", value)]
    assert sift_request([("X", value)]).size == len(f"X: {value}\r\n".encode("utf-8", "surrogateescape"))
    for name in ("Connection", "Host", "X-Forwarded-For", "Via", "TE", "X-Gateway-A"):
        with pytest.raises(BadField):
            sift_request([(name, value)])


def test_an_instances_fields() -> None:
    fields = [
        ("Content-Length", "5"),
        ("Connection", "X-A"),
        ("connection", "close"),
        ("Transfer-Encoding", "Chunked"),
        ("X-A", "1"),
        ("X-Gateway-B", "1"),
        ("X_Gateway_B", "1"),
        ("x_consul_token", "1"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b\tc"),
        ("X-Raw", "caf\udce9"),
    ]
    assert sift_response(fields) == [("Set-Cookie", "a"), ("Set-Cookie", "b\tc"), ("X-Raw", "caf\udce9")]


@pytest.mark.parametrize(
    "field",
    [
        ("X ", "1"),
        ("", "1"),
        ("X:", "1"),
        ("X\u00e9", "1"),
        ("X", "a\rb"),
        ("X", "a\x7f"),
        ("Transfer-Encoding", "gzip"),
    ],
)
def test_an_instances_unfit_fields(field: tuple[str, str]) -> None:
    with pytest.raises(BadField):
        sift_response([field])
