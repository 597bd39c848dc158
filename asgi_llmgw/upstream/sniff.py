"""What an answer is, where its content type does not say: vendors send errors and error pages instead of streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.upstream.base import UpstreamResponse
from asgi_llmgw.upstream.common import read_all

_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
_MAX_BLANK: Final = 64 * 1024
_NO_EVENTS: Final = b"{[<"
"""How JSON and HTML begin, and no line of an event stream."""


class SniffedResponse:
    """An answer of which the beginning has been read.

    Args:
        begun: that beginning.
        rest: what comes after it.
    """

    __slots__ = ("_begun", "_rest", "headers", "status")

    def __init__(self, response: UpstreamResponse, begun: bytes, rest: AsyncIterator[bytes]) -> None:
        self.status = response.status
        self.headers: Headers = tuple(response.headers)
        self._begun = begun
        self._rest = rest

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body as it arrives, from its first byte."""
        if self._begun:
            yield self._begun
        async for chunk in self._rest:
            yield chunk

    async def aread(self, *, limit: int) -> bytes:
        """The whole body, at most `limit` bytes."""
        return await read_all(self.aiter_raw(), self.headers, limit=limit)


async def sniff(response: UpstreamResponse) -> tuple[UpstreamResponse, bool]:
    """The answer, and whether it is an event stream: as it says itself, or else as it begins.

    Raises:
        UpstreamError: the beginning does not come.
    """
    kind = dict(response.headers).get(b"content-type", b"")
    if kind.lower().startswith(b"text/event-stream"):
        return response, True
    begun = b""
    chunks = response.aiter_raw()
    async for chunk in chunks:
        begun += chunk
        if begun.strip(_BLANK) or len(begun) > _MAX_BLANK:
            break
    first = begun.lstrip(_BLANK)[:1]
    return SniffedResponse(response, begun, chunks), first not in _NO_EVENTS or not first
