"""W3C trace context: read strictly, bounded, and no stranger decides what we record."""

from __future__ import annotations

import re

import pytest

from gateway.telemetry.trace_context import STATE_LIMIT, TraceContext, new_span_id, trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def _read(*parents: str, states: tuple[str, ...] = (), trusted: bool = False, ratio: float = 0.0) -> TraceContext:
    return trace_context(parents, states, trusted=trusted, ratio=ratio)


def _state(*values: str) -> str:
    return _read(PARENT, states=values).state


def test_a_trace_is_continued() -> None:
    context = _read(PARENT)
    assert (context.trace_id, context.parent_id) == (TRACE, SPAN)
    assert context.span_id != SPAN


def test_without_one_a_trace_begins() -> None:
    first, second = _read(), _read()
    assert re.fullmatch(r"[0-9a-f]{32}", first.trace_id)
    assert re.fullmatch(r"[0-9a-f]{16}", first.span_id)
    assert first.parent_id is None
    assert first.trace_id != second.trace_id


@pytest.mark.parametrize(
    "parents",
    [
        ("",),
        (f"ff-{TRACE}-{SPAN}-01",),
        (f"00-{'0' * 32}-{SPAN}-01",),
        (f"00-{TRACE}-{'0' * 16}-01",),
        (f"00-{TRACE.upper()}-{SPAN}-01",),
        (f"00-{TRACE}-{SPAN.upper()}-01",),
        (f"0-{TRACE}-{SPAN}-01",),
        (f"00-{TRACE[1:]}-{SPAN}-01",),
        (f"00-{TRACE}-{SPAN}0-01",),
        (f"00-{TRACE}-{SPAN}-1",),
        (f"00-{TRACE}-{SPAN}-0x",),
        (f"00-{TRACE}-{SPAN}",),
        (f"00_{TRACE}_{SPAN}_01",),
        (f"00-{TRACE}-{SPAN}-01-more",),
        (f"01-{TRACE}-{SPAN}-01more",),
        (f" {PARENT}",),
        (f"{PARENT}\n",),
        (f"{PARENT}, {PARENT}",),
        (PARENT, PARENT),
        (f"00-{TRACE[:-1]}\u0661-{SPAN}-01",),
    ],
)
def test_an_invalid_one_is_replaced_and_its_state_with_it(parents: tuple[str, ...]) -> None:
    context = _read(*parents, states=("a=1",), trusted=True, ratio=0.0)
    assert context.trace_id != TRACE
    assert (context.parent_id, context.sampled, context.state) == (None, False, "")


@pytest.mark.parametrize("parent", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-03-what-may-come"])
def test_of_a_later_version_what_we_know_is_read(parent: str) -> None:
    context = _read(parent, trusted=True)
    assert (context.trace_id, context.parent_id, context.sampled) == (TRACE, SPAN, True)
    assert context.fields(SPAN) == [("traceparent", PARENT)]


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_a_trusted_hop_decides_what_is_recorded(flags: str, sampled: bool) -> None:
    for ratio in (0.0, 1.0):
        assert _read(f"00-{TRACE}-{SPAN}-{flags}", trusted=True, ratio=ratio).sampled is sampled


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_stranger_does_not(flags: str) -> None:
    for ratio in (0.0, 1.0):
        assert _read(f"00-{TRACE}-{SPAN}-{flags}", ratio=ratio).sampled is bool(ratio)


def test_the_share_is_that_of_the_ratio_whatever_id_a_stranger_chose() -> None:
    sampled = sum(_read(PARENT, ratio=0.1).sampled for _ in range(5000))
    assert 350 < sampled < 650


def test_each_attempt_sends_its_own_span() -> None:
    context = _read(PARENT, states=("a=1",), trusted=True)
    spans = [new_span_id(), new_span_id()]
    sent = [dict(context.fields(span)) for span in spans]
    assert [fields["traceparent"] for fields in sent] == [f"00-{TRACE}-{span}-01" for span in spans]
    assert [fields["tracestate"] for fields in sent] == ["a=1", "a=1"]
    assert dict(_read(PARENT).fields(SPAN)) == {"traceparent": f"00-{TRACE}-{SPAN}-00"}


def test_members_of_the_state_go_on_in_their_order() -> None:
    assert (
        _state("rojo=00f067,congo=t61 x", " \t4tenant@vendor=a*b , ,e-_*/=1")
        == "rojo=00f067,congo=t61 x,4tenant@vendor=a*b,e-_*/=1"
    )


@pytest.mark.parametrize(
    "state",
    ["a", "=1", "a=", "A=1", "a=1=2", "a=\x01", "a=é", "1a=1", "a@1b=1", f"{'a' * 257}=1", f"a={'1' * 257}", "a=1,a=2"],
)
def test_a_malformed_state_is_left_out_as_a_whole(state: str) -> None:
    assert _state("z=1", state) == ""


def test_the_state_is_bounded_in_members() -> None:
    members = [f"k{number}=1" for number in range(33)]
    assert _state(",".join(members[:32])) == ",".join(members[:32])
    assert _state(",".join(members)) == ""


def test_the_state_is_bounded_in_size_and_long_members_go_first() -> None:
    long, short = f"long={'x' * 200}", [f"k{number}={'y' * 40}" for number in range(8)]
    assert _state(",".join([long, *short])) == ",".join(short)
    many = [f"k{number:02}={'y' * 26}" for number in range(30)]
    kept = _state(",".join(many))
    assert kept == ",".join(many[: len(kept.split(","))])
    assert STATE_LIMIT - 31 < len(kept) <= STATE_LIMIT
