"""When a missing entry is believed to be gone."""

from __future__ import annotations

import pytest

from gateway.core.model import Health, Instance, InstanceKey
from gateway.discovery.doubt import Doubt, Relapse, Sign, signs_of
from gateway.discovery.transport import Reply

ALL = frozenset({"a", "b", "c"})
NONE: frozenset[str] = frozenset()


@pytest.fixture
def doubt() -> Doubt[str]:
    return Doubt(grace=10)


def test_a_healthy_answer_is_believed_at_once(doubt: Doubt[str]) -> None:
    assert doubt.held(ALL, NONE, Sign.NONE, 0) == NONE
    assert doubt.remaining(0) is None


@pytest.mark.parametrize("sign", [Sign.RECONNECTED, Sign.RESET, Sign.LEADERLESS, Sign.OLD])
def test_emptiness_with_a_sign_is_held_for_the_grace(doubt: Doubt[str], sign: Sign) -> None:
    assert doubt.held(ALL, NONE, sign, 100) == ALL
    assert doubt.remaining(104) == 6
    assert doubt.held(ALL, NONE, Sign.NONE, 109.9) == ALL
    assert doubt.held(ALL, NONE, Sign.NONE, 110) == NONE
    assert doubt.remaining(110) is None


@pytest.mark.parametrize("sign", [Sign.RECONNECTED, Sign.LEADERLESS, Sign.OLD])
def test_an_answer_with_something_in_it_is_believed(doubt: Doubt[str], sign: Sign) -> None:
    assert doubt.held(ALL, frozenset({"a"}), sign, 0) == NONE
    assert doubt.held(frozenset({"a"}), NONE, Sign.NONE, 1) == NONE


def test_the_first_entry_that_is_back_ends_the_doubt_about_an_empty_answer(doubt: Doubt[str]) -> None:
    assert doubt.held(ALL, NONE, Sign.RECONNECTED, 0) == ALL
    assert doubt.held(ALL, frozenset({"b"}), Sign.NONE, 1) == NONE


def test_after_a_reset_each_entry_is_held_until_it_is_seen_again(doubt: Doubt[str]) -> None:
    assert doubt.held(ALL, frozenset({"a"}), Sign.RESET, 0) == {"b", "c"}
    assert doubt.held(ALL, frozenset({"a", "b"}), Sign.NONE, 1) == {"c"}
    assert doubt.held(ALL, frozenset({"a", "b"}), Sign.NONE, 10) == NONE


def test_what_was_seen_since_and_goes_is_gone(doubt: Doubt[str]) -> None:
    doubt.held(ALL, frozenset({"a", "b"}), Sign.RESET, 0)
    assert doubt.held(ALL, frozenset({"b"}), Sign.NONE, 1) == {"c"}


def test_a_doubt_is_over_when_everything_was_seen(doubt: Doubt[str]) -> None:
    assert doubt.held(ALL, ALL, Sign.RESET, 0) == NONE
    assert doubt.held(ALL, NONE, Sign.NONE, 1) == NONE


def test_nothing_to_lose_is_nothing_to_doubt(doubt: Doubt[str]) -> None:
    assert doubt.held(NONE, NONE, Sign.RECONNECTED | Sign.RESET, 0) == NONE
    assert doubt.remaining(0) is None


def test_a_second_doubt_has_its_own_grace(doubt: Doubt[str]) -> None:
    doubt.held(ALL, NONE, Sign.RECONNECTED, 0)
    doubt.held(ALL, NONE, Sign.NONE, 10)
    doubt.held(ALL, ALL, Sign.NONE, 20)
    assert doubt.held(ALL, NONE, Sign.RECONNECTED, 50) == ALL
    assert doubt.held(ALL, NONE, Sign.NONE, 59) == ALL


def test_signs_without_end_make_no_doubt_without_end(doubt: Doubt[str]) -> None:
    assert doubt.held(ALL, NONE, Sign.LEADERLESS, 0) == ALL
    assert doubt.held(ALL, NONE, Sign.LEADERLESS, 9) == ALL
    assert doubt.held(ALL, NONE, Sign.LEADERLESS, 10) == NONE
    assert doubt.held(ALL, NONE, Sign.LEADERLESS | Sign.RECONNECTED, 11) == NONE


def test_a_reset_behind_another_sign_grants_one_more_grace(doubt: Doubt[str]) -> None:
    assert doubt.held(ALL, NONE, Sign.RECONNECTED, 0) == ALL
    assert doubt.held(ALL, frozenset({"a"}), Sign.RESET, 6) == {"b", "c"}
    assert doubt.held(ALL, frozenset({"a"}), Sign.RESET, 15.9) == {"b", "c"}
    assert doubt.held(ALL, frozenset({"a"}), Sign.RESET, 16) == NONE


