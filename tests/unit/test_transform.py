"""Filters of a route, applied to paths and headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import EditRequestHeaders, EditResponseHeaders, HeaderEdit, StripPrefix
from gateway.core.paths import normalise
from gateway.pipeline.transform import edit_headers, strip_prefix, transform_request, transform_response


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        ("/orders", "/orders", "/"),
        ("/orders/", "/orders", "/"),
        ("/orders/1", "/orders", "/1"),
        ("/orders/1", "/orders/", "/1"),
        ("/ordersx", "/orders", "/ordersx"),
        ("/a/orders", "/orders", "/a/orders"),
        ("/orders%2F1", "/orders", "/orders%2F1"),
        ("/a/b/c", "/a/b", "/c"),
        ("/", "/orders", "/"),
        ("/orders", "/", "/orders"),
    ],
)
def test_a_prefix_is_cut_by_whole_elements(path: str, prefix: str, expected: str) -> None:
    assert strip_prefix(path, prefix) == expected


ELEMENTS = st.lists(st.sampled_from(["a", "b", "%2F", "c.d"]), max_size=5).map(lambda parts: "/" + "/".join(parts))


@given(ELEMENTS, ELEMENTS)
def test_what_is_left_is_a_normal_path(path: str, prefix: str) -> None:
    left = strip_prefix(path, prefix)
    assert left.startswith("/")
    assert normalise(left) == left
    assert path.endswith(left) or left == "/"


def test_set_replaces_every_value_of_any_case() -> None:
    edit = HeaderEdit(set=(("X-A", "new"),))
    assert edit_headers(edit, [("x-a", "1"), ("b", "2"), ("X-a", "3")]) == [("b", "2"), ("X-A", "new")]


def test_set_gives_a_header_that_was_not_there() -> None:
    assert edit_headers(HeaderEdit(set=(("x-a", "1"),)), []) == [("x-a", "1")]


def test_add_keeps_what_is_there() -> None:
    edit = HeaderEdit(add=(("x-a", "2"), ("x-a", "3")))
    assert edit_headers(edit, [("x-a", "1")]) == [("x-a", "1"), ("x-a", "2"), ("x-a", "3")]


def test_remove_drops_every_value_of_any_case() -> None:
    assert edit_headers(HeaderEdit(remove=("Cookie",)), [("cookie", "1"), ("COOKIE", "2"), ("b", "3")]) == [("b", "3")]


def test_what_is_removed_can_be_added_anew() -> None:
    edit = HeaderEdit(add=(("x-a", "new"),), remove=("x-a",))
    assert edit_headers(edit, [("x-a", "old")]) == [("x-a", "new")]


def test_what_is_added_stands_behind_what_is_set() -> None:
    edit = HeaderEdit(set=(("x-a", "1"),), add=(("x-a", "2"),))
    assert edit_headers(edit, [("x-a", "0")]) == [("x-a", "1"), ("x-a", "2")]


def test_filters_apply_in_their_order() -> None:
    filters = (
        StripPrefix("/a"),
        EditRequestHeaders(HeaderEdit(set=(("x", "1"),))),
        StripPrefix("/b"),
        EditRequestHeaders(HeaderEdit(remove=("X",), add=(("y", "2"),))),
    )
    assert transform_request(filters, "/a/b/c", [("z", "0")]) == ("/c", [("z", "0"), ("y", "2")])


def test_each_direction_has_its_own_edits() -> None:
    filters = (
        EditRequestHeaders(HeaderEdit(set=(("to-instance", "1"),))),
        EditResponseHeaders(HeaderEdit(set=(("to-client", "1"),))),
    )
    assert transform_request(filters, "/", [])[1] == [("to-instance", "1")]
    assert transform_response(filters, []) == [("to-client", "1")]


def test_the_fields_given_are_not_changed() -> None:
    fields = [("a", "1")]
    transform_request((EditRequestHeaders(HeaderEdit(remove=("a",))),), "/", fields)
    assert fields == [("a", "1")]
