"""The corpus of bad requests against the gateway: the answer, and byte for byte what reached an instance."""

import asyncio

import pytest

from gateway.core.model import Outcome
from tests.corpus import chunks, framing, hops, sizes, syntax, targets
from tests.corpus.case import Case
from tests.support.proxies import RunningProxy, running_proxy
from tests.support.recording import RecordingUpstream
from tests.support.second_opinion import Opinion, responses
from tests.support.upstreams import LiteralClient, request

CASES = {
    f"{kind}: {case.name}"[:80]: case
    for module in (framing, chunks, syntax, targets, hops, sizes)
    for kind, cases in module.CASES.items()
    for case in cases
}
SMALL = {name: case for name, case in CASES.items() if len(case.sent) < 2000}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_as_one_piece(case: Case) -> None:
    await _try(case, [case.sent])


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
async def test_byte_by_byte(case: Case) -> None:
    await _try(case, [case.sent[at : at + 1] for at in range(len(case.sent))])


async def _try(case: Case, pieces: list[bytes]) -> None:
    async with RecordingUpstream() as upstream, running_proxy(upstream.instance) as proxy:
        closes = case.closes and case.answers[-1] >= 400
        heard = await _said(proxy, pieces, case, goes_on=not closes)
        statuses = [int(message.start) for message in heard.messages if message.start != "100"]
        assert not heard.unfinished
        expected = list(case.answers)
        if statuses[len(expected) :] == [200]:
            # The connection went on, and the next request on it got the answer that is meant for it.
            assert heard.messages[-1].body == b"GET /after"
            assert not closes
            expected.append(200)
        assert statuses == expected
        # Nor does it get into the way of others.
        assert (await proxy.ask(request("/others"))).body == b"GET /others"
        for message in (each for each in heard.messages if int(each.start) >= 400):
            assert message.values("content-type") == ["application/problem+json"]
        received = [each for each in upstream.heard() if each.start not in ("GET /after", "GET /others")]
        assert [(each.start, each.body) for each in received] == [(each.start, each.body) for each in case.forwarded]
        for message, forwarded in zip(received, case.forwarded, strict=True):
            names = {name for name, _ in message.fields}
            assert names.isdisjoint(forwarded.without)
        refusals = [record for record in proxy.records.all if record.outcome is Outcome.REJECTED]
        assert [record.status for record in refusals] == [status for status in case.answers if status >= 400]


async def _said(proxy: RunningProxy, pieces: list[bytes], case: Case, *, goes_on: bool) -> Opinion:
    """All that the gateway says, which has to be what two parsers take for the same responses."""
    method = case.sent.split(b" ")[0].decode("latin-1")
    methods = ["HEAD" if method == "HEAD" else "GET"] + ["GET"] * len(case.answers)
    async with await proxy.connect() as client:
        await _send(client, pieces)
        if goes_on:
            await proxy.records.wait_for(len(case.answers))
            await _send(client, [request("/after", "Connection: close")])
        data = await _until_closed(client)
    return responses(data, methods, closed=True)


async def _send(client: LiteralClient, pieces: list[bytes]) -> None:
    try:
        for piece in pieces:
            await client.say(piece)
            if len(pieces) > 1:
                await asyncio.sleep(0)
    except ConnectionError:
        # It has been refused by now.
        pass


async def _until_closed(client: LiteralClient) -> bytes:
    data = b""
    try:
        async with asyncio.timeout(3):
            while piece := await client.reader.read(65536):
                data += piece
    except ConnectionError:
        pass
    return data
