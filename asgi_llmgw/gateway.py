"""The gateway as one ASGI app: counts its requests, changes its configuration while it runs, and ends in peace."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.components.drain import Drain
from asgi_llmgw.components.health import Readiness
from asgi_llmgw.config import Config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.logs import describe
from asgi_llmgw.shared import Shared

SETTLE_SECONDS: Final = 10.0
"""How long requests that were cut off may take to settle, and connections to close."""

NOT_TRIO: Final = "asgi_llmgw runs on asyncio: take a worker class of asyncio instead of trio"

_logger: Final = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Stack:
    """All that is made of one configuration.

    Args:
        app: takes the requests.
        shared: the long-lived parts in it.
        readiness: whether requests are welcome.
        start: begins what goes on beside the requests, once there is an event loop for it.
        running: the requests that are in it.
    """

    config: Config
    app: ASGIApp
    shared: Shared
    readiness: Callable[[], Readiness]
    start: Callable[[], None] = lambda: None
    running: int = 0
    started: bool = False


Assemble = Callable[[Config, Shared], Stack]


class Gateway:
    """The whole gateway as one ASGI app.

    Under a server of its own it answers the lifespan protocol. Mounted into a host, which gets no lifespan events, it
    starts by itself with the first request; a host that wants its connections closed in time uses `lifespan()`.

    Args:
        config: the first configuration.
        assemble: makes a stack of a configuration.
        around: what stays when the configuration changes, put around the app it is given.
        drain: the state that the stacks' components look at.
        given: closes what the host has brought along.
        fallback: the host's app, which gets lifespan events first.

    Raises:
        ConfigError: the configuration cannot be used.
    """

    def __init__(
        self,
        config: Config,
        *,
        assemble: Assemble,
        around: Callable[[ASGIApp], ASGIApp],
        drain: Drain,
        given: Callable[[], Awaitable[None]],
        fallback: ASGIApp | None = None,
    ) -> None:
        self._assemble = assemble
        self._stack = self._build(config, Shared())
        self._old: list[Stack] = []
        self._app = around(self._current)
        self._drain = drain
        self._close_given = given
        self._fallback = fallback
        self._loop_known = False
        self._in_flight = 0
        self._idle: anyio.Event | None = None
        self._deadline: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        if not self._loop_known:
            if not _on_asyncio():
                raise ConfigError(NOT_TRIO)
            self._loop_known = True
        self._in_flight += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= 1
            if self._idle is not None and not self._in_flight:
                self._idle.set()
                self._idle = None

    @property
    def config(self) -> Config:
        """The configuration that new requests meet."""
        return self._stack.config

    @property
    def readiness(self) -> Readiness:
        """Whether requests are welcome, and why not."""
        return self._stack.readiness()

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the end is near."""
        return self._drain.draining

    @property
    def in_flight(self) -> int:
        """How many requests are running."""
        return self._in_flight

    def drain(self) -> None:
        """From now on the gateway is not ready and refuses new requests. Safe to call from a signal's handler."""
        self._drain.draining = True

    def cut(self) -> None:
        """End the running requests, each with an error its client can read; what they have used is counted."""
        self._drain.cut()

    async def drained(self) -> None:
        """Refuse new requests, wait `drain_seconds` for those that run, and cut off what is left."""
        self.drain()
        if self._deadline is None:
            self._deadline = anyio.current_time() + self.config.server.drain_seconds
        with anyio.CancelScope(deadline=self._deadline):
            await self._until_idle()
        if self._in_flight:
            _logger.warning("%d requests are cut off: the time to drain is over", self._in_flight)
            self.cut()
            with anyio.move_on_after(SETTLE_SECONDS):
                await self._until_idle()

    async def reload(self, config: Config) -> None:
        """Serve new requests with another configuration; those that run keep theirs.

        Connections, counters and memories are kept wherever their settings are the same. What the process was started
        with (host, port, workers, connections) stays as it is.

        Raises:
            ConfigError: the configuration cannot be used; nothing has changed.
        """
        old = self._stack
        new = self._build(config, Shared(old.shared))
        self._stack = new
        self._old.append(old)
        await self._retire()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """For hosts: `FastAPI(lifespan=gateway.lifespan)`, or `async with gateway.lifespan():` in the host's own."""
        self._open()
        try:
            yield
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Wait for running requests (`drain_seconds` at most), then close the connections to the vendors."""
        with anyio.CancelScope(shield=True):
            await self.drained()
            stacks = [*self._old, self._stack]
            for number, stack in enumerate(stacks):
                await _close(stack.shared, stacks[number + 1 :])
            self._old.clear()
            await self._close_given()

    def _build(self, config: Config, shared: Shared) -> Stack:
        stack = self._assemble(config, shared)
        shared.built()
        return stack

    async def _current(self, scope: Scope, receive: Receive, send: Send) -> None:
        stack = self._stack
        stack.running += 1
        if not stack.started:
            stack.started = True
            stack.start()
        try:
            await stack.app(scope, receive, send)
        finally:
            stack.running -= 1
            if stack is not self._stack and not stack.running:
                await self._retire()

    async def _retire(self) -> None:
        """Close what only stacks without requests have used."""
        done = [stack for stack in self._old if not stack.running]
        self._old = [stack for stack in self._old if stack.running]
        for number, stack in enumerate(done):
            with anyio.CancelScope(shield=True):
                await _close(stack.shared, [*done[number + 1 :], *self._old, self._stack])

    async def _until_idle(self) -> None:
        while self._in_flight:
            self._idle = self._idle or anyio.Event()
            await self._idle.wait()

    def _open(self) -> None:
        self._drain.draining = False
        self._deadline = None

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _on_asyncio():
            await receive()
            await send({"type": "lifespan.startup.failed", "message": NOT_TRIO})
            return
        if self._fallback is not None:
            await self._fallback(scope, receive, self._closing_before(send))
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._open()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _closing_before(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await self.aclose()
            await send(message)

        return sending


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _close(shared: Shared, others: list[Stack]) -> None:
    for part in shared.parts_without(stack.shared for stack in others):
        if part.close is not None:
            try:
                with anyio.move_on_after(SETTLE_SECONDS):
                    await part.close()
            except Exception as error:
                # the rest is closed all the same
                _logger.warning("a part of the gateway could not be closed: %s", describe(error))
