"""Real servers on real sockets, in an event loop of their own, so that blocking clients can be used against them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Literal, TypeAlias, TypeVar, cast

import hypercorn.asyncio
import hypercorn.config
import uvicorn

from asgi_llmgw._types import ASGIApp
from asgi_llmgw.serve import listen

T = TypeVar("T")
ServerName: TypeAlias = Literal["uvicorn", "hypercorn"]


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()


@asynccontextmanager
async def uvicorn_server(app: ASGIApp) -> AsyncIterator[str]:
    """The app under uvicorn with httptools; gives its URL."""
    listener = listen("127.0.0.1", 0)
    port = cast(int, listener.getsockname()[1])
    config = uvicorn.Config(app, log_config=None, access_log=False, http="httptools", timeout_graceful_shutdown=5)
    server = _Server(config)
    task = asyncio.create_task(server._serve(sockets=[listener]))
    waiting = asyncio.create_task(server.listening.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        await task
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def hypercorn_server(app: ASGIApp) -> AsyncIterator[str]:
    """The app under hypercorn; gives its URL."""
    # not listening yet: that is how one can tell when hypercorn does
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = cast(int, listener.getsockname()[1])
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 0.1
    config.errorlog = None
    stop = asyncio.Event()
    task = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    await _listening(port, task)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop.set()
        await task


async def _listening(port: int, server: asyncio.Task[None]) -> None:
    while not server.done():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0)
            continue
        writer.close()
        await writer.wait_closed()
        return
    await server


SERVERS = {"uvicorn": uvicorn_server, "hypercorn": hypercorn_server}


class Background:
    """An event loop in a thread; what is entered here is left when the block ends."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()

    def enter(self, context: AbstractAsyncContextManager[T]) -> T:
        """Enter an asynchronous context in the loop and wait for what it gives."""
        return asyncio.run_coroutine_threadsafe(self._stack.enter_async_context(context), self.loop).result(30)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self.loop).result(30)


@contextmanager
def background() -> Iterator[Background]:
    """Run an event loop beside the test."""
    running = Background()
    thread = threading.Thread(target=running.loop.run_forever, name="servers", daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.close()
        running.loop.call_soon_threadsafe(running.loop.stop)
        thread.join(30)
        running.loop.close()
