"""What the tracing hook costs a request in the core: off, and on with each of its listeners.

    python -m benchmarks.tracing [ROUNDS]

The yardstick is the same core with the hook cut out of its source. A second copy of that shows what is noise. All
variants take turns in each round, and each ratio is of one round, so that a machine that speeds up or slows down
harms none of them; printed are the median, the quartiles, and the ratio of the best times of all. Time is CPU time,
the journal's thread included. All variants are interpreted.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from multidict import CIMultiDict

import gateway.core
from gateway.build import COMPILED
from gateway.discovery.regex import compile_full_match
from gateway.journal import checkpoint
from gateway.journal.monitor import Monitor
from gateway.journal.stream import EventStream
from gateway.journal.writer import Journal

REQUESTS = 1000
ROUNDS = 201
IN_FLIGHT = 3
TURN = 100
"""Requests between two turns of the event loop, in which the journal hands over what it has."""
SERVICE = "orders"

_CORE = Path(gateway.core.__path__[0])
_NAME = "gateway.core"


class _Mover(ast.NodeTransformer):
    """Has a module import modules of its own package."""

    def __init__(self, package: str) -> None:
        self._package = package
        self.cuts = 0

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module is not None and f"{node.module}.".startswith(f"{_NAME}."):
            node.module = self._package + node.module.removeprefix(_NAME)
        return node


class _Cutter(_Mover):
    """Takes the hook out of it besides."""

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        match node.test:
            case ast.Compare(
                left=ast.Name("recorder") | ast.Attribute(attr="_recorder"),
                ops=[ast.IsNot()],
                comparators=[ast.Constant(None)],
            ) if not node.orelse:
                self.cuts += 1
                return ast.Pass()
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        match node:
            case ast.Assign(targets=[ast.Name("recorder")], value=ast.Attribute(attr="_recorder")):
                self.cuts += 1
                return ast.Pass()
        return node


class _Copy(MetaPathFinder, Loader):
    """The core as a package of another name.

    Even the core as it is has to be a copy to be measured with its hook off: the interpreter adapts code to what it
    meets, and would meet the recorder in the modules that others run with the hook on.
    """

    def __init__(self, package: str, kind: type[_Mover]) -> None:
        self._package = package
        self._kind = kind
        self.cuts = 0
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if name != self._package and not name.startswith(f"{self._package}."):
            return None
        return ModuleSpec(name, self, is_package=self._place(name).is_dir())

    def _place(self, name: str) -> Path:
        return _CORE.joinpath(*name.removeprefix(self._package).split("."))

    def exec_module(self, module: ModuleType) -> None:
        place = self._place(module.__name__)
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        mover = self._kind(self._package)
        tree = ast.fix_missing_locations(mover.visit(ast.parse(path.read_text(encoding="utf-8"))))
        self.cuts += mover.cuts
        exec(compile(tree, str(path), "exec"), vars(module))


class Workload:
    """Requests through one core, a few in flight all the time: three instances, smooth weighted round robin."""

    def __init__(self, package: str, trace: Callable[[Any], None] | None = None) -> None:
        model = importlib.import_module(f"{package}.model")
        self._tickets = importlib.import_module(f"{package}.tickets")
        facts = importlib.import_module(f"{package}.facts")
        self.core = importlib.import_module(f"{package}.gateway").Gateway(
            compile_full_match, random.Random(7).random, trace=trace
        )
        self._route = model.Route("r", 1, (model.Backend(SERVICE),))
        headers: CIMultiDict[str] = CIMultiDict()
        self._requests = [facts.RequestFacts("GET", "x", "/", "", headers, "192.0.2.1") for _ in range(REQUESTS)]
        self._instances = [
            model.Instance(
                model.InstanceKey("dc1", "n1", f"i{n}"), SERVICE, "127.0.0.1", 1024 + n, weight_passing=1 + n
            )
            for n in range(3)
        ]

    def begin(self) -> None:
        self.core.apply_routes([self._route], 0.0)
        self.core.apply_view(SERVICE, self._instances, 0.0)

    async def measure(self) -> float:
        """Seconds of CPU time for all the requests."""
        gc.collect()
        started = time.process_time()
        for start in range(0, REQUESTS, TURN):
            self._turn(self._requests[start : start + TURN])
            await asyncio.sleep(0)
        return time.process_time() - started

    def _turn(self, requests: Sequence[object]) -> None:
        route_request, process_response = self.core.route_request, self.core.process_response
        head, end, route = self._tickets.Head(200, True), self._tickets.End(), self._route
        flying: list[Any] = []
        for request in requests:
            if len(flying) == IN_FLIGHT:
                attempt = flying.pop(0)
                process_response(attempt, head, 1.0)
                process_response(attempt, end, 1.0)
            flying.append(route_request(route, request, 1.0).attempt)
        for attempt in flying:
            process_response(attempt, head, 1.0)
            process_response(attempt, end, 1.0)


def _copied(package: str, kind: type[_Mover]) -> Workload:
    copy = _Copy(package, kind)
    made = Workload(package)
    assert kind is _Mover or copy.cuts > 20, f"only {copy.cuts} places of the hook were found"
    return made


def _nobody(_: object) -> None:
    """Listens and does nothing."""


def _violated(violation: object) -> None:
    raise AssertionError(violation)


async def _measure(rounds: int, directory: Path) -> Mapping[str, Sequence[float]]:
    journal = Journal(directory / "journal", segment=16 << 20, kept=2)
    kept = Workload(_NAME, EventStream([journal]))
    journal.begin(lambda: checkpoint.take(kept.core))
    variants = {
        "cut out": _copied("core_without_hook", _Cutter),
        "cut out, a second copy": _copied("core_without_hook_again", _Cutter),
        "off": _copied("core_with_hook", _Mover),
        "on, nobody listens": Workload(_NAME, _nobody),
        "on, monitor": Workload(_NAME, EventStream([Monitor(_violated)])),
        "on, journal": kept,
    }
    names = list(variants)
    found: dict[str, list[float]] = {name: [] for name in names}
    for variant in variants.values():
        variant.begin()
        await variant.measure()
    for number in range(rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            found[name].append(await variants[name].measure())
    await journal.close()
    assert not journal.dropped
    return found


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as directory:
        found = asyncio.run(_measure(max(rounds, 3), Path(directory)))
    yardstick = found["cut out"]
    cost = min(yardstick) / REQUESTS * 1e6
    print(f"a request costs the core without the hook {cost:.2f} us of CPU time; {len(yardstick)} rounds")
    for name, times in found.items():
        if times is yardstick:
            continue
        ratios = [one / other for one, other in zip(times, yardstick, strict=True)]
        low, median, high = statistics.quantiles(ratios, n=4)
        best = min(times) / min(yardstick)
        print(f"ratio  {name:<24}{median:6.3f}   quartiles {low:.3f} to {high:.3f}   best times {best:.3f}")


if __name__ == "__main__":
    if COMPILED:
        # A copy is interpreted, and would be compared with what is not: begin again, from the sources.
        sources = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.tracing", *sys.argv[1:]], sources)
    main()
