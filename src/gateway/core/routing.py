"""The compiled table: the facts of a request in, the route that takes it out.

Every alternative of a route's `match`, under each of its hostnames, is one rule. Among the rules that match, the first
in this order wins: hostname (exact, then the wildcard with most labels, then none), path (exact, then regular
expression, then the prefix with most elements), a rule that names methods, more header matches, more query matches, a
rule with a predicate (`when`), the route's name. A request that no rule of a more specific hostname takes falls to the
less specific ones.

`*.example.com` stands for one or more labels in front of `example.com`, and not for `example.com` itself. A request
without Host matches only routes without hostnames.

Nothing here scans the table: hostnames, exact paths and prefixes are found in dictionaries, and how many look-ups a
request costs is bounded by the table (its longest hostname and prefix), never by what the client sent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from gateway.core.facts import RequestFacts
from gateway.core.model import Match, PathKind, Route, ValueKind, ValueMatch
from gateway.core.predicate import PredicateError
from gateway.core.when import CompileWhen, no_when

FullMatch = Callable[[str], bool]
"""Whether a pattern matches the whole of a text, in time linear in it."""
CompileRegex = Callable[[str], FullMatch]

OnPredicateError = Callable[[str], None]
"""Told the route whose predicate failed while it was evaluated, each time."""

_ValueTest = Callable[[Sequence[str]], bool]
_NamedTest = tuple[str, _ValueTest]
_When = Callable[[RequestFacts], bool]


class _Rule:
    """One alternative of one route, without its hostname and path."""

    __slots__ = ("headers", "methods", "query", "rank", "route", "unconditional", "when")

    def __init__(self, route: Route, match: Match, when: _When | None, compile_regex: CompileRegex) -> None:
        self.route = route
        self.methods = match.methods
        self.headers = _named_tests(match.headers, compile_regex)
        self.query = _named_tests(match.query, compile_regex)
        self.when = when
        self.rank = (not match.methods, -len(match.headers), -len(match.query), when is None, route.name)
        self.unconditional = not (self.methods or self.headers or self.query or when)

    def takes(self, facts: RequestFacts) -> bool:
        if self.methods and facts.method not in self.methods:
            return False
        for name, test in self.headers:
            if not test(facts.header_values(name)):
                return False
        for name, test in self.query:
            if not test(facts.query_values(name)):
                return False
        return self.when is None or self.when(facts)


_Rules = tuple[_Rule, ...]
_Takers = Route | _Rules
"""A route that takes whatever comes, or rules to be asked in their order. Without the rule in between, a look-up among
ten thousand routes has half as much to fetch from memory."""


class _Element:
    """A place in the tree of prefixes. `next_shorter` is the nearest place above that has rules."""

    __slots__ = ("below", "next_shorter", "rules")

    def __init__(self, next_shorter: _Element | None) -> None:
        self.below: dict[str, _Element] = {}
        self.rules: _Rules = ()
        self.next_shorter = next_shorter


class _Paths:
    """The rules of one hostname, by path."""

    __slots__ = ("_depth", "_exact", "_only", "_regexes", "_root")

    def __init__(self, rules: Iterable[tuple[Match, _Rule]], compile_regex: CompileRegex) -> None:
        by_path: dict[PathKind, defaultdict[str, list[_Rule]]] = {kind: defaultdict(list) for kind in PathKind}
        for match, rule in rules:
            by_path[match.path.kind][match.path.value].append(rule)
        self._exact = {path: _takers(_ranked(found)) for path, found in by_path[PathKind.EXACT].items()}
        regexes = [
            (rule, compile_regex(pattern)) for pattern, found in by_path[PathKind.REGEX].items() for rule in found
        ]
        self._regexes = tuple(sorted(regexes, key=lambda pair: pair[0].rank))
        self._depth = 0
        self._root = self._tree(by_path[PathKind.PREFIX])
        takers = _takers(self._root.rules)
        nothing_else = not (self._exact or self._regexes or self._depth)
        self._only = takers if nothing_else and isinstance(takers, Route) else None

    def _tree(self, prefixes: Mapping[str, list[_Rule]]) -> _Element:
        root = _Element(None)
        # Shorter prefixes first: an element's `next_shorter` is known once all above it are in the tree.
        for elements, found in sorted((_elements(prefix), found) for prefix, found in _merged(prefixes).items()):
            place = root
            for element in elements:
                if element not in place.below:
                    place.below[element] = _Element(place if place.rules else place.next_shorter)
                place = place.below[element]
            place.rules = _ranked(found)
            self._depth = max(self._depth, len(elements))
        return root

    def find(self, facts: RequestFacts) -> Route | None:
        if self._only is not None:
            return self._only
        path = facts.path
        takers = self._exact.get(path)
        if takers is not None:
            if isinstance(takers, Route):
                return takers
            for rule in takers:
                if rule.unconditional or rule.takes(facts):
                    return rule.route
        for rule, full_match in self._regexes:
            if full_match(path) and rule.takes(facts):
                return rule.route
        place: _Element | None = self._root
        if self._depth:
            place = self._deepest(path)
        while place is not None:
            for rule in place.rules:
                if rule.unconditional or rule.takes(facts):
                    return rule.route
            place = place.next_shorter
        return None

    def _deepest(self, path: str) -> _Element:
        place = self._root
        for element in path[1:].split("/", self._depth):
            below = place.below.get(element)
            if below is None:
                break
            place = below
        return place


class RoutingTable:
    """An immutable table of routes.

    Raises ValueError for two routes of one name, and whatever `compile_regex` and `compile_when` raise for what they
    refuse: routes are validated before they come here.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        compile_regex: CompileRegex,
        compile_when: CompileWhen = no_when,
        on_predicate_error: OnPredicateError | None = None,
    ) -> None:
        by_name: dict[str, Route] = {}
        by_host: defaultdict[str, list[tuple[Match, _Rule]]] = defaultdict(list)
        for route in routes:
            if route.name in by_name:
                raise ValueError(f"two routes are named {route.name!r}")
            by_name[route.name] = route
            when = None if route.when is None else _when(route, compile_when, on_predicate_error)
            rules = [(match, _Rule(route, match, when, compile_regex)) for match in route.matches]
            for hostname in route.hostnames or ("",):
                by_host[hostname].extend(rules)
        self.routes: Mapping[str, Route] = MappingProxyType(by_name)
        tables = {hostname: _Paths(rules, compile_regex) for hostname, rules in by_host.items()}
        self._any_host = tables.pop("", None)
        self._wildcards = {name[2:]: table for name, table in tables.items() if name.startswith("*.")}
        self._hosts = {name: table for name, table in tables.items() if not name.startswith("*.")}
        self._wildcard_labels = tuple(sorted({name.count(".") + 1 for name in self._wildcards}, reverse=True))

    def match(self, facts: RequestFacts) -> Route | None:
        """The route that takes a request, or None."""
        host = facts.host
        if host is not None:
            if host in self._hosts:
                found = self._hosts[host].find(facts)
                if found is not None:
                    return found
            if self._wildcards:
                found = self._match_wildcard(host, facts)
                if found is not None:
                    return found
        return self._any_host.find(facts) if self._any_host is not None else None

    def services(self) -> frozenset[str]:
        """The services that any route names."""
        return frozenset(backend.service for route in self.routes.values() for backend in route.backends)

    def _match_wildcard(self, host: str, facts: RequestFacts) -> Route | None:
        labels = host.rsplit(".", self._wildcard_labels[0])
        for count in self._wildcard_labels:
            suffix = ".".join(labels[-count:])
            if suffix in self._wildcards and len(host) > len(suffix) + 1:
                found = self._wildcards[suffix].find(facts)
                if found is not None:
                    return found
        return None


