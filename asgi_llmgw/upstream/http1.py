"""A connection over HTTP/1.1: one request at a time goes out, and its answer comes back.

It takes neither tasks nor locks. There is one timer for as long as the connection lasts: whatever happens moves the
moment at which it has to act, and when it is due it looks whether that has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from math import inf
from typing import Final, cast

from asgi_llmgw.errors import RequestError, UpstreamError

from .base import UpstreamRequest
from .common import broken, too_slow, unreadable
from .http1_answer import Answer
from .http1_head import Origin
from .pools import KEEP_ALIVE

_EARLY: Final = 0.001
"""Seconds by which a timer may come early: no finer does the clock of a loop tick."""


class Connection(asyncio.BufferedProtocol):
    """A connection and the call it serves.

    Args:
        origin: where it leads to.
        buffer: where bytes are received. As they are parsed at once, all connections of a loop can share it.
        lost: called when it has ended, whoever ended it.
    """

    def __init__(self, origin: Origin, buffer: memoryview, lost: Callable[[Connection], None]) -> None:
        self.origin = origin
        self._buffer = buffer
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._full = False
        self._sent = False
        self._aborted = False
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._end = self._patience = self._idle = inf
        self._active = 0.0

    @property
    def usable(self) -> bool:
        """Whether a request can be sent on it."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: UpstreamRequest, head: bytes, *, end: float) -> Answer:
        """Send a request; the answer's head has come, or its error.

        Args:
            end: when the call has to be over, on the loop's clock.

        Raises:
            RequestError: the body is not as long as was told.
        """
        timeouts, pieces, transport = request.timeouts, request.pieces, self._transport
        patience = timeouts.first_byte if request.stream else timeouts.first_byte_whole
        self._end = end
        self._idle = timeouts.idle
        self._sent = pieces is None
        self._answer = answer = Answer(self._loop, head_only=request.method == "HEAD", taken=self._resume)
        if transport is None or transport.is_closing():
            answer.fail(broken())
        elif pieces is None:
            if request.body:
                transport.writelines((head, request.body))
            else:
                # some releases of asyncio (CPython 3.12, 3.13) never get rid of a last piece that is empty
                transport.write(head)
        else:
            transport.write(head)
            await self._upload(transport, answer, pieces, request.length)
        if answer.error is None:
            self._watch(self._idle if answer.status else patience)
            while not answer.status and answer.error is None:
                await answer.changed()
        return answer

    def rest(self) -> bool:
        """The call is over. Whether another one may follow: only where nothing can have been left of this one."""
        answer, transport = self._answer, self._transport
        if answer is None or not answer.reusable or answer.overflows or not self._sent:
            return False
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        self._answer = None
        self._end = inf
        self._active = self._loop.time()
        # no timer is set later than that
        self._patience = KEEP_ALIVE
        return True

    def abort(self, error: UpstreamError) -> None:
        """End it at once: what is not sent yet is dropped, and who waits for the answer gets the error."""
        if self._answer is not None:
            self._answer.fail(error)
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of a class of their own
        self._transport = cast(asyncio.Transport, transport)
        if self._aborted:
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        answer = self._answer
        if answer is None or answer.complete:
            # nobody asked for this, so it must not be taken for the next answer
            self.abort(unreadable())
            return
        try:
            answer.feed(self._buffer[:nbytes])
        except UpstreamError as error:
            self.abort(error)
            return
        if answer.complete or not answer.status:
            return
        if self._patience == self._idle:
            # the timer is early enough for what was waited for before
            self._active = self._loop.time()
        else:
            self._watch(self._idle)
        if answer.overflows and self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        # the vendor has got the request only now
        self._active = self._loop.time()
        if self._answer is not None:
            self._answer.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        # no other timer is set from here on
        self._due = -inf
        if self._timer is not None:
            self._timer.cancel()
        if self._answer is not None:
            self._answer.end(exc)
        self._lost(self)

    async def _upload(
        self, transport: asyncio.Transport, answer: Answer, pieces: AsyncIterable[bytes], length: int | None
    ) -> None:
        """Send a body while it comes, unless the vendor does not want all of it."""
        sent = 0
        # it is the client who is waited for, except where the vendor does not take what there is
        self._watch(inf)
        async for piece in pieces:
            if answer.settled:
                return
            sent += len(piece)
            if length is not None and sent > length:
                break
            if piece:
                # never `writelines`: some releases of asyncio do not tell then that it is enough (CVE-2024-12254)
                transport.write(piece if length is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
            if self._full:
                await self._room(answer)
        if answer.settled:
            return
        if length is None:
            transport.write(b"0\r\n\r\n")
        elif sent != length:
            raise RequestError("The request's body is not as long as was told.", code="invalid_content_length")
        self._sent = True

    async def _room(self, answer: Answer) -> None:
        """Wait until the vendor has taken what was sent."""
        self._watch(self._idle)
        while self._full and not answer.settled:
            await answer.changed()
        self._watch(inf)

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._watch(self._idle)
            self._transport.resume_reading()

    def _watch(self, patience: float) -> None:
        """From now on nothing need happen for so many seconds."""
        self._active, self._patience = self._loop.time(), patience
        due = min(self._active + patience, self._end)
        if due < self._due:
            self._set_timer(due)

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # never later than a connection may be idle, so that none has to be set when it becomes so
        self._due = min(due, self._loop.time() + KEEP_ALIVE)
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        """Give up if it is time to."""
        now = self._loop.time()
        if self._answer is not None:
            # where our reader is slow, the vendor's time begins when it has read
            self._active = now if self._answer.readable else max(self._active, self._answer.read_at)
        due = min(self._active + self._patience, self._end)
        if due > now + _EARLY:
            self._set_timer(due)
        else:
            self.abort(too_slow())
