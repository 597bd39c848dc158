"""Transport. The HTTP client lives behind this interface and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from asgi_llmgw._types import Headers
from asgi_llmgw.timeouts import Timeouts


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call, complete: nothing is added to it but what HTTP itself needs.

    Args:
        pieces: the body, where it is sent while it comes; each piece is taken when there is room for it, and such a
            call is made once.
        length: of such a body, where it is known.
        stream: an event stream is expected, so the first byte must come within `timeouts.first_byte`.
    """

    method: str = "POST"
    url: str
    headers: Headers = ()
    body: bytes = b""
    pieces: AsyncIterable[bytes] | None = None
    length: int | None = None
    stream: bool = False
    timeouts: Timeouts = Timeouts()

    def __repr__(self) -> str:
        # neither the key nor what was said
        return f"UpstreamRequest(method={self.method!r}, url={self.url!r})"


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
