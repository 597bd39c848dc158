"""One process that serves: a server, the gateway in it, and what it is told from outside."""

from __future__ import annotations

import asyncio
import logging.config
import math
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Literal, TypeAlias

from asgi_llmgw._types import Message, Receive, Scope, Send
from asgi_llmgw.collector import Collector
from asgi_llmgw.config import Config, load_config
from asgi_llmgw.config.load import CONFIG_VARIABLE
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.gateway import SETTLE_SECONDS, Gateway
from asgi_llmgw.reloading import Reloader

ServerName: TypeAlias = Literal["uvicorn", "hypercorn"]

READY: Final = b"ready"
"""What a worker says once it takes requests."""
DRAIN: Final = b"drain"
LEAVE: Final = b"leave"
CUT: Final = b"cut"
RELOAD: Final = b"reload"

LINGER: Final = 0.5
"""Seconds in which clients learn with an answer that their connection ends, before idle ones are closed."""
LAST_BYTES: Final = 2.0
"""Seconds that a slow client's connection has at least for what was sent to it."""
STARTUP_FAILED: Final = 3
_QUIET: Final = ("uvicorn", "hypercorn.error", "aiohttp", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio")
_logger: Final = logging.getLogger(__name__)


class Worker:
    """Serves one gateway until it is told to stop, and not longer than its requests need.

    `DRAIN` refuses new requests and ends when the running ones are over, `LEAVE` does so without taking new
    connections (other processes take them), `CUT` does not wait, and `RELOAD` loads the configuration again.

    Args:
        orders: where a parent process writes these; its end is a `DRAIN`. None takes signals instead: the first SIGTERM
            or SIGINT drains, the second cuts, the third kills, and SIGHUP reloads.
    """

    def __init__(self, gateway: Gateway, *, orders: Connection | None = None) -> None:
        self.gateway = gateway
        self.stopping = asyncio.Event()
        self.stop_listening: Callable[[], object] = self.stopping.set
        self._orders = orders
        self._reloader = Reloader(gateway, path=_watched(gateway.config))
        self._tasks: set[asyncio.Task[object]] = set()
        self._ends: float | None = None
        self._leaving = False
        self._collector = Collector()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            self._collector.begin()
            try:
                await self.gateway(scope, receive, _closing(scope, send) if self._leaving else send)
            finally:
                self._collector.end()
            return

        async def started(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._collector.start()
            await send(message)
            if message["type"] == "lifespan.startup.complete" and self._orders is not None:
                self._say_ready(self._orders)

        async with self._obeying():
            await self.gateway(scope, receive, started)

    @property
    def grace(self) -> float:
        """Seconds after which a server may lose patience with connections: by then the gateway itself has."""
        return LAST_BYTES if self._ends is None else max(LAST_BYTES, self._ends - time.monotonic())

    def obey(self, order: bytes) -> None:
        """Do what was ordered; unknown orders are ignored."""
        if order == RELOAD:
            self._start(self._reloader.reload())
            return
        if order == CUT:
            self._ends = time.monotonic()
        elif order in (DRAIN, LEAVE) and self._ends is None:
            self._ends = time.monotonic() + self.gateway.config.server.drain_seconds + SETTLE_SECONDS
        if order in (DRAIN, CUT):
            self.gateway.drain()
            self._start(self._drained())
            if order == CUT:
                self.gateway.cut()
        elif order == LEAVE:
            self._start(self._leave())

    def _say_ready(self, parent: Connection) -> None:
        try:
            parent.send_bytes(READY)
        except OSError:
            # it has died meanwhile
            self.obey(DRAIN)

    async def _drained(self) -> None:
        try:
            await self.gateway.drained()
        finally:
            self.stopping.set()

    async def _leave(self) -> None:
        self.stop_listening()
        # whoever has a connection gets answers still, and with them the word to take another one
        self._leaving = True
        await asyncio.sleep(LINGER)
        self.stopping.set()
        await asyncio.sleep(LINGER)
        await self.gateway.drained()

    def _start(self, work: Coroutine[object, object, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def _obeying(self) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        watching = loop.create_task(self._reloader.watch())
        with self._orders_of_a_parent(loop, self._orders) if self._orders else self._signals(loop):
            try:
                yield
            finally:
                watching.cancel()

    @contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        def end() -> None:
            if self._ends is None:
                self.obey(DRAIN)
                return
            self.obey(CUT)
            for name in ("SIGTERM", "SIGINT"):
                _on_signal(name, None)

        _on_signal("SIGTERM", _soon(loop, end))
        _on_signal("SIGINT", _soon(loop, end))
        _on_signal("SIGHUP", _soon(loop, self.obey, RELOAD))
        _on_signal("SIGUSR2", lambda: _logger.warning("one process alone cannot be replaced: use several workers"))
        yield

    @contextmanager
    def _orders_of_a_parent(self, loop: asyncio.AbstractEventLoop, orders: Connection) -> Iterator[None]:
        def read() -> None:
            try:
                self.obey(orders.recv_bytes())
            except (EOFError, OSError):
                # nobody is left to order anything, nor to take our place
                loop.remove_reader(orders.fileno())
                self.obey(DRAIN)

        # service managers tell every process of a group to end, terminals tell them to break off: the parent decides
        _on_signal("SIGTERM", _soon(loop, self.obey, DRAIN))
        for name in ("SIGINT", "SIGHUP", "SIGUSR2"):
            _on_signal(name, lambda: None)
        loop.add_reader(orders.fileno(), read)
        try:
            yield
        finally:
            loop.remove_reader(orders.fileno())


def _closing(scope: Scope, send: Send) -> Send:
    """A `send` that tells the client of HTTP/1 to make another connection for its next request."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and str(scope.get("http_version", "1.1")).startswith("1"):
            headers = [pair for pair in message.get("headers") or () if pair[0] != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
        await send(message)

    return sending


def _soon(loop: asyncio.AbstractEventLoop, act: Callable[..., object], *given: object) -> Callable[[], None]:
    """Does it in this event loop; a signal that comes when that has ended is too late to change anything."""

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(act, *given)

    return tell


def _on_signal(name: str, act: Callable[[], object] | None) -> None:
    """Do this when the signal comes, where the system knows it; None takes what the system does by itself."""
    number = getattr(signal, name, None)
    if number is not None:
        signal.signal(number, signal.SIG_DFL if act is None else lambda number, frame: act())


def run(config: Config, listening: socket.socket, server: ServerName, *, orders: Connection | None = None) -> int:
    """Serve in this process until told to stop; the return is the exit code."""
    # a parent of several processes needs none of what serves requests
    from asgi_llmgw.app import build_app

    logging.config.dictConfig(log_config(config.server.log_level))
    worker = Worker(build_app(config), orders=orders)
    return _uvicorn(config, listening, worker) if server == "uvicorn" else _hypercorn(config, listening, worker)


def run_child(listening: socket.socket, server: ServerName, orders: Connection) -> None:
    """Serve as one of several processes; the configuration comes from the environment."""
    try:
        raise SystemExit(run(load_config(), listening, server, orders=orders))
    except ConfigError as error:
        _logger.error("a worker cannot start: %s", error.message)
        raise SystemExit(STARTUP_FAILED) from None


def log_config(level: str) -> dict[str, object]:
    """Everything on stderr as JSON lines: our log at `level`, servers and HTTP clients when something is wrong."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "asgi_llmgw.logs.JSONFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            "asgi_llmgw": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            **{name: {"handlers": ["stderr"], "level": "WARNING", "propagate": False} for name in _QUIET},
        },
    }


def _uvicorn(config: Config, listening: socket.socket, worker: Worker) -> int:
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to the worker, and stops when that says so."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def on_tick(self, counter: int) -> bool:
            if worker.stopping.is_set():
                self.config.timeout_graceful_shutdown = math.ceil(worker.grace)
                self.should_exit = True
            return await super().on_tick(counter)

    server = Server(
        uvicorn.Config(
            worker,
            log_config=None,
            lifespan="on",
            access_log=False,
            server_header=False,
            # nothing here asks where a client is
            proxy_headers=False,
            timeout_keep_alive=config.server.keep_alive_seconds,
            limit_concurrency=config.server.max_connections,
        )
    )

    def stop_listening() -> None:
        for listener in server.servers:
            listener.close()

    worker.stop_listening = stop_listening
    server.run(sockets=[listening])
    return 0 if server.started else STARTUP_FAILED


def _hypercorn(config: Config, listening: socket.socket, worker: Worker) -> int:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config as HypercornConfig

    settings = HypercornConfig()
    accepting = os.dup(listening.fileno())
    settings.bind = [f"fd://{accepting}"]
    settings.include_server_header = False
    settings.accesslog = None
    settings.errorlog = logging.getLogger("hypercorn.error")
    settings.loglevel = "WARNING"
    settings.keep_alive_timeout = config.server.keep_alive_seconds

    async def stopping() -> None:
        await worker.stopping.wait()
        settings.graceful_timeout = worker.grace

    # nothing is accepted any more, while what was accepted is served
    worker.stop_listening = lambda: asyncio.get_running_loop().remove_reader(accepting)
    # hypercorn types the messages of an ASGI app more closely than ASGI does
    asyncio.run(serve(worker, settings, shutdown_trigger=stopping))  # type: ignore[arg-type]
    return 0


def _watched(config: Config) -> Path | None:
    path = os.environ.get(CONFIG_VARIABLE)
    return Path(path) if path and config.server.reload else None
