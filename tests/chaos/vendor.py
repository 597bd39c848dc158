"""Vendors on real sockets that have bad times: for a while, everything they are asked goes wrong in some way."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast, get_args

from asgi_llmgw.json import dumps
from tests.samples import (
    CHAT_ERROR,
    MESSAGES_OVERLOADED,
    chat_answer,
    chat_stream,
    frame,
    messages_answer,
    messages_stream,
)

Fault: TypeAlias = Literal[
    "refused",
    "reset",
    "stall",
    "stall_after_head",
    "limited",
    "status_500",
    "overloaded",
    "html",
    "html_in_200",
    "error_in_200",
    "drip",
    "cut",
    "error_after_content",
    "stall_after_content",
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
AFTER_CONTENT: Final[frozenset[Fault]] = frozenset({"cut", "error_after_content", "stall_after_content"})
"""A stream is lost with these: the client has seen a part of it."""

WORDS: Final = 12
_CASE: Final = re.compile(rb"case-[0-9]+")
_STREAM: Final = re.compile(rb'"stream": ?true')


def words(case: str) -> list[str]:
    """What a good answer says; no word is like another."""
    return [f"{case}.{number} " for number in range(WORDS)]


@dataclass
class Deployment:
    """One vendor's server. `fault` is how it answers now, None being well."""

    name: str
    protocol: Literal["openai_chat", "anthropic_messages"]
    rng: random.Random
    fault: Fault | None = None
    calls: int = 0
    connections: set[asyncio.StreamWriter] = field(default_factory=set)
    _port: int = 0
    _place: socket.socket | None = None
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        base = f"http://127.0.0.1:{self._port}"
        return base + "/v1" if self.protocol == "openai_chat" else base

    async def suffer(self, fault: Fault | None) -> None:
        """From now on, this goes wrong."""
        self.fault = fault
        if fault == "refused":
            await self.close()
        elif self._server is None:
            await self.listen()

    async def listen(self) -> None:
        if self._place is None:
            # keeps the port ours while nobody listens there
            self._place = socket.socket()
            self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._place.bind(("127.0.0.1", 0))
            self._port = cast(int, self._place.getsockname()[1])
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, backlog=512, reuse_port=True)

    async def leave(self) -> None:
        """The end."""
        await self.close()
        if self._place is not None:
            self._place.close()

    async def close(self) -> None:
        """Listen no more, and drop whoever is connected."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # a task that is cancelled before it has begun cleans up nothing
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            while await self._answer(await _read(reader), reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connections.discard(writer)
            writer.transport.abort()

    async def _answer(self, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One exchange; True where the connection is fit for another."""
        self.calls += 1
        found = _CASE.search(body)
        case = found[0].decode() if found else "case-0"
        stream = _STREAM.search(body) is not None
        match self.fault:
            case "reset" | "refused":
                _reset(writer)
            case "stall":
                await reader.read()
            case "stall_after_head" if stream:
                await _write(writer, _SSE_HEAD)
                await reader.read()
            case "limited":
                await _write(writer, _whole(self._error(), "429 Too Many Requests", b"retry-after: 1\r\n"))
                return True
            case "status_500" | "stall_after_head":
                await _write(writer, _whole(self._error(), "500 Internal Server Error"))
                return True
            case "overloaded":
                await _write(writer, _whole(self._error(), "529 Overloaded"))
                return True
            case "html":
                await _write(writer, _whole(_HTML, "502 Bad Gateway", type="text/html"))
                return True
            case "html_in_200":
                await _write(writer, _whole(_HTML, type="text/html"))
                return True
            case "error_in_200":
                error = _SSE_HEAD + _chunk(self._error_event()) + _chunk(b"")
                await _write(writer, error if stream else _whole(self._error()))
                return True
            case fault:
                return await self._content(case, stream, fault, reader, writer)
        return False

    async def _content(
        self,
        case: str,
        stream: bool,
        fault: Fault | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """An answer that has content, as far as it gets."""
        text = words(case)
        if not stream:
            answer = _whole(chat_answer("".join(text)) if self._is_chat else messages_answer("".join(text)))
            if fault in AFTER_CONTENT:
                await _write(writer, answer[: self.rng.randrange(len(answer) - 300, len(answer))])
                return False
            await _write(writer, answer)
            return True
        frames = chat_stream(*text) if self._is_chat else messages_stream(*text)
        await _write(writer, _SSE_HEAD)
        if fault not in AFTER_CONTENT:
            for data in frames:
                await _write(writer, _chunk(data))
                if fault == "drip":
                    await asyncio.sleep(0.002)
            await _write(writer, _chunk(b""))
            return True
        seen = self.rng.randrange(5, len(frames) - 4)
        whole = b"".join(frames[:seen])
        await _write(writer, _chunk(whole if fault != "cut" else whole + frames[seen][: self.rng.randrange(1, 20)]))
        if fault == "error_after_content":
            await _write(writer, _chunk(self._error_event()) + _chunk(b""))
            return True
        if fault == "stall_after_content":
            await reader.read()
        elif self.rng.random() < 0.5:
            _reset(writer)
        return False

    @property
    def _is_chat(self) -> bool:
        return self.protocol == "openai_chat"

    def _error(self) -> bytes:
        return dumps(CHAT_ERROR if self._is_chat else MESSAGES_OVERLOADED)

    def _error_event(self) -> bytes:
        return frame(CHAT_ERROR) if self._is_chat else frame(MESSAGES_OVERLOADED, "error")


@asynccontextmanager
async def deployments(count: int, rng: random.Random) -> AsyncIterator[list[Deployment]]:
    """So many servers, half of them of each protocol."""
    found = [
        Deployment(f"d{number}", "openai_chat" if number % 2 else "anthropic_messages", random.Random(rng.random()))
        for number in range(count)
    ]
    try:
        for deployment in found:
            await deployment.listen()
        yield found
    finally:
        for deployment in found:
            await deployment.leave()


_HTML: Final = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_SSE_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _whole(body: bytes, status: str = "200 OK", headers: bytes = b"", *, type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {type}\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + headers + b"\r\n" + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = cast(socket.socket, writer.get_extra_info("socket"))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *([0-9]+)", head)
    return await reader.readexactly(int(length[1]) if length else 0)
