"""A vendor of realtime sessions that follows a script, on a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import WSCloseCode, WSMsgType, web

Session = Callable[[web.WebSocketResponse], Awaitable[None]]
CREATED = json.dumps({"type": "session.created", "event_id": "event_1", "session": {"model": "gpt-realtime"}})


@dataclass(frozen=True)
class Refused:
    """The handshake is answered with this instead."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Vendor:
    """What it was asked, and how its sessions ended."""

    url: str
    script: list[Session | Refused]
    targets: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    ended: asyncio.Queue[int | None] = field(default_factory=asyncio.Queue)
    sessions: list[web.WebSocketResponse] = field(default_factory=list)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.targets.append(request.path_qs)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(act, Refused):
            return web.Response(status=act.status, body=act.body, headers=dict(act.headers))
        session = web.WebSocketResponse(protocols=("realtime",), max_msg_size=64 * 1024 * 1024, timeout=0.2)
        await session.prepare(request)
        self.sessions.append(session)
        try:
            await act(session)
        finally:
            self.ended.put_nowait(session.close_code)
        return session


async def echo(session: web.WebSocketResponse) -> None:
    """Says that the session stands, and then all that it hears."""
    await session.send_str(CREATED)
    async for message in session:
        if message.type is WSMsgType.TEXT:
            await session.send_str(message.data)
        else:
            await session.send_bytes(message.data)


def says(*words: str, code: int = WSCloseCode.OK, reason: str = "") -> Session:
    """Says this and closes."""

    async def session(socket: web.WebSocketResponse) -> None:
        for word in words:
            await socket.send_str(word)
        await socket.close(code=code, message=reason.encode())

    return session


def response_done(read: int, written: int, cached: int = 0) -> str:
    """The end of a response, and what it has used."""
    usage = {
        "total_tokens": read + written,
        "input_tokens": read,
        "output_tokens": written,
        "input_token_details": {"cached_tokens": cached, "audio_tokens": 3},
        "output_token_details": {"audio_tokens": 2},
    }
    return json.dumps({"type": "response.done", "response": {"status": "completed", "usage": usage}})


@asynccontextmanager
async def vendor_of(*script: Session | Refused) -> AsyncIterator[Vendor]:
    """The vendor, running; the last act is repeated."""
    vendor = Vendor("", list(script))
    app = web.Application()
    app.router.add_get("/v1/realtime", vendor.__call__)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    vendor.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield vendor
    finally:
        for session in vendor.sessions:
            await session.close()
        await runner.cleanup()
