"""What an authenticated request may do: its route's `require`, over the verified claims, the sender and the request."""

from __future__ import annotations

from gateway.core.model import HOLDS_ALWAYS, Reason, Route
from gateway.core.predicate import Predicate, PredicateError
from gateway.core.require import Authenticated, CompileRequire
from gateway.core.routing import OnPredicateError
from gateway.pipeline.stage import Answer, Call, ResponseHead


class Require:
    """The stage of a route's `require`.

    A predicate that fails denies, as one that is false does: it must not let in whom it was not meant to let in. The
    log says which of the two it was, and the answer does not.
    """

    def __init__(self, predicate: Predicate[Authenticated], on_error: OnPredicateError) -> None:
        self._holds = predicate.holds
        self._on_error = on_error

    def request(self, call: Call) -> Answer | None:
        try:
            if self._holds(call):
                return None
            note = "require is false"
        except PredicateError as error:
            self._on_error(call.route.name)
            note = f"require fails: {error.reason}"
        return Answer(Reason.FORBIDDEN, note=note)

    def response(self, _: Call, __: ResponseHead) -> None:
        """Stays as it is."""


class Authorisation:
    def __init__(self, compile_require: CompileRequire, on_error: OnPredicateError) -> None:
        self._compile = compile_require
        self._on_error = on_error

    def of(self, route: Route) -> Require | None:
        """The stage of a route; None where it requires nothing."""
        return None if route.require == HOLDS_ALWAYS else Require(self._compile(route.require), self._on_error)
