"""The floor: what a server and an HTTP client cost, with no gateway between them.

    VENDOR=http://127.0.0.1:9000 uvicorn benchmarks.floor:app
    VENDOR=http://127.0.0.1:9000 uvicorn benchmarks.floor:lean

`app` is uvicorn and aiohttp's client, `lean` is uvicorn and the client that the gateway brings along. Bytes in, bytes
out: no key is looked at, nothing is read, counted or logged, and no client that leaves is noticed.
"""

from __future__ import annotations

import os
from typing import Final

import aiohttp
from yarl import URL

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.httptools import HttptoolsUpstream

_DROPPED: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"accept-encoding"})
_KEPT: Final = frozenset({b"content-type", b"content-length"})


class Floor:
    """Forwards every request to one address."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(receive, send)
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=600),
            )
        body = await _body(receive)
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name not in _DROPPED
        ]
        url = URL(self._base_url + scope["path"], encoded=True)
        async with self._session.request(scope["method"], url, headers=headers, data=body) as response:
            kept = [(name.lower(), value) for name, value in response.raw_headers if name.lower() in _KEPT]
            await send({"type": "http.response.start", "status": response.status, "headers": kept})
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class LeanFloor:
    """The same with the gateway's own client."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._upstream = HttptoolsUpstream()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _lifespan(receive, send)
            return
        request = UpstreamRequest(
            method=scope["method"],
            url=self._base_url + scope["path"],
            headers=tuple([pair for pair in scope["headers"] if pair[0] not in _DROPPED]),
            body=await _body(receive),
        )
        async with self._upstream.open(request) as response:
            kept = [pair for pair in response.headers if pair[0] in _KEPT]
            await send({"type": "http.response.start", "status": response.status, "headers": kept})
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _body(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


_VENDOR: Final = os.environ.get("VENDOR", "http://127.0.0.1:9000")
app = Floor(_VENDOR)
lean = LeanFloor(_VENDOR)
