"""What must hold whether the way of a request is compiled or not; `make test-compiled` runs these compiled."""

import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import HistogramDataPoint

from gateway.app.workers.channel import pickled
from gateway.core.breaker import Circuit
from gateway.core.model import Backend, Health, Instance, InstanceKey, Route, ServicePolicy
from gateway.core.tickets import Attempt, Ticket
from gateway.telemetry.counts import Counts
from tests.support import compiled

ROUTE = Route("orders", 1, (Backend("orders"),))
INSTANCE = Instance(InstanceKey("dc1", "n1", "orders-1"), "orders", "127.0.0.1", 9001, Health.PASSING)
VALUES = [ROUTE, INSTANCE, ServicePolicy("orders"), Backend("orders", 3)]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_go_from_process_to_process(value: object) -> None:
    come = pickle.loads(pickled(value))
    assert come == value
    assert hash(come) == hash(value)


def test_values_are_replaced_and_frozen() -> None:
    assert replace(ROUTE, name="other").backends is ROUTE.backends
    with pytest.raises(AttributeError):
        ROUTE.name = "other"  # type: ignore[misc]


def test_counts_go_from_process_to_process() -> None:
    counts = Counts()
    counts.request_ended("GET", "orders", 200, None, 0.01)
    counts.attempt_ended("orders", "reset", 0.01)
    come: Counts = pickle.loads(pickle.dumps(counts))
    assert come.failures == counts.failures
    (point,) = come.server.metric().data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert point.count == 1


@pytest.mark.parametrize("cls", [Attempt, Circuit, Ticket])
def test_parts_of_a_core_are_made_without_their_constructor(cls: type[object]) -> None:
    assert type(cls.__new__(cls)) is cls


ROOT = Path(compiled.__file__).parents[2]
RECORDER = """#!/bin/sh
case "$2" in
    tests.support.compiled) PYTHONPATH={root} exec {python} "$@" ;;
    *) echo "runs $2 from ${{PYTHONPATH:-its sources}}" ;;
esac
"""


@pytest.mark.parametrize(("build", "compiles"), [("auto", True), ("compiled", True), ("interpreted", False)])
def test_benchmarks_run_from_the_tree_only_where_it_is_wanted(tmp_path: Path, build: str, compiles: bool) -> None:
    """A checkout with a tree that is up to date, and make with a Python that only tells what it would run."""
    checkout, programs = tmp_path / "checkout", tmp_path / "programs"
    shutil.copytree(ROOT / "tests" / "support", checkout / "tests" / "support")
    for directory in (programs, checkout / "src", checkout / "benchmarks", checkout / "consul", checkout / ".compiled"):
        directory.mkdir()
    for name in ("Makefile", "hatch_build.py", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, checkout)
    (checkout / "benchmarks" / "one.py").touch()
    for path, text in ((programs / "python", RECORDER), (checkout / "consul" / "get-consul", "#!/bin/sh\n")):
        path.write_text(text.format(root=checkout, python=sys.executable))
        path.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MAKEFLAGS", "MAKELEVEL")}
    environment = {**kept, "GATEWAY_BUILD": build}
    script = "from tests.support.compiled import _digest; print(_digest(), end='')"
    digest = subprocess.run([sys.executable, "-c", script], cwd=checkout, check=True, capture_output=True)
    (checkout / ".compiled" / "made-from").write_bytes(digest.stdout)
    make = ["make", "--silent", "bench", f"BIN={programs}", "READY="]
    made = subprocess.run(make, cwd=checkout, env=environment, check=True, capture_output=True, text=True)
    told = checkout / ".compiled" if compiles else "its sources"
    assert made.stdout.splitlines() == ["== benchmarks/one.py", f"runs benchmarks.one from {told}"]


def test_a_tree_made_from_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_digest", lambda: "of other sources")
    compiled.environment.cache_clear()
    try:
        assert not compiled.environment()
    finally:
        compiled.environment.cache_clear()
