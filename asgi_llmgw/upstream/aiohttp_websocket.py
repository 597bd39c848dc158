"""WebSockets to vendors over aiohttp's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.upstream.aiohttp import environment_proxy
from asgi_llmgw.upstream.common import broken, outgoing_headers, too_slow, unreachable, unreadable
from asgi_llmgw.upstream.websocket import GOING_AWAY, Closed, Frame, Refusal, SocketRequest, UpstreamSocket

HEARTBEAT: Final = 30.0
"""Seconds of silence after which the vendor is asked whether it is there."""

_REPLY_SECONDS: Final = 0.1
"""How long the vendor's goodbye is waited for after ours."""
_CLOSE_SECONDS: Final = 1.0
_MAX_REASON: Final = 123
_MAX_ERROR: Final = 64 * 1024
_MAX_HEADER: Final = 32 * 1024
_UPGRADED: Final = 101
_IMPLICIT: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError)


class AiohttpRealtime:
    """Connects with aiohttp's client. Redirects are not followed, and TLS is verified.

    Args:
        trust_env: use the proxies that the environment names.
        ssl: a context for private certificate authorities.
        heartbeat: seconds of silence after which the vendor is asked whether it is there.
    """

    def __init__(self, *, trust_env: bool = False, ssl: SSLContext | None = None, heartbeat: float = HEARTBEAT) -> None:
        self._trust_env = trust_env
        self._ssl: SSLContext | bool = ssl if ssl is not None else True
        self._heartbeat = heartbeat

    @asynccontextmanager
    async def connect(self, request: SocketRequest, /) -> AsyncIterator[UpstreamSocket | Refusal]:
        """Connect. A connection is of use once, so nothing is pooled."""
        timeouts = request.timeouts
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._ssl, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_nothing_but_an_upgrade,),
            skip_auto_headers=_IMPLICIT,
            timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_read=timeouts.first_byte),
            trust_env=False,
            max_field_size=_MAX_HEADER,
        ) as session:
            try:
                async with asyncio.timeout(timeouts.connect + timeouts.first_byte):
                    socket = _AiohttpSocket(await self._handshake(session, request))
            except _Refused as refused:
                yield refused.refusal
                return
            except _FAILURES as exc:
                raise _error_before(exc) from exc
            try:
                yield socket
            finally:
                await socket.close()

    async def _handshake(
        self, session: aiohttp.ClientSession, request: SocketRequest
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        return await session.ws_connect(
            request.url,
            headers=outgoing_headers(request.headers),
            protocols=request.subprotocols,
            proxy=environment_proxy(request.url) if self._trust_env else None,
            timeout=aiohttp.ClientWSTimeout(ws_close=_REPLY_SECONDS),
            heartbeat=self._heartbeat,
            max_msg_size=request.max_frame,
        )


class _AiohttpSocket:
    """A connection of aiohttp's."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._socket = socket

    @property
    def subprotocol(self) -> str | None:
        return self._socket.protocol

    async def receive(self) -> Frame | Closed:
        message = await self._socket.receive()
        match message.type:
            case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                frame: Frame = message.data
                return frame
            case aiohttp.WSMsgType.CLOSE:
                return Closed(message.data or 1005, str(message.extra or ""))
            case aiohttp.WSMsgType.ERROR if isinstance(message.data, aiohttp.WebSocketError):
                raise InvalidUpstreamResponse("The upstream sent a message that cannot be read.") from message.data
            case aiohttp.WSMsgType.ERROR:
                raise too_slow() from self._socket.exception()
            case _:
                raise broken()

    async def send(self, frame: Frame) -> None:
        try:
            await (self._socket.send_str(frame) if isinstance(frame, str) else self._socket.send_bytes(frame))
        except _FAILURES as exc:
            raise broken() from exc

    async def close(self, code: int = GOING_AWAY, reason: str = "") -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._socket.close(code=code, message=reason.encode()[:_MAX_REASON])
        except TimeoutError:
            # it takes nothing any more; the session cuts it off
            pass


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


async def _nothing_but_an_upgrade(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Take redirects for refusals, and keep what a refusal says: aiohttp would follow the ones and drop the other."""
    response = await handler(request)
    if response.status == _UPGRADED:
        return response
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk[: _MAX_ERROR - len(body)]
            if len(body) >= _MAX_ERROR:
                break
    finally:
        response.close()
    headers = tuple((name.lower(), value) for name, value in response.raw_headers)
    raise _Refused(Refusal(response.status, headers, bytes(body)))


def _error_before(exc: BaseException) -> UpstreamError:
    match exc:
        case TimeoutError():
            return too_slow()
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return unreadable()
        case _:
            return unreachable()
