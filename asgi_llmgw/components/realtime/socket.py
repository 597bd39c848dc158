"""The client's end of a WebSocket whose handshake is an HTTP request to the components in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, cast

from asgi_llmgw._types import Message, Receive, Send
from asgi_llmgw.asgi import ClientDisconnected
from asgi_llmgw.upstream.websocket import Closed, Frame

SOCKET_KEY: Final = "asgi_llmgw.socket"
"""Where the scope of a handshake has the `ClientSocket`."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
TOO_BIG: Final = 1009
FAILED: Final = 1011
RESTART: Final = 1012
NO_CODE: Final = 1005

_MAX_REASON: Final = 123
_NEVER_SENT: Final = frozenset({1004, NO_CODE, 1006, 1015})
"""https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1"""


class ClientSocket:
    """What the innermost app has to do with the client once it is accepted.

    Args:
        offered: the subprotocols the client offers, without those that are keys.

    Attributes:
        chosen: the subprotocol to accept with.
        farewell: what the client is told when all is over; by default that something went wrong here.
        gone: how the client left, None while it is there.
    """

    def __init__(self, receive: Receive, send: Send, *, offered: Iterable[str] = ()) -> None:
        self._receive = receive
        self._send = send
        self._ahead: asyncio.Task[Message] | None = None
        self._left = asyncio.Event()
        self._closed = False
        self.offered = tuple(offered)
        self.chosen: str | None = None
        self.farewell = Closed(FAILED)
        self.gone: Closed | None = None
        self.accepted = False

    async def accept(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Complete the handshake."""
        await self._send({"type": "websocket.accept", "subprotocol": self.chosen, "headers": list(headers)})
        self.accepted = True

    async def left(self) -> None:
        """Return when the client has gone."""
        if not self.accepted:
            # before that no frame can come; the one that comes first afterwards is kept
            if self._ahead is None:
                self._ahead = asyncio.get_running_loop().create_task(self._next())
            ahead = self._ahead
            await asyncio.wait({ahead})
            self._note(ahead.result())
        await self._left.wait()

    async def receive(self) -> Frame | Closed:
        """The client's next message, or how it left."""
        if self._ahead is None:
            message = await self._receive()
        else:
            await asyncio.wait({self._ahead})
            message, self._ahead = self._ahead.result(), None
        self._note(message)
        if self.gone is not None:
            return self.gone
        text = message.get("text")
        return cast(Frame, message["bytes"] if text is None else text)

    async def send(self, frame: Frame) -> None:
        """Send a message, once there is room for it.

        Raises:
            ClientDisconnected: nobody is there to get it.
        """
        kind = "text" if isinstance(frame, str) else "bytes"
        try:
            await self._send({"type": "websocket.send", kind: frame})
        except (OSError, RuntimeError) as exc:
            # the one is what ASGI asks for, the other what servers say about connections they have closed themselves
            raise ClientDisconnected from exc

    async def close(self) -> None:
        """Say the farewell, if there is somebody to hear it; once."""
        if self._ahead is not None:
            self._ahead.cancel()
        if self.gone is not None or self._closed:
            return
        self._closed = True
        reason = self.farewell.reason.encode()[:_MAX_REASON].decode(errors="ignore")
        try:
            await self._send({"type": "websocket.close", "code": sendable(self.farewell.code), "reason": reason})
        except (OSError, RuntimeError):
            # it has left at the same moment
            pass

    async def _next(self) -> Message:
        return await self._receive()

    def _note(self, message: Message) -> None:
        if message["type"] == "websocket.disconnect":
            code = message.get("code")
            self.gone = Closed(NO_CODE if code is None else code, message.get("reason") or "")
            self._left.set()


def sendable(code: int) -> int:
    """The code as it may stand in a close frame; those that only say how there was none become their like."""
    if code == NO_CODE:
        return NORMAL
    known = 1000 <= code < 1015 and code not in _NEVER_SENT
    return code if known or 3000 <= code < 5000 else GOING_AWAY
