"""A transport of our own, for speed: nothing but HTTP/1.1 with keep-alive, on the parser that uvicorn uses.

It knows no proxies, and no other version of HTTP. aiohttp's client does more, at several times the cost.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from ssl import SSLContext, create_default_context
from typing import Final

from aiohappyeyeballs import AddrInfoType, start_connection

from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.common import broken, check_encoding, too_slow, unreachable
from asgi_llmgw.upstream.http1 import Connection
from asgi_llmgw.upstream.http1_answer import HIGH_WATER, Answer
from asgi_llmgw.upstream.http1_head import Known, Origin, request_head
from asgi_llmgw.upstream.pools import Pool, Pools

_NEXT_ADDRESS: Final = 0.25
"""Seconds after which another address of a host is tried beside one that says nothing."""


async def addresses_of(loop: asyncio.AbstractEventLoop, origin: Origin) -> Sequence[AddrInfoType]:
    """All addresses of a host.

    Raises:
        OSError: it has none.
    """
    return await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)


class _Pool(Pool):
    """The connections of one event loop. The one that was used last is used next."""

    def __init__(self, limit: int, *, tls: Callable[[], SSLContext]) -> None:
        super().__init__(limit)
        self.loop = asyncio.get_running_loop()
        self._tls = tls
        self._buffer = memoryview(bytearray(HIGH_WATER))
        self._kept: defaultdict[Origin, dict[Connection, None]] = defaultdict(dict)
        self._closed = False
        self.lines: Known = {}

    def kept(self, origin: Origin) -> Connection | None:
        """A connection that has served another call."""
        kept = self._kept[origin]
        while kept:
            connection, _ = kept.popitem()
            if connection.usable:
                return connection
        return None

    def new(self, origin: Origin) -> Connection:
        """A connection that is yet to be made."""
        return Connection(origin, self._buffer, self._forget)

    async def connect(self, connection: Connection, *, end: float) -> None:
        """Make it.

        Raises:
            UpstreamError: it cannot be made, or not by then.
        """
        origin = connection.origin
        try:
            async with asyncio.timeout_at(end):
                addresses = await addresses_of(self.loop, origin)
                # the first that answers: https://www.rfc-editor.org/rfc/rfc8305
                dialled = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS, loop=self.loop)
                context, name = (self._tls(), origin.host) if origin.tls else (None, None)
                await self.loop.create_connection(lambda: connection, sock=dialled, ssl=context, server_hostname=name)
        except TimeoutError as exc:
            raise too_slow() from exc
        except (OSError, ValueError) as exc:
            raise unreachable() from exc

    def keep(self, connection: Connection) -> None:
        """The call is over; the connection may serve another one, unless something may be left on it."""
        if connection.rest() and not self._closed:
            self._kept[connection.origin][connection] = None
        else:
            connection.abort(broken())

    async def close(self) -> None:
        """Close the connections that are kept now and those that would be."""
        self._closed = True
        for kept in self._kept.values():
            for connection in kept:
                connection.abort(broken())
        # their sockets are closed in the loop's next turn
        await asyncio.sleep(0)

    def forget(self) -> None:
        """Let go of connections whose loop has ended: nothing can be awaited there any more."""
        self._kept.clear()

    def _forget(self, connection: Connection) -> None:
        self._kept[connection.origin].pop(connection, None)


class _Call:
    """One call: entering waits for the head of the answer, leaving closes or keeps the connection."""

    __slots__ = ("_connection", "_pool", "_pools", "_request")

    def __init__(self, pools: Pools[_Pool], request: UpstreamRequest) -> None:
        self._pools = pools
        self._request = request
        self._connection: Connection | None = None

    async def __aenter__(self) -> Answer:
        request = self._request
        self._pool = pool = self._pools.here()
        origin, head = request_head(request, pool.lines)
        end = pool.loop.time() + request.timeouts.total
        if not pool.took():
            await pool.take()
        try:
            kept = self._connection = pool.kept(origin)
            answer = None if kept is None else await kept.ask(request, head, end=end)
            if answer is None or (answer.unheard and request.pieces is None):
                # nothing was kept, or the vendor was just closing it
                answer = await self._ask_anew(origin, head, end)
            if answer.error is not None and not answer.status:
                raise answer.error
            if b"content-encoding" in answer.named:
                check_encoding(answer.status, answer.headers)
        except BaseException:
            self._leave()
            raise
        return answer

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    async def _ask_anew(self, origin: Origin, head: bytes, end: float) -> Answer:
        """Make the call on a connection of its own."""
        request, pool = self._request, self._pool
        connect_end = min(pool.loop.time() + request.timeouts.connect, end)
        self._connection = connection = pool.new(origin)
        await pool.connect(connection, end=connect_end)
        return await connection.ask(request, head, end=end)

    def _leave(self) -> None:
        if self._connection is not None:
            self._pool.keep(self._connection)
        self._pool.give_back()


class HttptoolsUpstream:
    """Calls over HTTP/1.1 with keep-alive.

    Args:
        limit: the most calls under way at once, per event loop; one more waits a second and is then refused.
        ssl: a context for private certificate authorities; certificates are verified either way.

    Raises:
        ConfigError: `limit` is not positive.
    """

    def __init__(self, *, limit: int = 2000, ssl: SSLContext | None = None) -> None:
        self._ssl = ssl
        self._pools = Pools(partial(_Pool, tls=self._context), limit=limit)

    def open(self, request: UpstreamRequest, /) -> AbstractAsyncContextManager[Answer]:
        """Make the call; entering waits for the head of the answer, leaving closes or reuses the connection."""
        return _Call(self._pools, request)

    async def aclose(self) -> None:
        """Close every pooled connection of every loop. Calling it twice is harmless."""
        await self._pools.aclose()

    def _context(self) -> SSLContext:
        """Made with the first call that needs it: reading the authorities takes a while."""
        if self._ssl is None:
            self._ssl = create_default_context()
        return self._ssl
