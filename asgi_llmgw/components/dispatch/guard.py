"""Nothing reaches the client before an attempt has proved itself: the start of its answer is held until then.

This moment is the commit. Until it a failure is of no consequence; afterwards there is no way back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from asgi_llmgw._types import Message, Send
from asgi_llmgw.asgi import ClientDisconnected
from asgi_llmgw.exchange import Exchange

HOLD_FRAMES: Final = 64
HOLD_BYTES: Final = 256 * 1024
HOLD_SECONDS: Final = 5.0


class CommitGuard:
    """A `send` that holds the start of an answer back until the attempt is known to be good.

    It lets go when content has come (`exchange.first_token`), when an answer without failure is whole, when it holds
    `HOLD_FRAMES` messages or `HOLD_BYTES` bytes, or `hold_seconds` after the start. What a failed attempt had sent so
    far is kept until it is known whether the client will see it.

    Args:
        hold_seconds: None holds it until content comes, however long that takes.
        on_commit: asked before the client sees anything; where it says no, this attempt waits to be cancelled. Only for
            guards without `hold_seconds`: their own task commits.
        on_content: told when a stream has its first content.
    """

    __slots__ = (
        "_bytes",
        "_exchange",
        "_flushed",
        "_held",
        "_hold_seconds",
        "_late",
        "_on_commit",
        "_on_content",
        "_over",
        "_send",
        "_timer",
        "committed",
    )

    def __init__(
        self,
        send: Send,
        exchange: Exchange,
        *,
        hold_seconds: float | None = HOLD_SECONDS,
        on_commit: Callable[[], bool] | None = None,
        on_content: Callable[[], None] | None = None,
    ) -> None:
        self._send = send
        self._exchange = exchange
        self._hold_seconds = hold_seconds
        self._on_commit = on_commit
        self._on_content = on_content
        self._held: list[Message] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.Task[None] | None = None
        self._flushed = False
        self._over: asyncio.Event | None = None
        self.committed = False

    def __call__(self, message: Message) -> Awaitable[None]:
        # a whole answer is one message, and says nothing of when its first word came
        if self._on_content is not None and self._exchange.first_token is not None and message.get("more_body"):
            tell, self._on_content = self._on_content, None
            tell()
        if not self._flushed:
            if not self._begins_with_content(message):
                return self._hold(message)
            self.committed = self._flushed = True
        # nothing stands between what is said after the commit and the client
        return self._send(message)

    def _begins_with_content(self, message: Message) -> bool:
        """Whether this is the start of an answer that has content already: nothing to wait for, and nobody to ask."""
        exchange = self._exchange
        return (
            exchange.first_token is not None
            and exchange.failure is None
            and self._on_commit is None
            and not self._held
            and not self.committed
            and message["status"] < 400
        )

    async def _hold(self, message: Message) -> None:
        if self.committed:
            await self._until_flushed()
            await self._send(message)
            return
        self._held.append(message)
        if message["type"] == "http.response.start":
            if message["status"] < 400 and self._exchange.first_token is not None and self._exchange.failure is None:
                # there is content already: nothing to wait for
                await self._flush()
            elif message["status"] < 400 and self._hold_seconds is not None:
                self._timer = asyncio.get_running_loop().call_later(self._hold_seconds, self._time_is_up)
        elif self._ready(message):
            await self._flush()

    def _ready(self, message: Message) -> bool:
        self._bytes += len(message.get("body", b""))
        if self._exchange.failure is not None or self._held[0]["status"] >= 400:
            return False
        return (
            self._exchange.first_token is not None
            or not message.get("more_body", False)
            or len(self._held) > HOLD_FRAMES
            or self._bytes > HOLD_BYTES
        )

    async def commit(self) -> None:
        """Let the client see what is held."""
        if self._held and not self.committed:
            await self._flush()

    async def commit_refusal(self) -> bool:
        """Let the client see the error the attempt answered with; False if it did not get as far as an answer."""
        whole = bool(self._held) and not self._held[-1].get("more_body", False)
        if not whole or self._held[0]["status"] < 400:
            return False
        await self.commit()
        return True

    def stop(self) -> None:
        """The attempt is over: no timer outlives it, and nothing that it has begun to send."""
        if self._timer is not None:
            self._timer.cancel()
        if self._late is not None:
            self._late.cancel()

    def _time_is_up(self) -> None:
        if not self.committed and self._exchange.failure is None:
            self._late = asyncio.get_running_loop().create_task(self._commit_late())

    async def _commit_late(self) -> None:
        # where the client has gone, the attempt's own next message finds out
        with suppress(ClientDisconnected, OSError):
            await self.commit()

    async def _flush(self) -> None:
        if self._on_commit is not None and not self._on_commit():
            await asyncio.get_running_loop().create_future()
        self.committed = True
        if self._timer is not None:
            self._timer.cancel()
        held, self._held = self._held, []
        try:
            for message in held:
                await self._send(message)
        finally:
            self._flushed = True
            if self._over is not None:
                self._over.set()

    async def _until_flushed(self) -> None:
        """What was held is on its way still, sent by the timer's task."""
        self._over = self._over or asyncio.Event()
        await self._over.wait()
