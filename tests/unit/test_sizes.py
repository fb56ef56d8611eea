"""Sizes that a request's head tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.model import Limits, Reason
from gateway.pipeline.sizes import Sizes
from tests.unit.pipeline_support import ROUTE, answer_of, call


@pytest.mark.parametrize(
    ("limits", "head", "body", "reason"),
    [
        (Limits(header=100), 100, 10_000, None),
        (Limits(header=100), 101, 0, Reason.HEADERS_TOO_LARGE),
        (Limits(body=100), 10_000, 100, None),
        (Limits(body=100), 0, 101, Reason.BODY_TOO_LARGE),
    ],
)
def test_a_size_at_the_limit_passes_and_one_more_is_refused(
    limits: Limits, head: int, body: int, reason: Reason | None
) -> None:
    asked = call()
    asked.head_size, asked.body_length = head, body
    answer = answer_of(Sizes(limits), asked)
    assert (None if answer is None else answer.reason) is reason


def test_a_route_without_limits_of_size_has_no_stage() -> None:
    assert Sizes.of(ROUTE) is None
    assert Sizes.of(replace(ROUTE, limits=Limits(body=1))) is not None
    assert Sizes.of(replace(ROUTE, limits=Limits(header=1))) is not None
