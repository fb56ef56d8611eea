"""The circuit: its table, the rules that trip it, its open times, its probes, and what the gateway does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.breaker import TRANSITIONS, Circuit, CircuitEvent, CircuitState, Permit, Window
from gateway.core.model import CircuitMode, CircuitPolicy, FailureKind, Limits, Reason, RetryPolicy
from gateway.core.tickets import Attempt, Broken, Deliver, Reject, Send
from tests.unit.core_support import Shell, instance, name_of, policy, route, sick

IN_A_ROW = CircuitPolicy(consecutive_failures=3, failure_ratio=0.0)
BY_SHARE = CircuitPolicy(consecutive_failures=0, failure_ratio=0.5, min_requests=4, window=10.0)
ONE_STRIKE = CircuitPolicy(consecutive_failures=1, failure_ratio=0.0, open_for=10.0, max_open_for=60.0)
ORDINARY = Permit(0, False)
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


def no_jitter() -> float:
    return 0.0


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
    assert circuit.fail(circuit.begin(both), both, 11.0) is None
    assert circuit.consecutive_failures == 1


# --- in the gateway ---


@pytest.fixture
def shell() -> Shell:
    shell = Shell(draw=no_jitter)
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(circuit=ONE_STRIKE))
    return shell


def on(shell: Shell, name: str) -> Attempt:
    """An attempt on that instance; what goes elsewhere before is answered."""
    for _ in range(20):
        attempt = shell.send(route())
        if name_of(attempt) == name:
            return attempt
        shell.answer(attempt)
    raise AssertionError(f"{name} was not picked")


def test_an_open_circuit_is_not_picked_until_its_time_is_over(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    assert shell.states() == {"a": "open", "b": "closed"}
    assert shell.shares(route(), 20) == {"b": 20}
    shell.wait(9.999)
    assert shell.states()["a"] == "open"
    shell.wait(0.001)
    assert shell.states()["a"] == "half_open"
    shell.answer(on(shell, "a"))
    assert shell.states()["a"] == "closed"
    assert shell.shares(route(), 20) == {"a": 10, "b": 10}


def test_changes_are_told(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.answer(on(shell, "a"))
    told = [(change.key.service_id, change.event, change.before, change.after) for change in shell.changes]
    assert told == [
        ("a", CircuitEvent.TRIP, CLOSED, OPEN),
        ("a", CircuitEvent.MATURE, OPEN, HALF_OPEN),
        ("a", CircuitEvent.PROBES_PASSED, HALF_OPEN, CLOSED),
    ]
    assert [change.now for change in shell.changes] == [100.0, 110.0, 110.0]


def test_probes_are_bounded_under_concurrency(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, half_open_probes=2)))
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    flying = [shell.send(route()) for _ in range(30)]
    assert [name_of(each) for each in flying].count("a") == 2
    assert sum(each.permit.probe for each in flying) == 2


def test_a_probe_is_judged_at_its_head(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    assert isinstance(shell.head(probe), Deliver)
    assert shell.states()["a"] == "closed"
    shell.wait(1000.0)
    assert shell.states()["a"] == "closed"
    shell.end(probe)


def test_a_failing_probe_opens_for_twice_as_long(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    assert isinstance(shell.head(on(shell, "a"), 503, replayable=False), Deliver)
    assert shell.states()["a"] == "open"
    assert shell.circuit("a").open_until == shell.now + 20.0


def test_a_probe_without_a_head_is_judged_failed_after_open_for(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.wait(9.999)
    assert shell.states()["a"] == "half_open"
    shell.wait(0.001)
    assert shell.states()["a"] == "open"
    assert shell.circuit("a").openings == 2
    assert isinstance(shell.head(probe), Deliver)
    assert shell.states()["a"] == "open"
    shell.end(probe)
    assert shell.circuit("a").in_flight == 0


@pytest.mark.parametrize("ending", ["abandon", "reject"])
def test_a_probe_whose_ticket_ends_otherwise_frees_its_place(shell: Shell, ending: str) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    assert shell.shares(route(), 6) == {"b": 6}
    if ending == "abandon":
        shell.abandon(probe.ticket)
    else:
        shell.reject(probe.ticket, Reason.REQUEST_TIMEOUT)
    assert shell.states()["a"] == "half_open"
    shell.answer(on(shell, "a"))
    assert shell.states()["a"] == "closed"
    shell.wait(100.0)
    assert shell.states()["a"] == "closed"


def test_a_stale_connection_says_nothing_about_a_probe(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.answer(shell.retried(probe, FailureKind.STALE_CONNECTION))
    assert shell.states()["a"] == "half_open"
    shell.answer(on(shell, "a"))
    assert shell.states()["a"] == "closed"


def test_a_freed_probe_place_lets_a_waiting_ticket_go() -> None:
    shell = Shell(draw=no_jitter)
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(circuit=ONE_STRIKE, cap=1))
    patient = route(limits=Limits(queue_timeout=100.0))
    flying = {name_of(each): each for each in (shell.send(patient) for _ in range(2))}
    shell.fail(flying["a"])
    waiting = shell.queued(patient)
    shell.wait(10.0)
    probe = shell.woken_attempt(waiting)
    assert name_of(probe) == "a"
    second = shell.queued(patient)
    shell.abandon(probe.ticket)
    assert name_of(shell.woken_attempt(second)) == "a"


def test_a_passed_probe_makes_room_for_the_next_one() -> None:
    shell = Shell(draw=no_jitter)
    shell.view(instance("a"))
    shell.policies(policy(circuit=replace(ONE_STRIKE, half_open_probes=2)))
    shell.fail(shell.send(route()))
    shell.wait(10.0)
    first, _ = shell.send(route()), shell.send(route())
    assert shell.refused(route()).reason is Reason.CIRCUIT_OPEN
    shell.head(first)
    assert shell.states()["a"] == "half_open"
    assert shell.send(route()).permit.probe


def test_requests_sent_before_it_opened_do_not_judge_a_probe(shell: Shell) -> None:
    old, oldest = on(shell, "a"), on(shell, "a")
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.answer(oldest)
    assert shell.states()["a"] == "half_open"
    shell.fail(old)
    assert shell.states()["a"] == "half_open"
    shell.head(probe)
    assert shell.states()["a"] == "closed"


def test_the_last_one_open_tells_when_to_come_back() -> None:
    shell = Shell(draw=no_jitter)
    shell.view(instance("a"), instance("b"))
    shell.policies(policy(circuit=ONE_STRIKE))
    shell.fail(on(shell, "a"))
    shell.wait(4.0)
    shell.fail(on(shell, "b"))
    refusal = shell.refused(route())
    assert (refusal.reason, refusal.status, refusal.retry_after) == (Reason.CIRCUIT_OPEN, 503, 6.0)


def test_when_to_come_back_looks_at_instances_of_the_backend_alone() -> None:
    shell = Shell(draw=no_jitter)
    critical = sick(instance("c"))
    shell.view(instance("a"), instance("c"))
    shell.policies(policy(circuit=ONE_STRIKE))
    shell.fail(on(shell, "c"))
    shell.wait(5.0)
    shell.view(instance("a"), critical)
    shell.fail(on(shell, "a"))
    assert shell.refused(route()).retry_after == 10.0


def test_what_a_client_does_is_no_failure(shell: Shell) -> None:
    for _ in range(10):
        shell.abandon(shell.send(route()).ticket)
        shell.reject(shell.send(route()).ticket, Reason.BODY_TOO_LARGE)
    assert shell.states() == {"a": "closed", "b": "closed"}


def test_which_statuses_are_failures_is_configured(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, failure_statuses=frozenset({500}))))
    shell.answer(on(shell, "a"), 503)
    assert shell.states()["a"] == "closed"
    shell.answer(on(shell, "a"), 500)
    assert shell.states()["a"] == "open"


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        (FailureKind.CONNECT_FAILURE, True),
        (FailureKind.TIMEOUT, True),
        (FailureKind.RESET, True),
        (FailureKind.STALE_CONNECTION, False),
    ],
)
def test_which_failures_count(shell: Shell, kind: FailureKind, counts: bool) -> None:
    assert isinstance(shell.fail(on(shell, "a"), kind), Reject)
    assert shell.states()["a"] == ("open" if counts else "closed")


def test_a_body_cut_short_counts_as_a_failure(shell: Shell) -> None:
    attempt = on(shell, "a")
    shell.head(attempt)
    assert isinstance(shell.fail(attempt, FailureKind.TRUNCATED), Broken)
    assert shell.states()["a"] == "open"


def test_a_failed_response_that_is_cut_short_fails_once() -> None:
    shell = Shell()
    shell.view(instance("a"))
    shell.policies(policy(circuit=replace(ONE_STRIKE, consecutive_failures=10)))
    attempt = shell.send(route())
    shell.head(attempt, 500, replayable=False)
    shell.fail(attempt, FailureKind.TRUNCATED)
    assert shell.circuit("a").consecutive_failures == 1


def test_a_tunnel_that_is_cut_counts_though_it_opened_well(shell: Shell) -> None:
    tunnel = on(shell, "a")
    shell.head(tunnel, 101)
    shell.fail(tunnel, FailureKind.TRUNCATED)
    assert shell.states()["a"] == "open"


def test_a_passed_probe_that_is_cut_short_counts_against_the_closed_circuit(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.head(probe)
    assert shell.states()["a"] == "closed"
    shell.fail(probe, FailureKind.TRUNCATED)
    assert shell.states()["a"] == "open"


def test_a_tunnel_of_an_older_epoch_that_is_cut_says_nothing(shell: Shell) -> None:
    """It went to what the instance was before it failed and came back."""
    tunnel = on(shell, "a")
    shell.head(tunnel, 101)
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.answer(on(shell, "a"))
    assert shell.states()["a"] == "closed"
    shell.fail(tunnel, FailureKind.TRUNCATED)
    assert shell.states()["a"] == "closed"


def test_a_tunnel_that_opened_in_a_later_epoch_than_it_was_sent_in_says_nothing(shell: Shell) -> None:
    tunnel = on(shell, "a")
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.answer(on(shell, "a"))
    shell.head(tunnel, 101)
    shell.fail(tunnel, FailureKind.TRUNCATED)
    assert shell.states()["a"] == "closed"


def test_a_tunnel_does_not_hold_its_judgement(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, consecutive_failures=2)))
    shell.fail(on(shell, "a"))
    shell.head(on(shell, "a"), 101)
    assert shell.circuit("a").consecutive_failures == 0


def test_an_answer_is_judged_when_it_has_ended(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, consecutive_failures=2)))
    shell.fail(on(shell, "a"))
    attempt = on(shell, "a")
    shell.head(attempt)
    assert shell.circuit("a").consecutive_failures == 1
    shell.end(attempt)
    assert shell.circuit("a").consecutive_failures == 0


# --- modes ---


def test_shadow_runs_and_reports_and_permits(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, mode=CircuitMode.SHADOW)))
    shell.fail(on(shell, "a"))
    assert shell.states()["a"] == "open"
    assert shell.shares(route(), 20) == {"a": 10, "b": 10}
    shell.wait(10.0)
    assert shell.states()["a"] == "half_open"
    assert shell.shares(route(), 20) == {"a": 10, "b": 10}
    assert shell.states()["a"] == "closed"
    assert [change.mode for change in shell.changes] == [CircuitMode.SHADOW] * 3


def test_shadow_picks_as_if_there_were_no_circuit() -> None:
    """Slow start included: a circuit that would have closed does not make its instance cold."""
    seen = []
    for mode in (CircuitMode.SHADOW, CircuitMode.OFF):
        shell = Shell(draw=no_jitter)
        shell.view(instance("a"), instance("b", 2))
        shell.policies(policy(circuit=replace(ONE_STRIKE, mode=mode), slow_start=30.0))
        shell.wait(40.0)
        names = []
        for step in range(60):
            attempt = shell.send(route())
            names.append(name_of(attempt))
            if step % 7 == 0:
                shell.fail(attempt)
            else:
                shell.answer(attempt)
            shell.wait(1.0)
        seen.append(names)
    assert seen[0] == seen[1]


def test_off_counts_nothing(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, mode=CircuitMode.OFF)))
    for _ in range(50):
        shell.fail(shell.send(route()))
    assert shell.states() == {"a": "closed", "b": "closed"}
    assert not shell.changes


def test_enforcing_what_ran_in_the_shadow_takes_effect_at_once(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, mode=CircuitMode.SHADOW)))
    shell.fail(on(shell, "a"))
    shell.policies(policy(circuit=ONE_STRIKE))
    assert shell.shares(route(), 10) == {"b": 10}


def test_switching_off_permits_an_open_one_at_once(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.policies(policy(circuit=replace(ONE_STRIKE, mode=CircuitMode.OFF)))
    assert shell.shares(route(), 10) == {"a": 5, "b": 5}


def test_a_policy_edit_leaves_an_open_circuit_its_time(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    before = shell.circuit("a")
    shell.policies(policy(circuit=replace(ONE_STRIKE, open_for=1.0)))
    assert shell.circuit("a") == before
    shell.wait(10.0)
    assert shell.states()["a"] == "half_open"


def test_fewer_probes_asked_for_while_probing(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, half_open_probes=3)))
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.head(on(shell, "a"))
    assert shell.states()["a"] == "half_open"
    shell.policies(policy(circuit=ONE_STRIKE))
    shell.head(on(shell, "a"))
    assert shell.states()["a"] == "closed"


# --- max_open ---


@pytest.mark.parametrize(
    ("share", "instances", "opened"),
    [(1.0, 3, 3), (0.5, 3, 1), (0.5, 4, 2), (0.34, 3, 1), (0.33, 3, 0), (0.99, 1, 0), (0.0, 5, 0), (0.29, 100, 29)],
)
def test_max_open_is_a_share_rounded_down(share: float, instances: int, opened: int) -> None:
    shell = Shell(draw=no_jitter)
    shell.view(*[instance(f"i{number}") for number in range(instances)])
    shell.policies(policy(circuit=replace(ONE_STRIKE, max_open=share)))
    for attempt in [shell.send(route()) for _ in range(instances)]:
        shell.fail(attempt)
    assert list(shell.states().values()).count("open") == opened
    assert shell.core.counters.openings_held == instances - opened


def test_half_open_counts_as_open_for_max_open(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, max_open=0.5)))
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    shell.fail(on(shell, "b"))
    assert shell.states() == {"a": "half_open", "b": "closed"}


def test_what_was_held_trips_at_its_next_failure_once_there_is_room(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, consecutive_failures=3, max_open=0.5)))
    flying = [shell.send(route()) for _ in range(6)]
    for attempt in sorted(flying, key=name_of):
        shell.fail(attempt)
    assert shell.states() == {"a": "open", "b": "closed"}
    assert shell.circuit("b").consecutive_failures == 3
    shell.wait(10.0)
    shell.answer(on(shell, "a"))
    shell.fail(on(shell, "b"))
    assert shell.states() == {"a": "closed", "b": "open"}


# --- circuits and the world ---


def test_two_routes_to_one_service_share_circuits(shell: Shell) -> None:
    one, two = route("one"), route("two")
    shell.trip(one, "a")
    assert shell.shares(two, 10) == {"b": 10}


def test_circuits_survive_others_and_edits(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    before = shell.circuit("a")
    shell.view(instance("a"), instance("c"))
    shell.routes(route(version=2), route("new"))
    shell.view(instance("a"))
    shell.routes()
    shell.view(instance("a", 7, tags=["new"]), instance("b"))
    shell.view(sick(instance("a")), instance("b"))
    shell.view(instance("a"), instance("b"))
    assert shell.circuit("a") == before


def test_a_moved_endpoint_is_a_new_circuit(shell: Shell) -> None:
    shell.fail(on(shell, "a"))
    shell.view(instance("a", port=9), instance("b"))
    assert shell.circuit("a").state is CLOSED
    shell.wait(100.0)
    assert shell.circuit("a").state is CLOSED


@pytest.mark.parametrize("result", ["answer", "fail", "abandon", "late"])
def test_a_probe_whose_instance_was_deregistered_changes_nothing(shell: Shell, result: str) -> None:
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probe = on(shell, "a")
    shell.view(instance("b"))
    if result == "answer":
        shell.answer(probe)
    elif result == "fail":
        shell.fail(probe)
    elif result == "abandon":
        shell.abandon(probe.ticket)
    else:
        shell.wait(20.0)
        shell.answer(probe)
    assert shell.states() == {"b": "closed"}
    assert [change.event for change in shell.changes] == [CircuitEvent.TRIP, CircuitEvent.MATURE]


def test_a_probe_that_is_tried_again_elsewhere_was_judged_by_its_status(shell: Shell) -> None:
    shell.policies(policy(circuit=replace(ONE_STRIKE, failure_statuses=frozenset({500}))))
    shell.fail(on(shell, "a"))
    shell.wait(10.0)
    probing = route(retry=RetryPolicy(on_statuses=frozenset({429})))
    probe = next(attempt for attempt in [shell.send(probing) for _ in range(2)] if name_of(attempt) == "a")
    again = shell.head(probe, 429)
    assert isinstance(again, Send)
    assert shell.states()["a"] == "closed"
    assert shell.circuit("a").in_flight == 0
    shell.wait(60.0)
    assert shell.states()["a"] == "closed"
