"""Clients that do not read. A server then keeps our `send` waiting, and the vendor is waiting for us, for ever."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Literal

from asgi_llmgw._types import Message, Send
from asgi_llmgw.answer import ClientDisconnected
from asgi_llmgw.interrupt import Interrupt

SEND_STALL: Final = 30.0
PIECE: Final = 64 * 1024
"""The most bytes of one `send`: what a slow reader must take in time to be one that goes on."""


class ClientStalled(ClientDisconnected):
    """The client is there but has taken nothing for too long, which is as good as gone."""


class StallGuard(Interrupt):
    """A `send` that ends what runs inside it once the server has not taken a message for so long.

    A message costs a time stamp. The one timer looks at it every now and then, so a reader is slow as long as it likes
    if only it goes on.

    Args:
        seconds: what one `send` may last; 0 for ever.
    """

    __slots__ = ("_seconds", "_send", "_since")

    def __init__(self, send: Send, seconds: float) -> None:
        self._send = send
        self._seconds = seconds
        self._since: float | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """
        Raises:
            ClientStalled: that is why it ended.
        """
        if super().__exit__(kind, error, trace):
            raise ClientStalled from None
        return False

    async def __call__(self, message: Message) -> None:
        if self.fired:
            # the server is in the middle of another message still
            raise ClientStalled
        if self.timer is None and self._seconds:
            self.timer = self.loop.call_later(self._seconds, self._look)
        body: bytes = message.get("body", b"")
        if len(body) > PIECE:
            await self._in_pieces(message, body)
            return
        self._since = self.loop.time()
        await self._send(message)
        self._since = None

    async def _in_pieces(self, message: Message, body: bytes) -> None:
        for start in range(0, len(body), PIECE):
            more = bool(message.get("more_body", False)) or start + PIECE < len(body)
            self._since = self.loop.time()
            await self._send({**message, "body": body[start : start + PIECE], "more_body": more})
            self._since = None

    def _look(self) -> None:
        now = self.loop.time()
        due = (now if self._since is None else self._since) + self._seconds
        if due > now:
            self.timer = self.loop.call_at(due, self._look)
            return
        self.fire()
