"""A TCP proxy in front of a store that does what networks do: is slow, breaks, swallows."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

Fate: TypeAlias = Literal["pass", "reset", "swallow"]


class Proxy:
    """Decides what becomes of each packet of the client's.

    Attributes:
        delay: seconds that each packet takes.
        fate: asked for each packet, which it gets the number of.
        connections: so many have come.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self.delay = 0.0
        self.fate: Callable[[int], Fate] = lambda number: "pass"
        self.connections = 0
        self._packets = 0
        self._running: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self._writers.add(writer)
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(upstream_writer)
            await asyncio.gather(self._forward(reader, upstream_writer, writer), self._back(upstream_reader, writer))
            self._writers.discard(upstream_writer)
        except OSError:
            writer.close()
        finally:
            self._writers.discard(writer)
            self._running.discard(task)

    async def aclose(self) -> None:
        """Cut all connections."""
        while self._running:
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.wait(self._running, timeout=0.1)

    async def _forward(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(65536):
                self._packets += 1
                match self.fate(self._packets):
                    case "reset":
                        raw = client.get_extra_info("socket")
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        client.transport.abort()
                        break
                    case "swallow":
                        continue
                    case "pass":
                        loop.call_later(self.delay, _write, upstream, data)
        except OSError:
            pass
        finally:
            upstream.close()

    async def _back(self, upstream: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            while data := await upstream.read(65536):
                client.write(data)
        except OSError:
            pass
        finally:
            client.close()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """A proxy to a port of this machine."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.aclose()
