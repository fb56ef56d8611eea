"""The corpus of bad responses against the gateway: what the client gets, heard by two parsers, and what comes after."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.core.model import RetryPolicy
from tests.corpus.answers import BAD_GATEWAY, CASES, CUT_OFF, Answer
from tests.support.proxies import DEFAULT_ROUTE, RunningProxy, running_proxy
from tests.support.second_opinion import responses
from tests.support.upstreams import Exchange, ScriptedUpstream, answer_ok, request

ALL = {f"{kind}: {answer.name}": answer for kind, answers in CASES.items() for answer in answers}
ONCE = replace(DEFAULT_ROUTE, retry=RetryPolicy(attempts=1))


@pytest.mark.parametrize("answer", ALL.values(), ids=ALL)
async def test_what_the_client_gets(answer: Answer) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target != "/bad":
            await answer_ok(exchange)
            return
        await exchange.say(answer.said)
        exchange.close()

    async with ScriptedUpstream(script) as upstream, running_proxy(upstream, route=ONCE) as proxy:
        data = await _heard(proxy, answer.method)
        expected = answer.comes_to
        if expected == CUT_OFF:
            assert responses(data, [answer.method], closed=False).unfinished
        else:
            (message,) = responses(data, [answer.method], closed=True).messages
            if isinstance(expected, str):
                assert message.start == BAD_GATEWAY
            else:
                assert (message.start, message.body) == (str(expected[0]), expected[1])
        # Whatever it said too much belongs to nobody.
        for _ in range(2):
            response = await proxy.ask()
            assert (response.status, response.body) == (200, b"ok")


async def _heard(proxy: RunningProxy, method: str) -> bytes:
    data = b""
    async with await proxy.connect() as client:
        await client.say(request("/bad", "Connection: close", method=method))
        try:
            async with asyncio.timeout(5):
                while piece := await client.reader.read(65536):
                    data += piece
        except ConnectionError:
            pass
    return data
