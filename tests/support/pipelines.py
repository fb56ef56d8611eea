"""The stages that a gateway has, without key sets by URL: what needs those runs a whole gateway."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from gateway.core.authentication import External
from gateway.core.model import Shadow
from gateway.core.sticky import tagger
from gateway.discovery.predicates import compile_require
from gateway.discovery.regex import compile_groups
from gateway.pipeline.authentication import AskFailed, Authenticators, LoadFailed, Time
from gateway.pipeline.authentication.external import Said
from gateway.pipeline.authorisation import Authorisation
from gateway.pipeline.rate_limits import RateLimits
from gateway.pipeline.shadow import Shadowings
from gateway.pipeline.stage import Call, Pipelines
from gateway.pipeline.stages import makers
from gateway.pipeline.sticky_cookie import StickyCookies

TAG = tagger(b"a key of 24 bytes or more")


def all_stages(clock: Callable[[], float], *, rate_keys: int = 1000, certificates: bool = False) -> Pipelines:
    times = Time(clock, time.time, asyncio.sleep, random.random)
    authenticators = Authenticators(_fetch_nothing, times, _ask_nobody, certificates=certificates)
    authorisation = Authorisation(compile_require, _told_nobody)
    rates, sticky = RateLimits(clock, rate_keys), StickyCookies(TAG)
    shadowings = Shadowings(random.random, _copy_nothing, lambda *_: None)
    return Pipelines(makers(authenticators, authorisation, rates, sticky, shadowings, compile_groups))


def _told_nobody(_: str) -> None:
    """Failures of predicates are counted by a whole gateway."""


def _copy_nothing(_: Shadow, __: Call, ___: bytes | None) -> None:
    """Copies are sent by a whole gateway."""


async def _ask_nobody(policy: External, _: Call) -> Said:
    raise AskFailed(f"{policy.service} is not asked")


async def _fetch_nothing(url: str, /, *, limit: int) -> bytes:
    raise LoadFailed(f"{url} with up to {limit} bytes")
