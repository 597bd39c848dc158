"""A client of bytes."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from asgi_llmgw.json import JSONObject, JSONValue, dumps, loads_object


@dataclass
class RawAnswer:
    """One HTTP/1.1 answer."""

    status: int
    head: bytes
    body: bytes

    @property
    def json(self) -> JSONObject:
        return loads_object(self.body)


@dataclass
class RawClient:
    """A connection on which any bytes can be sent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        """Leave with an RST."""
        raw = cast(socket.socket, self.writer.get_extra_info("socket"))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def leave(self) -> None:
        """Leave with a FIN."""
        self.writer.close()

    async def answer(self) -> RawAnswer:
        """Read one whole answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        status = int(head.split(b" ", 2)[1])
        if status == 100:
            return RawAnswer(status, head, b"")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if length:
            return RawAnswer(status, head, await asyncio.wait_for(self.reader.readexactly(int(length[1])), 10))
        if b"chunked" not in head.lower():
            return RawAnswer(status, head, await asyncio.wait_for(self.reader.read(), 10))
        body = b""
        while size := int(await asyncio.wait_for(self.reader.readline(), 10), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return RawAnswer(status, head, body)

    async def until(self, mark: bytes) -> bytes:
        """Read until these bytes have come."""
        return await asyncio.wait_for(self.reader.readuntil(mark), 10)


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


def request(
    body: JSONValue | bytes = b"",
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    key: str | None = None,
    headers: tuple[str, ...] = (),
    host: str | None = "gateway.example",
) -> bytes:
    """The bytes of a request."""
    data = body if isinstance(body, bytes) else dumps(body)
    lines = [f"{method} {path} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {host}")
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    lines += [*headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode("latin-1") + data


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until this holds; the servers tell nobody when they are done with a request."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
