"""The stage: a route's methods, combined; what they prove goes on with the request, credentials do not."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from gateway.core.model import Reason
from gateway.pipeline.authentication.places import Removal
from gateway.pipeline.authentication.proof import Denial, Finding, Method, Proof
from gateway.pipeline.stage import Answer, Call, ResponseHead, Verdict

_URGENCY = (Reason.UNAUTHENTICATED, Reason.FORBIDDEN, Reason.QUEUE_FULL, Reason.AUTHORISATION_UNAVAILABLE)
"""Which of several denials is told: the one that came furthest."""


class Authenticate:
    """By any of the methods, the first that succeeds; or, `every`, by all of them."""

    def __init__(self, methods: Sequence[Method], *, every: bool) -> None:
        self._methods = tuple(methods)
        self._every = every
        self._places = frozenset(method.place for method in methods if method.place is not None)
        self._headers = frozenset(header for method in methods for header, _ in method.headers)
        self._removal = Removal(self._places, self._headers)

    def request(self, call: Call) -> Verdict | Awaitable[Verdict]:
        if len(self._methods) > 1:
            return self._combined(call)
        finding = self._methods[0].check(call)
        if isinstance(finding, Proof | Denial):
            return self._concluded(call, [finding])
        return self._awaited(call, finding)

    def response(self, call: Call, head: ResponseHead) -> None:
        """As it is."""

    async def _awaited(self, call: Call, finding: Awaitable[Finding]) -> Verdict:
        return self._concluded(call, [await finding])

    async def _combined(self, call: Call) -> Verdict:
        findings: list[Finding] = []
        for method in self._methods:
            found = method.check(call)
            finding = found if isinstance(found, Proof | Denial) else await found
            findings.append(finding)
            if isinstance(finding, Denial) is self._every:
                break
        return self._concluded(call, findings)

    def _concluded(self, call: Call, findings: Sequence[Finding]) -> Verdict:
        """`findings` are those of the first methods; the others were not asked."""
        denials = [finding for finding in findings if isinstance(finding, Denial)]
        proofs = [finding for finding in findings if isinstance(finding, Proof)]
        if (self._every and denials) or not proofs:
            return _answer(denials)
        passed = [method for method, found in zip(self._methods, findings, strict=False) if isinstance(found, Proof)]
        kept = {method.place for method in passed if method.forward}
        removal = Removal(self._places - kept, self._headers) if kept else self._removal
        removal.apply(call)
        for proof in reversed(proofs):
            call.fields += proof.fields
            call.identity = proof.identity
            call.claims = {**call.claims, **proof.claims} if call.claims else proof.claims
        return None


def _answer(denials: Sequence[Denial]) -> Answer:
    told = max(denials, key=lambda denial: (_URGENCY.index(denial.reason), denial.presented))
    challenges: Sequence[str | None] = ()
    if told.reason is Reason.UNAUTHENTICATED:
        challenges = [each.challenge for each in denials]
    elif told.reason is Reason.FORBIDDEN:
        challenges = [told.challenge]
    return Answer(
        reason=told.reason,
        note="; ".join(denial.note for denial in denials),
        retry_after=told.retry_after,
        fields=(
            *(("WWW-Authenticate", challenge) for challenge in dict.fromkeys(challenges) if challenge is not None),
            *told.fields,
        ),
    )
