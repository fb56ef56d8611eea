"""What the proxy asks of an upstream implementation, so that it can change alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from gateway.core.model import FailureKind, Reason
from gateway.core.tickets import Attempt
from gateway.proxy.http.fields import Field


class UpstreamFailure(Exception):
    """An attempt failed. `detail` is for logs and may name addresses; TRUNCATED comes only after the head."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class ClientBodyFailure(Exception):
    """The client's body cannot be had; that is no fault of the instance."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class UpstreamBody(Protocol):
    """A client's body on its way to an instance."""

    @property
    def length(self) -> int | None:
        """Bytes in all; None where it is chunked."""

    @property
    def complete(self) -> bool:
        """Whether the whole body has been received."""

    @property
    def replayable(self) -> bool:
        """Whether all that was read so far is kept."""

    def whole(self) -> bytes | None:
        """The body, if all of it is at hand; else it has to be read by `chunks`."""

    def restart(self) -> None:
        """Begins anew with the first byte, for another attempt."""

    async def read(self) -> bytes:
        """The next bytes, empty at the end. Raises ClientBodyFailure."""


class UpstreamRequest:
    """`target` and `lines`, the encoded header fields, are ready to be sent, but for framing and `Connection`.

    `host` None is the instance's own address. `upgrade` is the protocol to ask for. Time-outs are seconds, 0 is none;
    `deadline` is the loop's time by which a response head has to be there. While the client is still sending its body
    no clock of the response runs (the body has its own); `deadline` begins anew when the upload is complete.
    `connect_time` is told back: seconds until there was a connection, or none could be had.
    """

    __slots__ = (
        "attempt_timeout",
        "body",
        "connect_time",
        "deadline",
        "host",
        "idle_timeout",
        "lines",
        "method",
        "request_timeout",
        "target",
        "upgrade",
    )

    def __init__(
        self,
        method: str,
        target: str,
        host: str | None,
        lines: bytes,
        body: UpstreamBody | None = None,
        upgrade: str | None = None,
        attempt_timeout: float = 0.0,
        request_timeout: float = 0.0,
        idle_timeout: float = 0.0,
        deadline: float | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.lines = lines
        self.body = body
        self.upgrade = upgrade
        self.attempt_timeout = attempt_timeout
        self.request_timeout = request_timeout
        self.idle_timeout = idle_timeout
        self.deadline = deadline
        self.connect_time = 0.0


class Tunnel(Protocol):
    """The bytes of a connection that has switched protocols."""

    async def read(self) -> bytes:
        """The next bytes, empty at the end."""

    async def write(self, data: bytes) -> None:
        """Sends, and waits while the other side takes nothing. Raises ConnectionError."""


class ReceivedHead(Protocol):
    """What a response's header fields come to. Instances send the same ones again and again on a connection, which
    therefore keeps what the last ones came to."""

    @property
    def fields(self) -> Sequence[Field]:
        """End-to-end fields, each fit to be sent; without framing."""

    written: tuple[bytes, bool] | None
    """For the receiver to leave what it made of them alone, for the next response that has the same."""


class UpstreamResponse(Protocol):
    """A response whose head has come. One of `read` to the end, `tunnel` and `close` has to follow."""

    status: int
    phrase: str
    length: int | None
    """Bytes of the body, or for HEAD and 304 those it would have; None where unknown."""
    bodiless: bool

    @property
    def head(self) -> ReceivedHead: ...

    def whole(self) -> bytes | None:
        """The body, if all of it has come already: then the response is complete, and released."""

    async def read(self) -> bytes:
        """The next bytes, empty at the end. Raises UpstreamFailure(TRUNCATED), ClientBodyFailure."""

    def tunnel(self) -> Tunnel:
        """After 101: the connection's bytes."""

    def close(self) -> None:
        """Gives the connection up, unless the response has been read to its end; may be called always."""


class Receiver(Protocol):
    """Who is told, once, what comes of a request."""

    def response_began(self, response: UpstreamResponse, /) -> None:
        """The response's head has come."""

    def attempt_failed(self, error: Exception, /) -> None:
        """It will not come, for an UpstreamFailure, a ClientBodyFailure, or an error of ours."""


class Sent(Protocol):
    """A request that is on its way."""

    def close(self) -> None:
        """Gives it up, unless the response has been read to its end; the receiver is told nothing any more."""


class Upstream(Protocol):
    def send(self, attempt: Attempt, request: UpstreamRequest, receiver: Receiver) -> Sent:
        """Sends to the attempt's instance. The receiver is told afterwards, never before this has returned."""

    def retain(self, endpoints: Collection[tuple[str, int]]) -> None:
        """Closes what belongs to other endpoints; requests in flight finish."""

    async def close(self) -> None:
        """Closes all connections."""
