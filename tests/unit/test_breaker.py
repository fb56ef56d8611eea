"""The circuit: its table, the rules that trip it, its open times, its probes, and what the gateway does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.breaker import TRANSITIONS, Circuit, CircuitEvent, CircuitState, Permit, Window
from gateway.core.model import CircuitMode, CircuitPolicy
from tests.unit.core_support import ONE_STRIKE, no_jitter

IN_A_ROW = CircuitPolicy(consecutive_failures=3, failure_ratio=0.0)
BY_SHARE = CircuitPolicy(consecutive_failures=0, failure_ratio=0.5, min_requests=4, window=10.0)
ORDINARY = Permit(0, False)
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def half_open(probes: int = 1) -> tuple[Circuit, CircuitPolicy]:
    circuit, rules = Circuit(0.0), replace(ONE_STRIKE, half_open_probes=probes)
    circuit.apply(CircuitEvent.TRIP, rules, 0.0, no_jitter)
    circuit.apply(CircuitEvent.MATURE, rules, 10.0, no_jitter)
    return circuit, rules


# --- the table ---


@pytest.mark.parametrize("state", list(CircuitState))
@pytest.mark.parametrize("event", list(CircuitEvent))
def test_only_the_transitions_of_the_table_are_made(state: CircuitState, event: CircuitEvent) -> None:
    allowed = {
        (CLOSED, CircuitEvent.TRIP): OPEN,
        (OPEN, CircuitEvent.MATURE): HALF_OPEN,
        (HALF_OPEN, CircuitEvent.PROBES_PASSED): CLOSED,
        (HALF_OPEN, CircuitEvent.PROBE_FAILED): OPEN,
    }
    circuit = Circuit(0.0)
    circuit.state = state
    if (state, event) in allowed:
        circuit.apply(event, CircuitPolicy(), 1.0, no_jitter)
        assert circuit.state is allowed[state, event]
        assert circuit.epoch == 1
        assert circuit.since == 1.0
    else:
        with pytest.raises(KeyError):
            circuit.apply(event, CircuitPolicy(), 1.0, no_jitter)
        assert circuit.state is state
        assert circuit.epoch == 0


def test_every_state_can_be_left() -> None:
    assert set(TRANSITIONS) == set(CircuitState)
    assert all(TRANSITIONS[state] for state in CircuitState)


def test_a_new_circuit_has_a_clean_record() -> None:
    circuit = Circuit(7.0, 3)
    assert (circuit.state, circuit.since, circuit.epoch) == (CLOSED, 7.0, 3)
    assert (circuit.consecutive_failures, circuit.openings, circuit.open_until) == (0, 0, 0.0)
    assert (circuit.probes, circuit.probes_passed) == (0, 0)
    assert circuit.begin(CircuitPolicy()) == Permit(3, False)


# --- the rules ---


def test_failures_in_a_row_trip() -> None:
    circuit = Circuit(0.0)
    assert circuit.fail(ORDINARY, IN_A_ROW, 1.0) is None
    assert circuit.fail(ORDINARY, IN_A_ROW, 1.0) is None
    assert circuit.fail(ORDINARY, IN_A_ROW, 1.0) is CircuitEvent.TRIP


def test_a_success_ends_the_row() -> None:
    circuit = Circuit(0.0)
    for _ in range(10):
        assert circuit.fail(ORDINARY, IN_A_ROW, 1.0) is None
        assert circuit.fail(ORDINARY, IN_A_ROW, 1.0) is None
        assert circuit.succeed(ORDINARY, IN_A_ROW, 1.0) is None


def test_a_share_of_failures_trips_from_the_minimum_volume_on() -> None:
    circuit = Circuit(0.0)
    for failed in (True, False, True):
        event = (circuit.fail if failed else circuit.succeed)(ORDINARY, BY_SHARE, 1.0)
        assert event is None
    assert circuit.fail(ORDINARY, BY_SHARE, 1.0) is CircuitEvent.TRIP


def test_the_share_itself_trips() -> None:
    circuit = Circuit(0.0)
    events = [
        (circuit.fail if failed else circuit.succeed)(ORDINARY, BY_SHARE, 1.0) for failed in (False, True, False, True)
    ]
    assert events == [None, None, None, CircuitEvent.TRIP]


def test_a_share_below_the_ratio_does_not_trip() -> None:
    circuit = Circuit(0.0)
    for step in range(1, 300):
        event = (circuit.succeed if step % 3 else circuit.fail)(ORDINARY, BY_SHARE, step * 0.01)
        assert event is None


def test_what_left_the_window_does_not_count() -> None:
    circuit = Circuit(0.0)
    for _ in range(3):
        circuit.fail(ORDINARY, BY_SHARE, 0.5)
    assert circuit.fail(ORDINARY, BY_SHARE, 10.6) is None


def test_a_failure_that_was_held_from_opening_counts_in_the_window_too() -> None:
    circuit = Circuit(0.0)
    both = CircuitPolicy(consecutive_failures=1, failure_ratio=1.0, min_requests=2)
    assert circuit.fail(ORDINARY, both, 1.0) is CircuitEvent.TRIP
    assert circuit.fail(ORDINARY, replace(both, consecutive_failures=0), 1.0) is CircuitEvent.TRIP


def test_both_rules_off_never_trip() -> None:
    circuit = Circuit(0.0)
    never = CircuitPolicy(consecutive_failures=0, failure_ratio=0.0)
    assert not any(circuit.fail(ORDINARY, never, 1.0) for _ in range(1000))


@given(
    st.lists(st.tuples(st.floats(0.0, 7.0), st.booleans()), max_size=60),
    st.sampled_from((0.1, 1.0, 10.0, 60.0)),
)
def test_the_window_counts_its_last_ten_buckets(events: list[tuple[float, bool]], length: float) -> None:
    window, bucket, now = Window(length), length / 10, 500.0
    seen: list[tuple[int, bool]] = []
    for step, failed in events:
        now += step
        window.record(failed, now)
        seen.append((int(now / bucket), failed))
        inside = [each for when, each in seen if int(now / bucket) - when < 10]
        assert (window.total, window.failures) == (len(inside), sum(inside))


def test_a_new_window_length_begins_a_new_window() -> None:
    circuit = Circuit(0.0)
    for _ in range(3):
        circuit.fail(ORDINARY, BY_SHARE, 1.0)
    assert circuit.fail(ORDINARY, replace(BY_SHARE, window=20.0), 1.0) is None
    lower = replace(BY_SHARE, window=20.0, min_requests=2)
    assert circuit.fail(ORDINARY, lower, 1.0) is CircuitEvent.TRIP


# --- open times ---


def open_times(rules: CircuitPolicy, count: int, draw: Callable[[], float] = no_jitter) -> list[float]:
    """Of openings whose probe fails at once."""
    circuit, now = Circuit(0.0), 100.0
    circuit.apply(CircuitEvent.TRIP, rules, now, draw)
    times = [circuit.open_until - now]
    for _ in range(count - 1):
        now = circuit.open_until
        circuit.apply(CircuitEvent.MATURE, rules, now, draw)
        circuit.apply(CircuitEvent.PROBE_FAILED, rules, now, draw)
        times.append(circuit.open_until - now)
    return times


def test_open_time_doubles_up_to_its_cap() -> None:
    assert open_times(ONE_STRIKE, 6) == [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_open_time_does_not_overflow() -> None:
    assert open_times(ONE_STRIKE, 3000)[-1] == 60.0


def test_jitter_is_up_to_a_tenth() -> None:
    assert open_times(ONE_STRIKE, 2, lambda: 0.999) == pytest.approx([10.999, 21.998])


def test_tripping_again_soon_after_closing_doubles_on() -> None:
    circuit, rules = half_open()
    circuit.apply(CircuitEvent.PROBES_PASSED, rules, 10.0, no_jitter)
    circuit.apply(CircuitEvent.TRIP, rules, 19.9, no_jitter)
    assert circuit.open_until == 39.9
    assert circuit.openings == 2


def test_repeats_are_forgiven_after_as_long_closed_as_it_was_open() -> None:
    circuit, rules = half_open()
    circuit.apply(CircuitEvent.PROBES_PASSED, rules, 10.0, no_jitter)
    circuit.apply(CircuitEvent.TRIP, rules, 20.0, no_jitter)
    assert circuit.open_until == 30.0
    assert circuit.openings == 1


def test_forgiving_takes_at_least_one_window() -> None:
    circuit, _ = half_open()
    rules = replace(ONE_STRIKE, window=30.0)
    circuit.apply(CircuitEvent.PROBES_PASSED, rules, 10.0, no_jitter)
    circuit.apply(CircuitEvent.TRIP, rules, 39.0, no_jitter)
    assert circuit.openings == 2


# --- probes ---


def test_half_open_permits_as_many_probes_at_once_as_asked_for() -> None:
    circuit, rules = half_open(2)
    assert circuit.begin(rules) == Permit(2, True)
    assert circuit.permits(rules)
    assert circuit.begin(rules) == Permit(2, True)
    assert not circuit.permits(rules)


def test_probes_passed_close() -> None:
    circuit, rules = half_open(2)
    first, second = circuit.begin(rules), circuit.begin(rules)
    assert circuit.succeed(first, rules, 11.0) is None
    assert circuit.permits(rules)
    assert circuit.succeed(second, rules, 11.0) is CircuitEvent.PROBES_PASSED


def test_a_failed_probe_opens() -> None:
    circuit, rules = half_open(2)
    first, second = circuit.begin(rules), circuit.begin(rules)
    assert circuit.succeed(first, rules, 11.0) is None
    assert circuit.fail(second, rules, 11.0) is CircuitEvent.PROBE_FAILED


def test_a_cancelled_probe_frees_its_place_and_says_nothing() -> None:
    circuit, rules = half_open()
    permit = circuit.begin(rules)
    assert not circuit.permits(rules)
    circuit.cancel(permit)
    assert circuit.permits(rules)
    assert circuit.state is HALF_OPEN
    assert circuit.probes_passed == 0


@pytest.mark.parametrize("report", ["succeed", "fail", "cancel"])
def test_the_end_of_a_probe_frees_one_place(report: str) -> None:
    circuit, rules = half_open(3)
    ended, *_ = (circuit.begin(rules) for _ in range(3))
    if report == "cancel":
        circuit.cancel(ended)
    else:
        getattr(circuit, report)(ended, rules, 11.0)
    assert circuit.probes == 2
    assert circuit.begin(rules).probe
    assert not circuit.permits(rules)


def test_in_the_shadow_an_attempt_that_finds_no_place_for_a_probe_is_an_ordinary_one() -> None:
    circuit, enforced = half_open()
    shadow = replace(enforced, mode=CircuitMode.SHADOW)
    probe = circuit.begin(shadow)
    assert circuit.permits(shadow)
    assert circuit.begin(shadow) == Permit(2, False)
    assert circuit.succeed(probe, shadow, 11.0) is CircuitEvent.PROBES_PASSED


@pytest.mark.parametrize("report", ["succeed", "fail", "cancel"])
@pytest.mark.parametrize("probe", [False, True])
def test_results_of_an_older_epoch_are_dropped(report: str, probe: bool) -> None:
    circuit, rules = half_open()
    circuit.begin(rules)
    stale = Permit(0, probe)
    if report == "cancel":
        circuit.cancel(stale)
    else:
        assert getattr(circuit, report)(stale, rules, 11.0) is None
    assert (circuit.state, circuit.probes, circuit.probes_passed, circuit.consecutive_failures) == (HALF_OPEN, 1, 0, 0)


def test_closing_begins_with_a_clean_record() -> None:
    circuit, rules = half_open()
    both = replace(rules, consecutive_failures=3, failure_ratio=0.5, min_requests=2)
    permit = circuit.begin(both)
    assert circuit.succeed(permit, both, 11.0) is CircuitEvent.PROBES_PASSED
    circuit.apply(CircuitEvent.PROBES_PASSED, both, 11.0, no_jitter)
    assert circuit.consecutive_failures == 0
    ordinary = circuit.begin(both)
    assert ordinary == Permit(3, False)
    assert circuit.fail(ordinary, both, 11.0) is None
    assert circuit.consecutive_failures == 1


def test_an_open_circuit_tells_how_many_failures_in_a_row_opened_it() -> None:
    circuit = Circuit(0.0)
    for _ in range(3):
        circuit.fail(ORDINARY, IN_A_ROW, 1.0)
    circuit.apply(CircuitEvent.TRIP, IN_A_ROW, 1.0, no_jitter)
    assert circuit.consecutive_failures == 3
    circuit.apply(CircuitEvent.MATURE, IN_A_ROW, 11.0, no_jitter)
    assert circuit.consecutive_failures == 3
    circuit.apply(CircuitEvent.PROBES_PASSED, IN_A_ROW, 12.0, no_jitter)
    assert circuit.consecutive_failures == 0
