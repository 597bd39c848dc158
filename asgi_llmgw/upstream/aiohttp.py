"""The default transport: aiohttp's client, one session per event loop, made when the first call needs it."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from ssl import SSLContext
from typing import Final
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.tracing import Trace
from yarl import URL

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.common import (
    broken,
    check_encoding,
    outgoing_headers,
    read_all,
    too_slow,
    unreachable,
    unreadable,
)
from asgi_llmgw.upstream.pools import KEEP_ALIVE, Pool, Pools

_MAX_HEADER: Final = 32 * 1024
_IMPLICIT: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_RESET: Final = (errno.ECONNRESET, errno.EPIPE)
_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError)

_reused: ContextVar[bool] = ContextVar("asgi_llmgw_connection_reused", default=False)
"""Whether the call of this task got a connection that had served another one: the connector tells `open`."""


class _Connector(aiohttp.TCPConnector):
    """A connector that tells which connections it hands out a second time."""

    def __init__(self, *, ssl: SSLContext | bool) -> None:
        # the number of connections is bounded by the pool's slots, which bound the wait for one as well
        super().__init__(limit=0, keepalive_timeout=KEEP_ALIVE, ssl=ssl)
        self._seen: WeakSet[object] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        reused = protocol in self._seen
        _reused.set(reused)
        if protocol is not None and not reused:
            self._seen.add(protocol)
        return connection


class _Pool(Pool):
    """The connections of one event loop."""

    def __init__(self, limit: int, *, ssl: SSLContext | bool) -> None:
        super().__init__(limit)
        self.session = aiohttp.ClientSession(
            connector=_Connector(ssl=ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            raise_for_status=False,
            trust_env=False,
            skip_auto_headers=_IMPLICIT,
            max_field_size=_MAX_HEADER,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.session.close()

    def forget(self) -> None:
        """Let go of connections whose loop has ended: nothing can be awaited there any more."""
        connector = self.session.connector
        self.session.detach()
        if connector is not None:
            connector.close()


class AiohttpResponse:
    """An answer whose head has come."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Headers = tuple((name.lower(), value) for name, value in response.raw_headers)

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except _FAILURES as exc:
            raise _error_in_body(exc) from exc

    async def aread(self, *, limit: int) -> bytes:
        """The whole body, at most `limit` bytes."""
        return await read_all(self.aiter_raw(), self.headers, limit=limit)

    def close(self) -> None:
        """Give the connection up at once, unless the body was read to its end and it went back to the pool."""
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            # close() would first send what is left of the request
            connection.transport.abort()
        self._response.close()


class AiohttpUpstream:
    """Calls over HTTP/1.1 with keep-alive.

    Args:
        limit: the most calls under way at once, per event loop; one more waits a second and is then refused.
        trust_env: use the proxies that the environment names.
        ssl: a context for private certificate authorities; certificates are verified either way.

    Raises:
        ConfigError: `limit` is not positive.
    """

    def __init__(self, *, limit: int = 2000, trust_env: bool = False, ssl: SSLContext | None = None) -> None:
        self._trust_env = trust_env
        self._pools = Pools(partial(_Pool, ssl=ssl if ssl is not None else True), limit=limit)

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, /) -> AsyncIterator[AiohttpResponse]:
        """Make the call; entering waits for the head of the answer, leaving closes or reuses the connection."""
        pool = self._pools.here()
        await pool.take()
        try:
            response = AiohttpResponse(await self._call(pool, request))
            try:
                check_encoding(response.status, response.headers)
                yield response
            finally:
                response.close()
        finally:
            pool.give_back()

    async def aclose(self) -> None:
        """Close every pooled connection of every loop. Calling it twice is harmless."""
        await self._pools.aclose()

    async def _call(self, pool: _Pool, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """The answer's head. A call that met a connection the vendor was just closing is made once more."""
        try:
            return await self._attempt(pool, request)
        except _FAILURES as exc:
            if request.pieces is not None or not (_reused.get() and _nothing_came(exc)):
                raise _error_before_head(exc) from exc
        try:
            return await self._attempt(pool, request)
        except _FAILURES as exc:
            raise _error_before_head(exc) from exc

    async def _attempt(self, pool: _Pool, request: UpstreamRequest) -> aiohttp.ClientResponse:
        _reused.set(False)
        timeouts = request.timeouts
        response = await pool.session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=_headers(request),
            data=request.body or None if request.pieces is None else request.pieces,
            allow_redirects=False,
            proxy=environment_proxy(request.url) if self._trust_env else None,
            timeout=_timeout(timeouts, request.stream),
        )
        protocol = response.connection.protocol if response.connection is not None else None
        if protocol is not None:
            # from here on it is the silence between two chunks that counts
            protocol.read_timeout = timeouts.idle
            protocol.start_timeout()
        return response


@lru_cache(maxsize=256)
def _timeout(timeouts: Timeouts, stream: bool) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=timeouts.total,
        connect=timeouts.connect,
        sock_read=timeouts.first_byte if stream else timeouts.first_byte_whole,
    )


def _headers(request: UpstreamRequest) -> list[tuple[str, str]]:
    """Those of the call; a body that comes in pieces goes in chunks unless its length is told."""
    headers = outgoing_headers(request.headers)
    if request.pieces is not None and request.length is not None:
        headers.append(("content-length", str(request.length)))
    return headers


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment names for this address.

    aiohttp's own `trust_env` would also send the passwords it finds in a `.netrc`.
    """
    address = URL(url, encoded=True)
    if address.host is None or proxy_bypass(address.host):
        return None
    return getproxies().get(address.scheme)


def _nothing_came(exc: BaseException) -> bool:
    """Whether the vendor closed the connection without a byte of an answer.

    aiohttp keeps the partly read head in the error's `message`, and the reason of a failed write in its cause. A reset
    leaves no trace of what came before, but is what a balancer sends when it has forgotten an idle connection.
    """
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return isinstance(exc.message, str)
    if isinstance(exc, aiohttp.ClientConnectorError):
        return False
    return any(
        isinstance(reason, ConnectionError) or (isinstance(reason, OSError) and reason.errno in _RESET)
        for reason in (exc, exc.__cause__)
    )


def _error_before_head(exc: BaseException) -> UpstreamError:
    match exc:
        case TimeoutError():
            return too_slow()
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return unreadable()
        case aiohttp.ClientConnectorError():
            return unreachable()
        case aiohttp.ClientConnectionError() | ConnectionError():
            return broken()
        case _:
            return unreachable()


def _error_in_body(exc: BaseException) -> UpstreamError:
    return too_slow() if isinstance(exc, TimeoutError) else broken()
