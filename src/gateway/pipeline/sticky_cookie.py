"""The cookie of a sticky route: told to clients whose instance is another than they said, and to no instance."""

from __future__ import annotations

from gateway.core.authentication import Place, PlaceKind
from gateway.core.model import Route, StickyOn
from gateway.core.sticky import Tag
from gateway.pipeline.authentication.places import Removal
from gateway.pipeline.stage import Call, ResponseHead


class StickyCookie:
    """The stage of `sticky: {cookie: …}`; which instance follows from the cookie is found in `core.steering`."""

    def __init__(self, name: str, max_age: float, tag: Tag) -> None:
        self._name = name
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + (f"; Max-Age={max_age:.0f}" if max_age else "")
        self._tag = tag
        self._removal = Removal([Place(PlaceKind.COOKIE, name)], ())

    def request(self, call: Call) -> None:
        self._removal.apply(call)

    def response(self, call: Call, head: ResponseHead) -> None:
        if head.instance is None:
            return
        tag = self._tag(head.instance)
        if call.facts.cookie(self._name) != tag:
            secure = "; Secure" if call.facts.scheme == "https" else ""
            head.fields.append(("Set-Cookie", f"{self._name}={tag}{self._attributes}{secure}"))


class StickyCookies:
    def __init__(self, tag: Tag) -> None:
        self._tag = tag

    def of(self, route: Route) -> StickyCookie | None:
        """The stage of a route; None where no cookie keeps its clients."""
        sticky = route.sticky
        if sticky is None or sticky.on is not StickyOn.COOKIE:
            return None
        return StickyCookie(sticky.name, sticky.max_age, self._tag)
