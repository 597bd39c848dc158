"""An answer over HTTP/1.1, read by a parser of its own: nothing of it can get into the next one on its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import UpstreamError

from .common import broken, read_all, too_large, unreadable

HIGH_WATER: Final = 64 * 1024
"""Bytes that may wait for the reader before the vendor is kept waiting; also the most that are no body in one go."""
_MAX_FIELD: Final = 32 * 1024
_MAX_HEADERS: Final = 128
_SWITCHING: Final = 101


class Answer:
    """An answer that has come or is waited for. The methods whose names begin with `on_` are the parser's to call.

    Attributes:
        named: the headers by their names, the last one of each.
        unread: bytes that have come since the reader last took what there was.
        overflows: the vendor has to wait for the reader.
        read_at: when its reader last took what had come, on the loop's clock.

    Args:
        loop: where it is waited for.
        head_only: there is no body, whatever the head says of it.
        taken: called when the reader has taken more than `HIGH_WATER`.
    """

    __slots__ = (
        "_chunks",
        "_head_only",
        "_lines",
        "_loop",
        "_parser",
        "_taken",
        "_waiter",
        "complete",
        "error",
        "headers",
        "named",
        "on_body",
        "overflows",
        "read_at",
        "reusable",
        "status",
        "unread",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, *, head_only: bool, taken: Callable[[], None]) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.named: dict[bytes, bytes] = {}
        self.complete = False
        self.reusable = False
        self.error: UpstreamError | None = None
        self.unread = 0
        self.overflows = False
        self.read_at = -inf
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._head_only = head_only
        self._taken = taken
        self._lines: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self.on_body = self._chunks.append
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body as it arrives; what arrived together is given together."""
        while True:
            while not self._chunks:
                if self.complete:
                    return
                if self.error is not None:
                    raise self.error
                await self.changed()
            yield self._take()

    async def aread(self, *, limit: int) -> bytes:
        """The whole body, at most `limit` bytes."""
        if not self.complete:
            declared = self.named.get(b"content-length", b"")
            if declared.isdigit() and int(declared) > limit:
                raise too_large(limit)
            most = min(limit, HIGH_WATER)
            while not self.complete and self.error is None and self.unread <= most:
                await self.changed()
        if self.complete and self.unread <= limit:
            return self._take()
        return await read_all(self.aiter_raw(), self.headers, limit=limit)

    def _take(self) -> bytes:
        """What has come and nobody has had."""
        chunks = self._chunks
        chunk = b"".join(chunks)
        chunks.clear()
        self.unread = 0
        self.read_at = self._loop.time()
        if self.overflows:
            self.overflows = False
            self._taken()
        return chunk

    def changed(self) -> asyncio.Future[None]:
        """Done when there is news of whatever kind. One at a time is waited for."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def wake(self) -> None:
        """There is news."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def feed(self, data: bytes | memoryview) -> None:
        """Read on.

        Raises:
            UpstreamError: what came is not HTTP, or far too little of it is body.
        """
        parser = self._parser
        if parser is None:
            return
        self.unread += len(data)
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            # what follows the end of an answer does it no harm, but none may follow that
            self.reusable = False
            if not self.complete:
                raise self._spoilt() from exc
        if self.unread > HIGH_WATER:
            self.overflows = True
            if not self._chunks and not self.complete:
                raise self._spoilt()
        self.wake()

    @property
    def readable(self) -> bool:
        """Whether the reader could read on."""
        return bool(self._chunks)

    @property
    def unheard(self) -> bool:
        """Whether the connection was closed without a byte of an answer."""
        return self.error is not None and self.error.failure == "unreachable" and not (self.status or self.unread)

    @property
    def settled(self) -> bool:
        """Whether the vendor wants no more of the request: it has refused it, or is gone."""
        return self.status >= 300 or self.error is not None

    def fail(self, error: UpstreamError) -> None:
        """No more will come."""
        self._parser = None
        if self.error is None and not self.complete:
            self.error = error
            self.wake()

    def end(self, cause: Exception | None) -> None:
        """The connection has ended, and so has the answer if nothing else marks its end."""
        if cause is None and self.status and not _has_an_end(self.headers):
            self.complete = True
            self.wake()
        error = broken()
        error.__cause__ = cause
        self.fail(error)

    def on_message_begin(self) -> None:
        # a hint before it begins too, but what begins after it is the answer to no question
        if self.complete:
            raise ValueError("one answer was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        lines, parser = self._lines, self._parser
        status = parser.get_status_code() if parser is not None else 0
        if status == _SWITCHING or _is_too_large(lines, self.unread):
            raise ValueError("a head that nobody wants")
        if status >= 200:
            self.status = status
            self.headers = tuple(lines)
            self.named = dict(lines)
        lines.clear()
        if self._head_only and self.status:
            self.complete = True
            raise ValueError("there is no body, and the parser cannot be told")

    def on_message_complete(self) -> None:
        if not self.status:
            self._chunks.clear()
        elif self._parser is not None:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()
            # it holds this answer as well, and the two would wait for the garbage collector
            self._parser = None

    def _spoilt(self) -> UpstreamError:
        return broken() if self.status else unreadable()


def _is_too_large(lines: list[tuple[bytes, bytes]], received: int) -> bool:
    """Whether there are more headers, or larger ones, than any vendor sends."""
    if len(lines) > _MAX_HEADERS:
        return True
    if received <= _MAX_FIELD:
        return False
    sizes = [len(name) + len(value) for name, value in lines]
    return max(sizes, default=0) > _MAX_FIELD or sum(sizes) > HIGH_WATER


def _has_an_end(headers: Headers) -> bool:
    """Whether the answer itself tells where it ends."""
    return any(
        name == b"content-length" or (name == b"transfer-encoding" and value.lower().endswith(b"chunked"))
        for name, value in headers
    )
