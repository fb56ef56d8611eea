"""Path normalisation: one spelling for each path, and none that leaves the root."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.paths import BadPath, has_escaped_slash, normalise

PIECES = st.sampled_from(
    [
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%5C",
        "a",
        "admin",
        "%61",
        "%C3%a9",
        "%7b",
        "{",
        ";",
        "...",
        "%25",
        "%0d%0a",
        "|",
    ]
)
PATHS = st.lists(PIECES, max_size=14).map(lambda pieces: "/" + "".join(pieces))


@pytest.mark.parametrize(
    "raw", ["/a/../admin", "/a/%2e%2e/admin", "/a/.%2E/admin", "//admin", "/%61dmin", "/./admin", "/../admin"]
)
def test_one_spelling(raw: str) -> None:
    assert normalise(raw) == "/admin"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", "/"),
        ("/", "/"),
        ("///", "/"),
        ("/..", "/"),
        ("/a/..", "/"),
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a//b", "/a/b"),
        ("/a//../b", "/a/b"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/a%2fb%5cc", "/a%2Fb%5Cc"),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/a%7eb", "/a~b"),
        ("/%c3%a9", "/%C3%A9"),
        ("/%0d%0aSet-Cookie:x", "/%0D%0ASet-Cookie:x"),
        ('/{a}|"<>^`[]', "/%7Ba%7D%7C%22%3C%3E%5E%60%5B%5D"),
        ("/a;v=1/b@c:d!$&'()*+,=", "/a;v=1/b@c:d!$&'()*+,="),
    ],
)
def test_normal_forms(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


@pytest.mark.parametrize(
    "raw",
    [
        "/%00", "/a%", "/a%2", "/%zz", "/%u0041", "/a#b", "/a?b", "/a\\b", "/a b", "/a\tb", "/a\nb", "/a\n", "/\x7f",
        "/é", "/\udce9", "a", "*", "http://x/", "/a/..;/admin", "/a/..;x=1/admin", "/.;", "/a/..%2fadmin", "/a%2f..",
        "/a%5c..%5cb", "/a/%2e%2e%2fadmin",
    ],
)  # fmt: skip
def test_refused(raw: str) -> None:
    with pytest.raises(BadPath) as refusal:
        normalise(raw)
    assert refusal.value.reason


def test_the_reason_does_not_echo_the_input() -> None:
    with pytest.raises(BadPath) as refusal:
        normalise("/secret\x1b[31m")
    assert "secret" not in refusal.value.reason
    assert refusal.value.reason.isprintable()


@pytest.mark.parametrize(
    ("path", "expected"), [("/a%2Fb", True), ("/a%5Cb", True), ("/a/b", False), ("/a%252F", False), ("/%41", False)]
)
def test_escaped_slash(path: str, expected: bool) -> None:
    assert has_escaped_slash(path) is expected


@given(PATHS)
@example("/a/%2e%2E//..//./b/")
def test_a_normal_form_is_stable_rooted_and_plain(raw: str) -> None:
    try:
        path = normalise(raw)
    except BadPath:
        return
    assert normalise(path) == path
    assert path.startswith("/")
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))
    assert re.fullmatch(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2})+", path)


@given(st.text(max_size=30))
def test_any_text_gives_a_path_or_a_refusal(raw: str) -> None:
    try:
        path = normalise("/" + raw)
    except BadPath:
        return
    assert normalise(path) == path


@given(st.lists(st.sampled_from(["a", "b", ".", "..", ""]), max_size=10))
def test_dot_segments_resolve_as_rfc_3986_says(segments: list[str]) -> None:
    raw = "/" + "/".join(segments)
    assert normalise(raw) == re.sub("//+", "/", _remove_dot_segments(raw))


@given(st.text(alphabet="abcXYZ019-._~/", min_size=1, max_size=20))
def test_escaping_unreserved_characters_changes_nothing(plain: str) -> None:
    escaped = "".join(f"%{ord(char):02x}" if char != "/" and index % 2 else char for index, char in enumerate(plain))
    assert normalise("/" + escaped) == normalise("/" + plain)


def _remove_dot_segments(path: str) -> str:
    """RFC 3986 §5.2.4, letter by letter."""
    source, output = path, ""
    while source:
        if source.startswith("/./"):
            source = source[2:]
        elif source == "/.":
            source = "/"
        elif source.startswith("/../"):
            source, output = source[3:], output[: output.rfind("/")] if output else ""
        elif source == "/..":
            source, output = "/", output[: output.rfind("/")] if output else ""
        else:
            end = source.find("/", 1)
            end = len(source) if end < 0 else end
            output, source = output + source[:end], source[end:]
    return output
