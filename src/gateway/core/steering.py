"""What a request itself says about where it may go: by its backends' `instances` and `prefer`, and by `sticky`.

It is found before a ticket is opened, over the instances that the mirror holds then, and is an input of the ticket: a
journal tells which instances came of it, and nothing of the request. Retries and the queue keep to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.core.candidate import Candidate, CompileInstances, steps_for
from gateway.core.model import Backend, Instance, InstanceKey, Route, Sticky, StickyOn
from gateway.core.predicate import Memo, Predicate, PredicateError
from gateway.core.predicate.values import Frame
from gateway.core.require import Authenticated
from gateway.core.serving import Serving, Standing, Steering
from gateway.core.split import weighty
from gateway.core.sticky import Tag, score, total_weight, value_of, weight

OnSteeringError = Callable[[str, str], None]
"""Called with the route's name and the field of its backend, for each instance for which a predicate fails."""


class Steerer:
    """Finds the steering of requests. Not thread-safe, as the core is not."""

    def __init__(self, compile_instances: CompileInstances, tag: Tag, on_error: OnSteeringError) -> None:
        self._compile = compile_instances
        self._tag = tag
        self._on_error = on_error
        self._made: dict[str, tuple[Route, _OfRoute]] = {}

    def steer(self, asking: Authenticated, standings: Sequence[Standing]) -> Steering:
        """`standings` are those of the request's route, as `Gateway.standings` has them."""
        route = asking.route
        made = self._made.get(route.name)
        if made is None or made[0] is not route:
            made = self._made[route.name] = (route, _OfRoute(route, self._compile, self._tag, self._on_error))
        return made[1].steer(asking, standings)

    def retain(self, names: frozenset[str]) -> None:
        """Forgets routes that are gone."""
        for name in self._made.keys() - names:
            del self._made[name]


class _OfRoute:
    def __init__(self, route: Route, compiler: CompileInstances, tag: Tag, on_error: OnSteeringError) -> None:
        def failed(field: str) -> None:
            on_error(route.name, field)

        self._sticky = route.sticky
        self._backends = [_OfBackend(backend, compiler, tag, failed) for backend in weighty(route)]

    def steer(self, asking: Authenticated, standings: Sequence[Standing]) -> Steering:
        asked: Memo = {}
        serving = [
            backend.serving(asking, asked, standing)
            for backend, standing in zip(self._backends, standings, strict=True)
        ]
        sticky = self._sticky
        value = None if sticky is None else value_of(sticky, asking.facts)
        found = None if sticky is None or value is None else self._held(sticky, value, standings, serving)
        if found is None:
            return Steering(tuple(serving))
        held, key = found
        serving[held] = Serving(serving[held].only, frozenset((key,)))
        return Steering(tuple(serving), held)

    def _held(
        self, sticky: Sticky, value: str, standings: Sequence[Standing], serving: Sequence[Serving]
    ) -> tuple[int, InstanceKey] | None:
        """The backend and the instance at which the client stays; a fallback's only where no other has any."""
        open_to = [_open_to(standing, each) for standing, each in zip(standings, serving, strict=True)]
        if sticky.on is StickyOn.COOKIE:
            tagged = (backend.tagged.get(value) for backend in self._backends)
            for index, (key, allowed) in enumerate(zip(tagged, open_to, strict=True)):
                if key is not None and any(instance.key == key for instance in allowed):
                    return index, key
            return None
        usable = [index for index, allowed in enumerate(open_to) if allowed]
        primary = [index for index in usable if not standings[index].backend.fallback]
        ranked = []
        for index in primary or usable:
            share = standings[index].backend.weight / total_weight(open_to[index])
            ranked += [
                (score(value, instance, share * weight(instance)), index, instance.key) for instance in open_to[index]
            ]
        return min(ranked)[1:] if ranked else None


def _open_to(standing: Standing, serving: Serving) -> Sequence[Instance]:
    """The instances of a backend that a request may be sent to now."""
    permitted = [instance for instance in standing.instances if instance.key in standing.permitted]
    if serving.only is None:
        return permitted
    fit = [instance for instance in permitted if instance.key in serving.only]
    return fit or (permitted if standing.backend.any_otherwise else ())


class _OfBackend:
    def __init__(self, backend: Backend, compiler: CompileInstances, tag: Tag, failed: Callable[[str], None]) -> None:
        self._instances = _judge(backend.instances, "instances", compiler, failed)
        self._prefer = _judge(backend.prefer, "prefer", compiler, failed)
        self._tag = tag
        self._seen: Sequence[Instance] = ()
        self._candidates: Sequence[Candidate] = ()
        self._tagged: dict[str, InstanceKey] | None = None

    def serving(self, asking: Authenticated, asked: Memo, standing: Standing) -> Serving:
        if standing.instances is not self._seen:
            self._see(standing.instances)
        only = None if self._instances is None else self._instances.chosen(self._candidates, asking, asked)
        preferred = frozenset() if self._prefer is None else self._prefer.chosen(self._candidates, asking, asked)
        return Serving(only, preferred)

    @property
    def tagged(self) -> dict[str, InstanceKey]:
        """The instances by what a cookie says for them."""
        if self._tagged is None:
            self._tagged = {self._tag(instance): instance.key for instance in self._seen}
        return self._tagged

    def _see(self, instances: Sequence[Instance]) -> None:
        """What was found of an instance stays where the instance did."""
        before = {id(candidate.instance): candidate for candidate in self._candidates}
        self._candidates = [before.get(id(instance)) or Candidate(instance) for instance in instances]
        self._seen, self._tagged = instances, None
        for judge in (self._instances, self._prefer):
            if judge is not None:
                judge.forget()


class _Judge:
    """One predicate of a backend. What does not ask about the request is found once for each set of instances."""

    def __init__(self, predicate: Predicate[Candidate], failed: Callable[[], None]) -> None:
        self._predicate = predicate
        self._failed = failed
        self._is_fixed = predicate.names <= {"instance"}
        self._fixed: frozenset[InstanceKey] | None = None

    def chosen(self, candidates: Sequence[Candidate], asking: Authenticated, asked: Memo) -> frozenset[InstanceKey]:
        if self._fixed is not None:
            return self._fixed
        frame = Frame(self._predicate.variables, steps_for(len(candidates)))
        found = frozenset(
            candidate.instance.key for candidate in candidates if self._holds(candidate, asking, asked, frame)
        )
        if self._is_fixed:
            self._fixed = found
        return found

    def forget(self) -> None:
        self._fixed = None

    def _holds(self, candidate: Candidate, asking: Authenticated, asked: Memo, frame: Frame) -> bool:
        if frame.spent:
            self._failed()
            return False
        candidate.asking, candidate.asked = asking, asked
        try:
            return self._predicate.holds_within(candidate, frame)
        except PredicateError:
            self._failed()
            return False
        finally:
            candidate.asking = None


def _judge(source: str | None, field: str, compiler: CompileInstances, failed: Callable[[str], None]) -> _Judge | None:
    return None if source is None else _Judge(compiler(source), lambda: failed(field))