def test_what_was_seen_since_is_held_again_by_another_sign(doubt: Doubt[str]) -> None:
    """An agent that loses its data twice, or a server that lags and answers now and then."""
    assert doubt.held(ALL, NONE, Sign.RESET, 0) == ALL
    assert doubt.held(ALL, frozenset({"a", "b"}), Sign.NONE, 1) == {"c"}
    assert doubt.held(ALL, NONE, Sign.RESET, 5) == ALL
    assert doubt.remaining(5) == 5
    assert doubt.held(ALL, NONE, Sign.NONE, 10) == {"a", "b"}
    assert doubt.held(ALL, NONE, Sign.NONE, 15) == NONE


def test_emptiness_behind_a_reset_is_held_by_any_sign(doubt: Doubt[str]) -> None:
    assert doubt.held(ALL, frozenset({"a", "b"}), Sign.RESET, 0) == {"c"}
    assert doubt.held(ALL, NONE, Sign.RECONNECTED, 1) == ALL
    # the first one that is back vouches for those that were held for the emptiness alone
    assert doubt.held(ALL, frozenset({"a"}), Sign.NONE, 2) == {"c"}


def test_unknown_is_not_a_sign() -> None:
    """With streaming (Consul 1.10 and later) the headers are absent."""
    assert signs_of(Reply(b"")) is Sign.NONE
    assert signs_of(Reply(b"", known_leader=True, last_contact=0.1)) is Sign.NONE
    assert signs_of(Reply(b"", known_leader=False, last_contact=30)) == Sign.LEADERLESS | Sign.OLD


# --- critical by checks that have not run ----------------------------------------------------------------------------


def held(**health: Health) -> dict[InstanceKey, Instance]:
    keys = {name: InstanceKey("dc1", "n", name) for name in health}
    return {keys[name]: Instance(keys[name], "s", "10.0.0.1", 80, state) for name, state in health.items()}


def told(instances: dict[InstanceKey, Instance]) -> dict[str, Health]:
    return {key.service_id: instance.health for key, instance in instances.items()}


P, W, C = Health.PASSING, Health.WARNING, Health.CRITICAL


@pytest.fixture
def relapse() -> Relapse:
    return Relapse(grace=10)


def healed(
    relapse: Relapse,
    before: dict[InstanceKey, Instance],
    found: dict[InstanceKey, Instance],
    signs: Sign,
    now: float,
    otherwise: Health = P,
) -> dict[str, Health]:
    """All that is critical in `found` is so by checks that have not run."""
    unjudged = {key: otherwise for key, instance in found.items() if instance.health is C}
    return told(relapse.healed(before, found, unjudged, signs, now))


def test_without_a_sign_a_check_that_has_not_run_counts(relapse: Relapse) -> None:
    assert healed(relapse, held(a=P, b=P), held(a=C, b=C), Sign.NONE, 0) == {}


def test_behind_a_reconnect_instances_count_as_before(relapse: Relapse) -> None:
    assert healed(relapse, held(a=P, b=W), held(a=C, b=C), Sign.RECONNECTED, 0) == {"a": P, "b": W}


def test_a_check_that_did_run_counts(relapse: Relapse) -> None:
    assert relapse.healed(held(a=P), held(a=C), {}, Sign.RECONNECTED, 0) == {}


def test_one_after_the_other_as_an_agent_tells_it(relapse: Relapse) -> None:
    assert healed(relapse, held(a=P, b=P), held(a=P, b=P), Sign.RECONNECTED, 0) == {}
    assert healed(relapse, held(a=P, b=P), held(a=C, b=P), Sign.NONE, 1) == {"a": P}
    assert healed(relapse, held(a=P, b=P), held(a=C, b=C), Sign.NONE, 2) == {"a": P, "b": P}
    assert relapse.remaining(2) == 8
    assert healed(relapse, held(a=P, b=P), held(a=C, b=C), Sign.NONE, 10) == {}


def test_what_was_sick_or_unknown_before_stays_critical(relapse: Relapse) -> None:
    assert healed(relapse, held(a=P, b=C), held(a=C, b=C, c=C), Sign.RECONNECTED, 0) == {"a": P}


def test_what_the_other_checks_say_counts(relapse: Relapse) -> None:
    assert healed(relapse, held(a=P), held(a=C), Sign.RECONNECTED, 0, otherwise=W) == {"a": W}


def test_what_changed_besides_its_health_counts(relapse: Relapse) -> None:
    key = InstanceKey("dc1", "n", "a")
    moved = {key: Instance(key, "s", "10.0.0.2", 81, C)}
    (instance,) = relapse.healed(held(a=P), moved, {key: P}, Sign.RECONNECTED, 0).values()
    assert (instance.endpoint, instance.health) == (("10.0.0.2", 81), P)
