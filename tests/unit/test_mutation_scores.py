"""What `make mutation` makes of mutmut's findings: names of changes that last, and which of them lack a reason."""

from __future__ import annotations

from tests.mutation.run import FLOORS, ROOT, Change, Score, compared, described, listed

DIFF = """--- src/gateway/core/breaker.py
+++ src/gateway/core/breaker.py
@@ -3,5 +3,5 @@
     if permit.probe:
-        self.probes -= 1
+        self.probes -= 2
         return CircuitEvent.PROBE_FAILED"""

CHANGE = Change("breaker", "Circuit.fail", "self.probes -= 1 → self.probes -= 2")


def score(*survived: Change, mutants: int = 10) -> Score:
    return Score("breaker", mutants, mutants - len(survived), 0, survived, 1.0)


def test_a_change_is_told_by_its_function_and_text_not_by_its_number() -> None:
    assert described("gateway.core.breaker.xǁCircuitǁfail__mutmut_7", DIFF) == CHANGE
    assert described("gateway.core.balancer.x__points__mutmut_12", DIFF).function == "_points"


def test_a_survivor_needs_a_reason_and_a_reason_a_survivor() -> None:
    other = CHANGE._replace(function="Circuit.cancel")
    assert compared([score(CHANGE)], [CHANGE]) == ({}, {})
    assert compared([score(CHANGE)], [other]) == ({CHANGE: 1}, {other: 1})


def test_the_same_change_in_two_places_needs_two_reasons() -> None:
    assert compared([score(CHANGE, CHANGE)], [CHANGE]) == ({CHANGE: 1}, {})
    assert compared([score(CHANGE, CHANGE)], [CHANGE, CHANGE]) == ({}, {})


def test_reasons_of_modules_that_were_not_tried_are_left_alone() -> None:
    assert compared([score()], [CHANGE._replace(module="balancer")]) == ({}, {})


def test_a_module_below_its_floor_is_not_enough() -> None:
    assert score(CHANGE).enough
    assert not score(CHANGE, CHANGE).enough
    assert score(CHANGE, CHANGE)._replace(module="timers").enough


def test_listed_survivors_are_in_modules_that_exist() -> None:
    assert all((ROOT / "src/gateway/core" / f"{module}.py").is_file() for module in FLOORS)
    assert {change.module for change in listed()} <= set(FLOORS)
