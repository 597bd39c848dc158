"""A client's WebSocket as an ASGI server would show it to an app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from asgi_llmgw._types import ASGIApp, Message, Scope


def websocket_scope(
    path: str = "/v1/realtime",
    *,
    query: bytes = b"model=gpt-realtime",
    headers: Iterable[tuple[bytes, bytes]] = (),
    subprotocols: Iterable[str] = (),
    extensions: dict[str, object] | None = None,
) -> Scope:
    """A scope as uvicorn makes it."""
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": list(headers),
        "subprotocols": list(subprotocols),
        "extensions": {"websocket.http.response": {}} if extensions is None else extensions,
        "state": {},
    }


class Client:
    """Drives an app; what it says is queued, what it hears is kept."""

    def __init__(self, app: ASGIApp, scope: Scope | None = None, *, connects: bool = True) -> None:
        self._app = app
        self._scope = websocket_scope() if scope is None else scope
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._heard = asyncio.Condition()
        self.sent: list[Message] = []
        if connects:
            self._said.put_nowait({"type": "websocket.connect"})

    def says(self, frame: str | bytes) -> None:
        self._said.put_nowait({"type": "websocket.receive", "text" if isinstance(frame, str) else "bytes": frame})

    def leaves(self, code: int = 1000, reason: str = "") -> None:
        self._said.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def run(self) -> None:
        """Until the app returns."""
        await self._app(self._scope, self._said.get, self._send)

    async def hears(self, count: int) -> None:
        """Until so many messages have come."""
        async with self._heard:
            await self._heard.wait_for(lambda: len(self.sent) >= count)

    @property
    def frames(self) -> list[str | bytes]:
        return [
            message.get("text", message.get("bytes")) for message in self.sent if message["type"] == "websocket.send"
        ]

    async def _send(self, message: Message) -> None:
        async with self._heard:
            self.sent.append(message)
            self._heard.notify_all()
