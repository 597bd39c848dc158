"""Transport. The HTTP client lives behind this interface and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from asgi_llmgw._types import Headers
from asgi_llmgw.timeouts import Timeouts


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """One call, complete: nothing is added to it but what HTTP itself needs.

    Args:
        pieces: the body, where it is sent while it comes; each piece is taken when there is room for it, and such a
            call is made once.
        length: of such a body, where it is known.
        stream: an event stream is expected, so the first byte must come within `timeouts.first_byte`.
    """

    method: str = "POST"
    url: str
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    pieces: AsyncIterable[bytes] | None = field(default=None, repr=False)
    length: int | None = None
    stream: bool = False
    timeouts: Timeouts = Timeouts()


class UpstreamResponse(Protocol):
    """An answer whose head has come. Header names are in lower case."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...

    def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body as it arrives: never re-chunked, never decoded.

        Raises:
            UpstreamError: it broke (`unreachable`) or fell silent (`timeout`).
        """
        ...

    async def aread(self, *, limit: int) -> bytes:
        """The whole body.

        Raises:
            UpstreamError: as above, or larger than `limit` bytes (`invalid_response`).
        """
        ...


class Upstream(Protocol):
    """Something that makes calls. One instance serves any number of event loops and is closed once."""

    def open(self, request: UpstreamRequest, /) -> AbstractAsyncContextManager[UpstreamResponse]:
        """Make the call; entering waits for the head of the answer, leaving closes or reuses the connection.

        Redirects are not followed, content is asked for in `identity` encoding, TLS is verified, and the environment's
        proxies are ignored unless the client was built to use them.

        Raises:
            UpstreamError: no connection (`unreachable`) or too slow (`timeout`).
        """
        ...

    async def aclose(self) -> None:
        """Close every pooled connection. Calling it twice is harmless."""
        ...
