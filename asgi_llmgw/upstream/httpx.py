"""Calls through an `AsyncClient` of httpx2 or httpx that the host app brings, with its proxies and its test doubles.

Neither package is imported here: the client is known by what it can do, its errors by their names, which both share.
What the host set on its client is not sent to vendors: default headers, cookies, authentication and redirects stay out.

Both libraries take bytes that a server sends after the end of an answer for the beginning of the next one on that
connection, and tell nobody. aiohttp's client closes such a connection: use it with servers that may do so.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Generic, Protocol, TypeVar

import anyio

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.common import (
    broken,
    check_encoding,
    outgoing_headers,
    pool_exhausted,
    read_all,
    too_slow,
    unreachable,
    unreadable,
)

POOL_WAIT: Final = 1.0
CLOSE_WAIT: Final = 1.0
_LIBRARIES: Final = frozenset({"httpx", "httpx2"})
_NEEDED: Final = frozenset({"host", "content-length"})
_IN_CHUNKS: Final = frozenset({"host", "transfer-encoding"})


class _RawHeaders(Protocol):
    @property
    def raw(self) -> Sequence[tuple[bytes, bytes]]: ...


class _Request(Protocol):
    @property
    def headers(self) -> MutableMapping[str, str]: ...


class _Response(Protocol):
    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> _RawHeaders: ...

    @property
    def is_stream_consumed(self) -> bool: ...

    @property
    def content(self) -> bytes: ...

    def aiter_raw(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


RequestT = TypeVar("RequestT", bound=_Request)


class HttpxClient(Protocol[RequestT]):
    """What is used of `httpx2.AsyncClient` or `httpx.AsyncClient`."""

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | AsyncIterable[bytes] | None,
        headers: list[tuple[str, str]],
        extensions: dict[str, dict[str, float]],
    ) -> RequestT:
        """A request that is not sent yet."""
        ...

    async def send(self, request: RequestT, *, stream: bool, auth: None, follow_redirects: bool) -> _Response:
        """Send it and return when the head of the answer has come."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...


class HttpxResponse:
    """An answer whose head has come."""

    __slots__ = ("_deadline", "_response", "headers", "status")

    def __init__(self, response: _Response, deadline: float) -> None:
        self._response = response
        self._deadline = deadline
        self.status = response.status_code
        self.headers: Headers = tuple((name.lower(), value) for name, value in response.headers.raw)

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        if self._response.is_stream_consumed:
            # a test double's answer has its body from the start
            yield self._response.content
            return
        chunks = self._response.aiter_raw()
        try:
            while True:
                with _mapped(in_body=True), anyio.fail_after(self._deadline - time.monotonic()):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return
                yield chunk
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aread(self, *, limit: int) -> bytes:
        """The whole body, at most `limit` bytes."""
        return await read_all(self.aiter_raw(), self.headers, limit=limit)


class HttpxUpstream(Generic[RequestT]):
    """Calls through a client that somebody else made.

    Args:
        client: an `httpx2.AsyncClient` or `httpx.AsyncClient`. Its pool is its own; it serves one event loop.
        own: close the client with this upstream; otherwise the host app does.
    """

    def __init__(self, client: HttpxClient[RequestT], *, own: bool = False) -> None:
        self._client = client
        self._own = own

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, /) -> AsyncIterator[HttpxResponse]:
        """Make the call; entering waits for the head of the answer, leaving closes or reuses the connection."""
        deadline = time.monotonic() + request.timeouts.total
        limits = _limits(request)
        with _mapped(in_body=False), anyio.fail_after(request.timeouts.total):
            call = self._build(request, limits)
            response = await self._client.send(call, stream=True, auth=None, follow_redirects=False)
        # both libraries look here again before they read the body
        limits["read"] = request.timeouts.idle
        try:
            answer = HttpxResponse(response, deadline)
            check_encoding(answer.status, answer.headers)
            yield answer
        finally:
            with anyio.move_on_after(CLOSE_WAIT, shield=True):
                await response.aclose()

    async def aclose(self) -> None:
        """Close the client if it is ours. Calling it twice is harmless."""
        if self._own:
            await self._client.aclose()

    def _build(self, request: UpstreamRequest, limits: dict[str, float]) -> RequestT:
        headers = outgoing_headers(request.headers)
        content: bytes | AsyncIterable[bytes] | None = request.body or None
        needed = _NEEDED
        if request.pieces is not None:
            content = request.pieces
            if request.length is None:
                needed = _IN_CHUNKS
            else:
                headers.append(("content-length", str(request.length)))
        call = self._client.build_request(
            request.method, request.url, content=content, headers=headers, extensions={"timeout": limits}
        )
        ours = needed.union(name for name, _ in headers)
        for name in [name for name in call.headers if name.lower() not in ours]:
            del call.headers[name]
        return call


def _limits(request: UpstreamRequest) -> dict[str, float]:
    timeouts = request.timeouts
    return {
        "connect": timeouts.connect,
        "read": timeouts.first_byte if request.stream else timeouts.first_byte_whole,
        "write": timeouts.idle,
        "pool": POOL_WAIT,
    }


@contextmanager
def _mapped(*, in_body: bool) -> Iterator[None]:
    """Raise our error for one of the library's."""
    try:
        yield
    except TimeoutError as exc:
        raise too_slow() from exc
    except Exception as exc:
        error = _error(exc, in_body=in_body)
        if error is None:
            raise
        raise error from exc


def _error(exc: Exception, *, in_body: bool) -> UpstreamError | None:
    names = {kind.__name__ for kind in type(exc).__mro__ if kind.__module__.partition(".")[0] in _LIBRARIES}
    if not names:
        return None
    if "PoolTimeout" in names:
        return pool_exhausted()
    if "TimeoutException" in names:
        return too_slow()
    if in_body:
        return broken()
    if "RemoteProtocolError" in names and "disconnected" not in str(exc):
        return unreadable()
    if names & {"ReadError", "WriteError", "CloseError", "RemoteProtocolError"}:
        return broken()
    return unreachable()
