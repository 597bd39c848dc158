"""A vendor of bytes: a server on a real socket that does exactly what a scenario says, and keeps what it received."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from ssl import SSLContext
from typing import TypeAlias, cast


class Act(Enum):
    """What a scenario can do besides sending bytes."""

    STALL = auto()  # say nothing more until the client leaves
    RESET = auto()  # drop the connection with an RST
    CLOSE = auto()  # end the connection in an orderly way


Step: TypeAlias = bytes | Act | asyncio.Event
"""Bytes are sent, an event is waited for."""

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def response(body: bytes = b"{}", *, status: str = "200 OK", headers: Sequence[bytes] = ()) -> bytes:
    """A whole answer with its length."""
    lines = [b"HTTP/1.1 " + status.encode(), *headers, b"content-length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass
class Received:
    """One request as it came over the wire."""

    head: bytes
    body: bytes

    @property
    def request_line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("utf-8").split("\r\n")[1:]
        return [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines if line)]


@dataclass
class FaultServer:
    """The n-th request gets the n-th scenario; the last one serves all that follow."""

    scenarios: list[Sequence[Step]]
    url: str = ""
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    clients_gone: int = 0
    sent: int = 0
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            async with self._arrived:
                self.clients_gone += 1
                self._arrived.notify_all()

    async def requests_seen(self, count: int) -> None:
        """Wait for this many requests."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def connections_ended(self, count: int = 1) -> None:
        """Wait until this many connections have ended."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.clients_gone >= count)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        received = await _read_request(reader)
        scenario = self.scenarios[min(len(self.requests), len(self.scenarios) - 1)]
        async with self._arrived:
            self.requests.append(received)
            self._arrived.notify_all()
        for step in scenario:
            match step:
                case bytes():
                    writer.write(step)
                    await writer.drain()
                    self.sent += len(step)
                case asyncio.Event():
                    await step.wait()
                case Act.STALL:
                    await reader.read()
                    return False
                case Act.RESET:
                    raw = cast(socket.socket, writer.get_extra_info("socket"))
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    return False
                case Act.CLOSE:
                    writer.close()
                    await writer.wait_closed()
                    return False
        return True


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = await reader.readuntil(b"\r\n\r\n")
    received = Received(head.removesuffix(b"\r\n\r\n"), b"")
    length = dict(received.headers).get("content-length", "0")
    return Received(received.head, await reader.readexactly(int(length)))


@asynccontextmanager
async def fault_server(*scenarios: Sequence[Step], tls: SSLContext | None = None) -> AsyncIterator[FaultServer]:
    """Run a server on a port of this machine."""
    fault = FaultServer(list(scenarios))
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(fault.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls, backlog=512)
    port = cast(int, server.sockets[0].getsockname()[1])
    fault.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield fault
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def unused_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast(int, probe.getsockname()[1])
