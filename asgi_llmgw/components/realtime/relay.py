"""Frames from one side to the other, both ways at once, until one of them leaves."""

from __future__ import annotations

import asyncio
from typing import Final, Self

from asgi_llmgw.asgi import ABANDONED_AFTER, ClientDisconnected
from asgi_llmgw.components.realtime.socket import FAILED, GOING_AWAY, RESTART, TOO_BIG, ClientSocket, sendable
from asgi_llmgw.components.realtime.usage import together, usage_in
from asgi_llmgw.errors import InvalidUpstreamResponse, RequestError, UpstreamError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.json import JSONError, dumps, loads_object
from asgi_llmgw.protocols import codec
from asgi_llmgw.upstream.websocket import Closed, Frame, UpstreamSocket

SEND_STALL: Final = 60.0
"""Seconds after which a side that takes nothing counts as gone."""

_OUR_LOSS: Final = frozenset({FAILED, RESTART, 1013, 1014})
"""Codes by which a vendor says that it has failed."""
_LAST_WORDS: Final = 0.1
"""Seconds in which a vendor that takes nothing more may tell why."""
_ERROR: Final = '"error"'


class Relay:
    """The two directions of one session.

    Args:
        vendor, client: the two sides.
        exchange: gets usage and outcome.
        max_frame: the largest message of the client's, in bytes; the vendor's is bounded where it is read.
        send_stall: seconds after which a side that takes nothing counts as gone.
    """

    def __init__(
        self,
        vendor: UpstreamSocket,
        client: ClientSocket,
        exchange: Exchange,
        *,
        max_frame: int,
        send_stall: float = SEND_STALL,
    ) -> None:
        self._vendor = vendor
        self._client = client
        self._exchange = exchange
        self._max_frame = max_frame
        self._send_stall = send_stall
        self._reading = asyncio.get_running_loop().create_task(self._read())
        self._tasks: set[asyncio.Task[Closed]] = set()

    async def first_word(self, patience: float) -> None:
        """Wait for the vendor's first message, which `run` passes on.

        OpenAI accepts whomever comes and says afterwards that the key or the model will not do.

        Raises:
            UpstreamError: it is an error, or a goodbye.
        """
        await asyncio.wait({self._reading}, timeout=patience)
        if not self._reading.done():
            return
        word = self._reading.result()
        if isinstance(word, Closed):
            raise _dismissed(word)
        error = _error_in(word)
        if error is not None:
            raise error

    async def run(self) -> None:
        """Pass on what comes until one side has left, and tell the other.

        Raises:
            UpstreamError: the vendor broke off.
            ClientDisconnected: the client did.
            RequestError: the client sent too much at once.
        """
        loop = asyncio.get_running_loop()
        down, up = loop.create_task(self._down()), loop.create_task(self._up())
        self._tasks = {down, up}
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            if not down.done() and isinstance(up.exception(), UpstreamError):
                await asyncio.wait({down}, timeout=_LAST_WORDS)
        except asyncio.CancelledError:
            self._client.farewell = Closed(RESTART, "the gateway restarts")
            raise
        if down.done():
            self._vendor_left(down.result())
        else:
            await self._client_left(up)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave nothing running."""
        tasks: set[asyncio.Task[Closed] | asyncio.Task[Frame | Closed]] = {*self._tasks, self._reading}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=ABANDONED_AFTER)
        for task in tasks:
            if task.done() and not task.cancelled():
                # it was told already, or came second
                task.exception()

    async def _read(self) -> Frame | Closed:
        return await self._vendor.receive()

    async def _down(self) -> Closed:
        """From the vendor to the client."""
        frame = await self._reading
        while not isinstance(frame, Closed):
            used = usage_in(frame)
            if used is not None:
                known = self._exchange.usage
                self._exchange.usage = used if known is None else together(known, used)
            try:
                async with asyncio.timeout(self._send_stall):
                    await self._client.send(frame)
            except TimeoutError:
                raise ClientDisconnected from None
            frame = await self._vendor.receive()
        return frame

    async def _up(self) -> Closed:
        """From the client to the vendor."""
        while not isinstance(frame := await self._client.receive(), Closed):
            if len(frame) > self._max_frame:
                raise RequestError(
                    f"A message is larger than {self._max_frame} bytes.",
                    kind="request_too_large",
                    code="request_too_large",
                )
            try:
                async with asyncio.timeout(self._send_stall):
                    await self._vendor.send(frame)
            except TimeoutError:
                raise UpstreamError(
                    "The upstream takes no more messages.", failure="timeout", kind="upstream_timeout"
                ) from None
        return frame

    def _vendor_left(self, closed: Closed) -> None:
        self._client.farewell = closed
        self._exchange.finish_reason = str(closed.code)
        if closed.code in _OUR_LOSS:
            self._exchange.fail(_dismissed(closed))
        else:
            self._exchange.outcome = "completed"

    async def _client_left(self, up: asyncio.Task[Closed]) -> None:
        error = up.exception()
        if error is not None:
            await self._vendor.close(TOO_BIG if isinstance(error, RequestError) else GOING_AWAY)
            raise error
        closed = up.result()
        self._exchange.finish_reason = str(closed.code)
        # a session has no other end; and servers disagree about which code is whose
        self._exchange.outcome = "completed"
        await self._vendor.close(sendable(closed.code), closed.reason)


def _error_in(frame: Frame) -> UpstreamError | None:
    """The error that an event tells, if it is one."""
    if not isinstance(frame, str) or _ERROR not in frame:
        return None
    try:
        event = loads_object(frame)
    except JSONError:
        return None
    return codec("openai_chat").decode_error(200, frame.encode()) if event.get("type") == "error" else None


def _dismissed(closed: Closed) -> UpstreamError:
    """What a vendor means that hangs up; OpenAI's reasons are a type and a code, with a point between them."""
    kind, point, code = closed.reason.partition(".")
    if closed.code >= 3000 and point:
        told = {"type": kind, "code": code, "message": closed.reason}
        return codec("openai_chat").decode_error(200, dumps({"error": told}))
    if closed.code in _OUR_LOSS:
        return UpstreamError("The upstream has ended the session.", failure="transient", kind="server_error")
    return InvalidUpstreamResponse(f"The upstream has closed the connection with code {closed.code}.")
