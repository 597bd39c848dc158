"""A request body that is passed on while it comes, and held nowhere, unless its vendor is asked in other words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

from asgi_llmgw._types import Message, Receive
from asgi_llmgw.errors import RequestError
from asgi_llmgw.operations.multipart import ModelField

LOOK_AHEAD: Final = 1024 * 1024
"""So many bytes of a form are held until its model is known."""
MAX_UPLOAD: Final = 256 * 1024 * 1024
_GRACE: Final = 10.0


class Upload:
    """One body on its way to a vendor.

    It can be sent again as long as nothing of it was taken beyond its beginning (`begun`). Whoever waits for the client
    to leave asks `receive`, which keeps still until the body has come.

    Args:
        receive: the server's.
        boundary: of the form; None for a body that is none.
        declared: the body's length, where the client has told it.
        limit: the most bytes to take.
        silence: seconds that the client may keep still.
        min_rate: bytes a second that must come on average, while they are waited for.
    """

    def __init__(
        self,
        receive: Receive,
        *,
        boundary: bytes | None = None,
        declared: int | None = None,
        limit: int = MAX_UPLOAD,
        silence: float = 30.0,
        min_rate: float = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receive = receive
        self._boundary = boundary
        self._declared = declared
        self._limit = limit
        self._silence = silence
        self._min_rate = min_rate
        self._clock = clock
        self._head = bytearray()
        self._taken = 0
        self._waited = 0.0
        self._more = True
        self._over = asyncio.Event()
        self._found: str | None = None
        self._found_size = 0
        self.begun = False
        self.gone = False
        self.failure: RequestError | None = None

    async def find_model(self) -> str | None:
        """What the form's `model` says, None where that does not stand among its first `LOOK_AHEAD` bytes.

        Raises:
            RequestError: the form cannot be read, is too large or comes too slowly; see `gone` for a client that left.
        """
        reader = self._field()
        while reader is not None and self._more and reader.value is None and len(self._head) < LOOK_AHEAD:
            chunk = await self._take()
            self._head += chunk
            reader.feed(chunk)
            self._found, self._found_size = reader.value, reader.size
        return self._found

    def length(self, model: str | None) -> int | None:
        """How long the body will be with this model in it, None where that cannot be told yet."""
        if not self._more:
            writer = self._field(model=model)
            return len(self._head if writer is None else writer.feed(bytes(self._head)))
        if model is None or self._declared is None:
            return self._declared
        return None if self._found is None else self._declared - self._found_size + len(model.encode())

    async def pieces(self, model: str | None, *, expected: str | None = None) -> AsyncIterator[bytes]:
        """The body, while it comes, with another model in it.

        Args:
            model: None leaves the body as it is.
            expected: what the form must say of its model, should it say it late.

        Raises:
            RequestError: as above; it is kept in `failure` too, as those who send a body tell nobody why it ended.
        """
        writer = self._field(expected=expected or self._found, model=model)
        head = bytes(self._head)
        try:
            for start in range(0, len(head), LOOK_AHEAD):
                held = head[start : start + LOOK_AHEAD]
                if shown := held if writer is None else writer.feed(held):
                    yield shown
            while self._more:
                self.begun = True
                chunk = await self._take()
                if shown := chunk if writer is None else writer.feed(chunk):
                    yield shown
            if writer is not None:
                writer.close()
        except RequestError as error:
            self.failure = error
            raise

    async def whole(self, *, limit: int, expected: str | None = None) -> bytes | None:
        """The body, held; None where it is larger than the limit. It can be sent afterwards as if it were untouched.

        Args:
            limit: the most bytes to hold.
            expected: what the form must say of its model, should it say it late.

        Raises:
            RequestError: as above.
        """
        while self._more and max(len(self._head), self._declared or 0) <= limit:
            try:
                self._head += await self._take()
            except RequestError:
                # there is nothing that the next vendor could be sent
                self.begun = True
                raise
        if self._more or len(self._head) > limit:
            return None
        return b"".join([piece async for piece in self.pieces(None, expected=expected)])

    async def receive(self) -> Message:
        """What the server says when the body is over; a disconnect as soon as the client has left."""
        await self._over.wait()
        return {"type": "http.disconnect"} if self.gone else await self._receive()

    def _field(self, *, expected: str | None = None, model: str | None = None) -> ModelField | None:
        return None if self._boundary is None else ModelField(self._boundary, expected=expected, model=model)

    async def _take(self) -> bytes:
        started = self._clock()
        try:
            async with asyncio.timeout(self._silence):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow() from None
        self._waited += self._clock() - started
        if message["type"] != "http.request":
            self.gone = True
            self._more = False
            self._over.set()
            raise RequestError("The client left before the end of its upload.", kind="cancelled")
        chunk = cast(bytes, message.get("body", b"") or b"")
        self._taken += len(chunk)
        self._more = bool(message.get("more_body", False))
        if not self._more:
            self._over.set()
        if self._taken > self._limit:
            raise too_large(self._limit)
        if self._waited > _GRACE and self._taken < self._min_rate * self._waited:
            raise _too_slow()
        return chunk


def too_large(limit: int) -> RequestError:
    """The body is larger than what is taken."""
    return RequestError(
        f"The request body is larger than {limit} bytes.", kind="request_too_large", code="request_too_large"
    )


def _too_slow() -> RequestError:
    return RequestError("The request body came too slowly.", kind="request_timeout")
