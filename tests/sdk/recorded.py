"""A vendor of bytes that answers with recorded traffic: which exchange, the model's name says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote

from tests.wire import ROOT

_IN_PATH = re.compile(rb"/(?:models|deployments)/([^:/ ]+)[:/]")
_IN_BODY = re.compile(rb'"model":\s*"([^"]+)"')
_PIECES = (1, 7, 64, 3, 500, 19)


@dataclass
class RecordedUpstream:
    """Answers `POST` with the exchange `folder--name`, in pieces of odd sizes; keeps the request bodies."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                self.heads.append(head)
                self.bodies.append(body)
                await self._answer(head, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        named = _IN_PATH.search(head.split(b"\r\n")[0]) or _IN_BODY.search(body)
        assert named is not None, head
        folder, _, name = unquote(named[1].decode()).partition("--")
        status, kind, answer = recorded(folder, name)
        writer.write(b"HTTP/1.1 %d X\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % (status, kind))
        position, turn = 0, 0
        while position < len(answer):
            piece = answer[position : position + _PIECES[turn % len(_PIECES)]]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            position += len(piece)
            turn += 1
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def recorded(folder: str, name: str) -> tuple[int, bytes, bytes]:
    """Status, content type and body of a recorded answer."""
    from asgi_llmgw.json import as_int, loads_object

    where = ROOT / folder / name
    status = as_int(loads_object((where / "meta.json").read_bytes()).get("status")) or 200
    stream = where / "response.sse"
    if stream.exists():
        return status, b"text/event-stream", stream.read_bytes()
    return status, b"application/json", (where / "response.json").read_bytes()


@asynccontextmanager
async def recorded_upstream() -> AsyncIterator[RecordedUpstream]:
    """Run it on a port of this machine."""
    upstream = RecordedUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{cast(int, server.sockets[0].getsockname()[1])}"
    try:
        yield upstream
    finally:
        server.close()
