"""What an authenticated request may do: its route's `require`, over the verified claims, the sender and the request."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.model import HOLDS_ALWAYS, Reason, Route
from gateway.core.predicate import Predicate, PredicateError
from gateway.core.require import Authenticated, CompileRequire
from gateway.pipeline.stage import Answer, Call, ResponseHead

OnPredicateError = Callable[[str], None]
"""Told the route whose `require` failed while it was evaluated, each time."""


class Authorisation:
    """Makes the stages. They have nothing in common but what they are made with."""

    def __init__(self, compile_require: CompileRequire, on_error: OnPredicateError) -> None:
        self._compile = compile_require
        self._on_error = on_error

    def of(self, route: Route) -> Require | None:
        """The stage of a route; None where everyone may do everything."""
        return None if route.require == HOLDS_ALWAYS else Require(self._compile(route.require), self._on_error)


class Require:
    """A predicate that fails denies, as one that is false does: it must not let in whom it was not meant to let in.

    Whoever is denied is not told why; the log says which of the two it was.
    """

    def __init__(self, predicate: Predicate[Authenticated], on_error: OnPredicateError) -> None:
        self._holds = predicate.holds
        self._on_error = on_error

    def request(self, call: Call) -> Answer | None:
        try:
            note = None if self._holds(call) else "require is false"
        except PredicateError as error:
            self._on_error(call.route.name)
            note = f"require fails: {error.reason}"
        return None if note is None else Answer(Reason.FORBIDDEN, note=note)

    def response(self, _: Call, __: ResponseHead) -> None:
        """Stays as it is."""
