"""The same requests through the prompt path, the waiting path and the version before: what client and instance saw.

What the version before made of them is a recording; `tests.differential.record` makes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from gateway.core.model import Route, ServicePolicy
from gateway.discovery.documents import parse_policy, parse_route
from tests.differential.cases import CASES
from tests.differential.driver import SETTINGS, TRUSTED, ScriptedInstance, run
from tests.differential.intended import INTENDED, WAITING, Intended
from tests.differential.recording import SERVED_BY, load
from tests.differential.routes import POLICY, ROUTES, SERVICE
from tests.differential.seen import Seen, differences
from tests.support.proxies import OPTIONS, running_proxy

BEFORE = load()
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


async def test_the_prompt_path() -> None:
    _differs_as_intended(await _seen(prompt=True), INTENDED)


async def test_the_waiting_path() -> None:
    _differs_as_intended(await _seen(prompt=False), (*INTENDED, *WAITING))


def test_the_recording_is_of_these_cases() -> None:
    assert BEFORE.served_by == SERVED_BY, "routes or settings have changed: record the version before anew"
    stale = {name for name, case in CASES.items() if BEFORE.digests.get(name) != case.digest}
    assert not stale, "record the version before anew"
    assert BEFORE.digests.keys() == CASES.keys(), "record the version before anew"


@pytest.mark.parametrize("intended", [*INTENDED, *WAITING], ids=lambda intended: intended.why[:60])
def test_users_were_told(intended: Intended) -> None:
    assert intended.rule or intended.changelog
    assert intended.changelog in CHANGELOG.read_text()


async def _seen(*, prompt: bool) -> dict[str, Seen]:
    options = replace(
        OPTIONS,
        prompt=prompt,
        trusted_hops=(IPv4Network(f"{TRUSTED}/32"),),
        head_timeout=SETTINGS["head_timeout"],
        body_grace=SETTINGS["body_grace"],
        keep_alive=SETTINGS["keep_alive"],
    )
    instance = ScriptedInstance()
    async with (
        instance.upstream,
        running_proxy(instance.upstream, route=_routes(), policy=_policy(), options=options) as proxy,
    ):
        return {name: await run(case, proxy.port, instance) for name, case in CASES.items()}


def _routes() -> list[Route]:
    routes = [parse_route(name, json.dumps(document).encode(), 1) for name, document in ROUTES.items()]
    accepted = [route for route in routes if isinstance(route, Route)]
    assert accepted == routes
    return accepted


def _policy() -> ServicePolicy:
    policy = parse_policy(SERVICE, json.dumps(POLICY).encode(), 1)
    assert isinstance(policy, ServicePolicy)
    return policy


def _differs_as_intended(now: dict[str, Seen], intended: Iterable[Intended]) -> None:
    found = {name: sorted(differences(BEFORE.seen[name], now[name])) for name in CASES}
    wanted: dict[str, Sequence[str]] = dict.fromkeys(CASES, ())
    for each in intended:
        for name, lines in each.cases.items():
            wanted[name] = sorted([*wanted[name], *lines])
    unlike = {name: (lines, wanted[name]) for name, lines in found.items() if lines != list(wanted[name])}
    assert not unlike, "\n".join(
        f"{name}\n  differs in: {lines}\n  intended is: {listed}" for name, (lines, listed) in unlike.items()
    )
