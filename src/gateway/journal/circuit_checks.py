"""What the monitor holds against circuits: whom they let pass, and what judging an attempt makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from gateway.core.events import Values
from gateway.core.model import CircuitMode, CircuitPolicy
from gateway.journal.account import Account, Member, Name, Ticket, name_of, shown, turn
from gateway.journal.properties import Property, Say

_TOLERANCE = 1e-9
_CONTRARY = {"end": "failed", "failure": "succeeded"}
"""By result, how it may not be judged; of a head, that is for its status to say."""
_AFTER = {"trip": "open", "probe_failed": "open", "probes_passed": "closed"}


class CircuitChecks:
    def __init__(self, account: Account, say: Say) -> None:
        self._account = account
        self._say = say

    def lets_pass(self, member: Member) -> bool:
        """Whether an attempt might begin there."""
        circuit, policy = member.circuit, self._policy(member.name)
        probes = circuit.state == "half_open" and len(circuit.probes) < policy.half_open_probes
        return circuit.state == "closed" or policy.mode is not CircuitMode.ENFORCE or probes

    def permits(self, ticket: Ticket, member: Member, probe: bool) -> None:
        """A ticket is about to begin an attempt there."""
        circuit, policy = member.circuit, self._policy(member.name)
        if policy.mode is CircuitMode.ENFORCE and (
            circuit.state == "open" or (circuit.state == "half_open" and not probe)
        ):
            self._say(
                Property.CIRCUIT_BREAKER_SAFETY,
                f"ticket {ticket.number} passes the {circuit.state} circuit of {shown(member.name)}",
            )
        if probe and (circuit.state != "half_open" or len(circuit.probes) >= policy.half_open_probes):
            self._say(
                Property.HALF_OPEN_BOUNDED,
                f"ticket {ticket.number} probes {shown(member.name)}, {circuit.state} with {len(circuit.probes)} "
                "probes out",
            )

    def answers(self, ticket: Ticket, inputs: Values, decision: Values) -> None:
        """What became of an attempt is told, with what its circuit made of it."""
        judged, result = decision["judged"], inputs["result"]
        spoke = ticket.speaks
        silent = (result == "head" and ticket.permit == "ordinary") or inputs.get("kind") == "stale_connection"
        if spoke and judged is None and not silent:
            self._say(
                Property.CIRCUIT_BREAKER_SAFETY,
                f"the circuit learns nothing of what became of ticket {ticket.number}, which counts",
            )
        if judged is not None and judged == _CONTRARY.get(str(result)):
            self._say(Property.VALID_CIRCUIT_TRANSITIONS, f"the {result} of ticket {ticket.number} counts as {judged}")
        self.judges(ticket, judged, decision["circuit"])
        if spoke and result == "head" and judged == "succeeded" and ticket.member is not None:
            ticket.permit, ticket.circuit = "ordinary", ticket.member.circuit

    def judges(self, ticket: Ticket, judged: object, event: object) -> None:
        member = ticket.member
        if member is None or judged is None or not ticket.speaks:
            if event is not None:
                self._say(
                    Property.VALID_CIRCUIT_TRANSITIONS,
                    f"ticket {ticket.number}, which says nothing any more, made a {event}",
                )
            return
        circuit, policy, failed = member.circuit, self._policy(member.name), judged == "failed"
        was_probe, ticket.permit = ticket.permit == "probe", "spent"
        circuit.probes.discard(ticket.number)
        off = failed and policy.mode is CircuitMode.OFF
        if was_probe and not off:
            self._judges_probe(member, failed, event, policy.half_open_probes)
        elif failed and circuit.state == "closed" and not off:
            circuit.failures += 1
            self._judges_failure(member, event, policy)
        else:
            if not failed:
                circuit.failures = 0
            if event is not None:
                self._invalid(member, f"of a request that {judged}", event)
        if event in _AFTER:
            turn(member, _AFTER[str(event)])

    def imposes(self, inputs: Values, decision: Values) -> None:
        """Other workers made something of a circuit. What is this worker's own may only be opened so."""
        key, state = cast(Sequence[str], inputs["key"]), str(inputs["state"])
        name = (str(inputs["service"]), "/".join(key))
        member = self._account.member(name)
        due = member is not None and (state == "open" or member.circuit.elsewhere)
        if due != decision["taken"]:
            self._say(
                Property.VALID_CIRCUIT_TRANSITIONS,
                f"that {shown(name)} be {state} was {'' if decision['taken'] else 'not '}taken from another worker",
            )
        if member is not None and decision["taken"]:
            turn(member, state)
            member.circuit.elsewhere = state == "open"
            if state == "half_open":
                member.circuit.passed = cast(int, inputs["probes_passed"])

    def matures(self, decision: Values) -> None:
        name = name_of(decision)
        member = self._account.member(name)
        if member is None or member.circuit.state != "open" or member.circuit.elsewhere:
            held = None if member is None else "another worker's" if member.circuit.elsewhere else member.circuit.state
            state = held or "missing"
            self._say(Property.VALID_CIRCUIT_TRANSITIONS, f"the circuit of {shown(name)} matured, but is {state}")
        if member is not None:
            turn(member, "half_open")

    def _judges_probe(self, member: Member, failed: bool, event: object, wanted: int) -> None:
        circuit = member.circuit
        circuit.passed += not failed
        due = "probe_failed" if failed else "probes_passed" if circuit.passed >= wanted else None
        if event != due or circuit.state != "half_open":
            self._invalid(member, f"of a probe that calls for {due}", event)

    def _judges_failure(self, member: Member, event: object, policy: CircuitPolicy) -> None:
        failures, where = member.circuit.failures, shown(member.name)
        due = 0 < policy.consecutive_failures <= failures
        members = self._account.members(member.name[0]).values()
        not_closed = sum(each.fit and each.circuit.state != "closed" for each in members)
        may_open = not_closed < int(policy.max_open * len(members) + _TOLERANCE)
        if event is None and due:
            self._unsafe(f"{where} failed {failures} times in a row and stays closed")
        if event == "held" and may_open:
            self._unsafe(f"{where} was held closed though max_open lets it open")
        if event == "trip" and not may_open:
            self._unsafe(f"{where} opened beyond max_open: {not_closed} were not closed")
        called_for = due or policy.failure_ratio > 0
        if event not in {None, "trip", "held"} or (event is not None and not called_for):
            self._invalid(member, f"of failure {failures} in a row", event)

    def _policy(self, name: Name) -> CircuitPolicy:
        return self._account.policy(name[0]).circuit

    def _unsafe(self, message: str) -> None:
        self._say(Property.CIRCUIT_BREAKER_SAFETY, message)

    def _invalid(self, member: Member, cause: str, event: object) -> None:
        state = member.circuit.state
        self._say(
            Property.VALID_CIRCUIT_TRANSITIONS, f"the {state} circuit of {shown(member.name)} made {event} {cause}"
        )
