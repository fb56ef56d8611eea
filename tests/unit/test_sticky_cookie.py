"""The cookie that keeps a client on an instance, as clients and instances see it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.model import Sticky, StickyOn
from gateway.core.sticky import tagger
from gateway.pipeline.stage import Field, ResponseHead
from gateway.pipeline.sticky_cookie import StickyCookie, StickyCookies
from tests.support.calls import INSTANCE, OTHER_INSTANCE, ROUTE, call

TAG = tagger(b"a key that nobody else has")


def stage(max_age: float = 0.0) -> StickyCookie:
    made = StickyCookies(TAG).of(replace(ROUTE, sticky=Sticky(StickyOn.COOKIE, "at", max_age)))
    assert made is not None
    return made


def told(stage: StickyCookie, *headers: Field, scheme: str = "http", ours: bool = False) -> list[Field]:
    asked = call(headers=headers)
    asked.facts.scheme = scheme
    head = ResponseHead(200, [("X", "1")], ours, None if ours else INSTANCE)
    stage.request(asked)
    stage.response(asked, head)
    assert head.fields[0] == ("X", "1")
    return head.fields[1:]


def test_a_client_is_told_where_it_was() -> None:
    assert told(stage()) == [("Set-Cookie", f"at={TAG(INSTANCE)}; Path=/; HttpOnly; SameSite=Lax")]
    assert told(stage(3600.0)) == [("Set-Cookie", f"at={TAG(INSTANCE)}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600")]
    assert told(stage(), scheme="https")[0][1].endswith("; Secure")


def test_and_told_again_only_where_that_has_changed() -> None:
    assert told(stage(), ("Cookie", f"a=b; at={TAG(INSTANCE)}")) == []
    assert told(stage(), ("Cookie", f"at={TAG(OTHER_INSTANCE)}")) != []
    assert told(stage(), ("Cookie", "at=forged")) != []


def test_what_the_gateway_answers_itself_tells_nothing() -> None:
    assert told(stage(), ours=True) == []


def test_no_instance_is_sent_it() -> None:
    asked = call(headers=[("Cookie", f"a=b; at={TAG(INSTANCE)}; c=d"), ("Cookie", "at=2")])
    stage().request(asked)
    assert asked.fields == [("Cookie", "a=b; c=d")]


@pytest.mark.parametrize("sticky", [None, Sticky(StickyOn.HEADER, "x-session")])
def test_other_routes_have_no_such_stage(sticky: Sticky | None) -> None:
    assert StickyCookies(TAG).of(replace(ROUTE, sticky=sticky)) is None