def _elements(prefix: str) -> list[str]:
    """`/orders/` and `/orders` are the same prefix (Gateway API, HTTPPathMatch)."""
    stripped = prefix.strip("/")
    return stripped.split("/") if stripped else []


def _merged(prefixes: Mapping[str, list[_Rule]]) -> Mapping[str, list[_Rule]]:
    merged: defaultdict[str, list[_Rule]] = defaultdict(list)
    for prefix, rules in prefixes.items():
        merged["/" + "/".join(_elements(prefix))].extend(rules)
    return merged


def _ranked(rules: Iterable[_Rule]) -> _Rules:
    return tuple(sorted(rules, key=lambda rule: rule.rank))


def _takers(rules: _Rules) -> _Takers:
    return rules[0].route if rules and rules[0].unconditional else rules


def _when(route: Route, compile_when: CompileWhen, on_error: OnPredicateError | None) -> _When:
    """A predicate that fails does not hold: it must not send a request where it was not meant to go."""
    assert route.when is not None
    holds, name = compile_when(route.when).holds, route.name

    def when(facts: RequestFacts) -> bool:
        try:
            return holds(facts)
        except PredicateError:
            if on_error is not None:
                on_error(name)
            return False

    return when


def _named_tests(matches: Iterable[ValueMatch], compile_regex: CompileRegex) -> tuple[_NamedTest, ...]:
    return tuple((match.name, _value_test(match, compile_regex)) for match in matches)


def _value_test(match: ValueMatch, compile_regex: CompileRegex) -> _ValueTest:
    """A header or parameter given several times matches if any of its values does."""
    if match.kind is ValueKind.PRESENT:
        return bool
    if match.kind is ValueKind.EXACT:
        expected = match.value
        return lambda values: expected in values
    full_match = compile_regex(match.value)
    return lambda values: any(full_match(value) for value in values)
