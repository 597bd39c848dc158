"""How far the answer to a request has got, as far as can be told from the messages that pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from asgi_llmgw._types import Message, Send

PIECE: Final = 64 * 1024
"""The most bytes of one message: what a slow reader must take in time to be one that goes on."""


class ClientDisconnected(Exception):
    """The client has gone; nobody is left to answer."""


def is_event_stream(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether these headers say so; names are in lower case."""
    for name, value in headers:
        if name == b"content-type":
            # `in` would first take what is looked for as a number, and fail
            return value.find(b"text/event-stream") >= 0
    return False


class Answer:
    """A `send` that sees how far the answer has got.

    The outermost component that wants to know puts one around and leaves it at `Exchange.answer`; all within look at
    it there and need none of their own.

    Args:
        change_head: makes the message that begins the answer what the client gets.

    Attributes:
        status: None until the answer has begun.
        streaming: it is an event stream.
        as_array: it is one that somebody further in writes as a JSON array.
        ending: its last message is on the way.
        finished: its last message has been taken.
        on_start: told when it begins.
        clock: what `since` is told by.
        since: when the server was handed the message that it has not taken yet; None while there is none.
    """

    __slots__ = (
        "_change_head",
        "_send",
        "as_array",
        "clock",
        "ending",
        "finished",
        "on_start",
        "since",
        "status",
        "streaming",
    )

    def __init__(self, send: Send, change_head: Callable[[Message], Message] | None = None) -> None:
        self._send = send
        self._change_head = change_head
        self.status: int | None = None
        self.streaming = False
        self.as_array = False
        self.ending = False
        self.finished = False
        self.on_start: Callable[[Answer], None] | None = None
        self.clock: Callable[[], float] = time.monotonic
        self.since: float | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on, in pieces if it is large.

        Raises:
            ClientDisconnected: the server says that the client has gone, as those of ASGI 2.4 and later do.
        """
        if message["type"] == "http.response.start":
            message = self._begin(message)
        elif message["type"] == "http.response.body":
            if len(message.get("body", b"")) > PIECE:
                await self._send_in_pieces(message)
                return
            if not message.get("more_body", False):
                self.ending = True
        self.since = self.clock()
        try:
            await self._send(message)
        except OSError as exc:
            raise ClientDisconnected from exc
        self.since = None
        self.finished = self.ending

    def give_up(self) -> None:
        """Hand nothing on any more: the server is in the middle of a message that the client does not take."""
        self._send = _to_nobody

    async def _send_in_pieces(self, message: Message) -> None:
        body: bytes = message["body"]
        for start in range(0, len(body), PIECE):
            more = bool(message.get("more_body", False)) or start + PIECE < len(body)
            await self.send({**message, "body": body[start : start + PIECE], "more_body": more})

    def _begin(self, message: Message) -> Message:
        self.status = message["status"]
        self.streaming = is_event_stream(message.get("headers") or ())
        if self.on_start is not None:
            self.on_start(self)
        return message if self._change_head is None else self._change_head(message)


async def _to_nobody(message: Message) -> None:
    raise ClientDisconnected
