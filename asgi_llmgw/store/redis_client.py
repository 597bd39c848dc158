"""A connection to Redis that answers in time or says that it cannot, and never says where it leads to."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Final, Protocol, Self, cast

from asgi_llmgw.errors import ConfigError
from asgi_llmgw.store.base import StoreUnavailable

CONNECT: Final = 0.5
POOL_WAIT: Final = 0.05
CONNECTIONS: Final = 32
HEALTH_CHECK: Final = 15.0
_HANDSHAKE: Final = 2
"""Round trips before the first command: password and database."""

_CODE: Final = re.compile(r"[A-Z]{2,20}\b")


class _Redis(Protocol):
    """What we use of redis-py's client."""

    async def execute_command(self, *command: str | bytes | int) -> object: ...

    async def aclose(self, close_connection_pool: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Script:
    """Lua for the server, known there by its digest."""

    source: str = field(repr=False)
    digest: str

    @classmethod
    def load(cls, name: str) -> Self:
        """One of the scripts of this package, behind what all of them share."""
        folder = files("asgi_llmgw.store")
        source = "".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("common", name))
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class RedisClient:
    """Connections to one Redis, made when they are needed, for each event loop its own.

    Nothing is tried twice: a command that fails, or takes longer than `timeout`, is a `StoreUnavailable`. A command
    whose caller is cancelled goes on to its end all the same, so that its reply is never taken for another's.

    Args:
        url: `redis://`, `rediss://` or `unix://`; it may hold a password.
        timeout: seconds for the reply to one command.

    Raises:
        ConfigError: redis-py is not installed, or the address cannot be used.
    """

    def __init__(self, url: str, *, timeout: float = 0.1) -> None:
        try:
            import redis.asyncio
        except ImportError:
            raise ConfigError("The store needs redis-py: pip install 'asgi-llmgw[redis]'") from None
        try:
            redis.asyncio.connection.parse_url(url)
        except ValueError:
            # what was written is not repeated: it may hold a password
            raise ConfigError("store.url is not the address of a Redis") from None
        self._url = url
        self._timeout = timeout
        # waiting for one of our own connections must not look like a store that is away
        self._pool_wait, self._connect_wait = max(POOL_WAIT, timeout), max(CONNECT, timeout)
        self._longest = self._pool_wait + self._connect_wait + (_HANDSHAKE + 1) * timeout
        self._clients: dict[asyncio.AbstractEventLoop, _Redis] = {}
        self._running: set[asyncio.Future[object]] = set()
        self._no_digests = False

    async def execute(self, *command: str | bytes | int) -> object:
        """The reply to a command.

        Raises:
            StoreUnavailable: it did not come.
        """
        return await self._to_its_end(lambda client: client.execute_command(*command))

    async def run(self, script: Script, keys: list[str], arguments: list[str | int]) -> object:
        """The reply of a script.

        Raises:
            StoreUnavailable: it did not come.
        """
        return await self._to_its_end(lambda client: self._evaluate(client, script, keys, arguments))

    async def aclose(self) -> None:
        """Close the connections, in whichever loop they are, once the commands that are under way have ended."""
        here = asyncio.get_running_loop()
        for loop in list(self._clients):
            if loop is here:
                await self._close_here()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close_here(), loop))
            else:
                # nothing can be awaited there any more
                self._clients.pop(loop, None)

    async def _close_here(self) -> None:
        loop = asyncio.get_running_loop()
        ours = [task for task in list(self._running) if task.get_loop() is loop]
        if ours:
            await asyncio.wait(ours)
        client = self._clients.pop(loop, None)
        if client is not None:
            await client.aclose(True)

    async def _evaluate(self, client: _Redis, script: Script, keys: list[str], arguments: list[str | int]) -> object:
        """By digest, which the server may not know yet, or may not take; EVAL teaches it."""
        from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

        rest = (len(keys), *keys, *arguments)
        if not self._no_digests:
            try:
                return await client.execute_command("EVALSHA", script.digest, *rest)
            except NoScriptError:
                pass
            except NoPermissionError:
                self._no_digests = True
            except ResponseError as error:
                if not str(error).lower().startswith("unknown command"):
                    raise
                self._no_digests = True
        return await client.execute_command("EVAL", script.source, *rest)

    async def _to_its_end(self, call: Callable[[_Redis], Awaitable[object]]) -> object:
        """Run it apart from the caller's task, which may be cancelled in the middle of a reply."""
        task = asyncio.ensure_future(self._in_time(call))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        result = await asyncio.shield(task)
        if isinstance(result, _Failure):
            raise StoreUnavailable(f"the store cannot be used: {result.reason}")
        return result

    async def _in_time(self, call: Callable[[_Redis], Awaitable[object]]) -> object:
        """The reply, or what went wrong: an exception of the client names its host, and nobody may wait for this."""
        try:
            async with asyncio.timeout(self._longest):
                return await call(self._client())
        except Exception as error:
            return _Failure(_reason(error))

    def _client(self) -> _Redis:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            for other in [other for other in self._clients if other.is_closed()]:
                del self._clients[other]
            client = self._clients[loop] = self._connect()
        return client

    def _connect(self) -> _Redis:
        from redis.asyncio import BlockingConnectionPool, Redis

        pool = BlockingConnectionPool.from_url(
            self._url,
            max_connections=CONNECTIONS,
            timeout=self._pool_wait,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._connect_wait,
            health_check_interval=HEALTH_CHECK,
            protocol=2,
            driver_info=None,
            decode_responses=False,
        )
        return cast(_Redis, Redis(connection_pool=pool))


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str


def _reason(error: Exception) -> str:
    """What kind of failure it was: the code that Redis put in front of its message, or the name of the exception."""
    name = type(error).__name__
    code = _CODE.match(str(error)) if name == "ResponseError" else None
    return code.group() if code else name
