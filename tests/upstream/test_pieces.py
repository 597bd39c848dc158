"""What every `Upstream` over HTTP promises of a body that is sent while it comes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import anyio
import httpx
import httpx2
import pytest

from asgi_llmgw.errors import InvalidRequest, RequestError, UpstreamError
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.upstream.aiohttp import AiohttpUpstream
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest
from asgi_llmgw.upstream.dressed import dress
from asgi_llmgw.upstream.httptools import HttptoolsUpstream
from asgi_llmgw.upstream.httpx import HttpxUpstream

pytestmark = pytest.mark.anyio

Make: TypeAlias = Callable[[], Upstream]
PIECE = bytes(range(256)) * 256
MANY = 400
ANSWER = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


@pytest.fixture(
    params=[
        pytest.param(AiohttpUpstream, id="aiohttp"),
        pytest.param(HttptoolsUpstream, id="httptools"),
        pytest.param(lambda: HttpxUpstream(httpx2.AsyncClient(trust_env=False), own=True), id="httpx2"),
        pytest.param(lambda: HttpxUpstream(httpx.AsyncClient(trust_env=False), own=True), id="httpx"),
    ]
)
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[Upstream]:
    make: Make = request.param
    made = make()
    yield made
    await made.aclose()


@dataclass
class Taker:
    """A vendor that reads a body when it is told to."""

    url: str = ""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    early: bool = False
    head: bytes = b""
    body: bytes = b""
    whole: bool = False
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.head = await reader.readuntil(b"\r\n\r\n")
            if self.early:
                writer.write(ANSWER % b"400 Bad Request")
                await writer.drain()
            await self.go_on.wait()
            await self._read(reader)
            self.whole = True
            writer.write(ANSWER % b"200 OK")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended.set()
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        length = re.search(rb"content-length: (\d+)", self.head, re.IGNORECASE)
        if length is not None:
            self.body = await reader.readexactly(int(length[1]))
            return
        while size := int(await reader.readuntil(b"\r\n"), 16):
            self.body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)


@asynccontextmanager
async def taker() -> AsyncIterator[Taker]:
    found = Taker()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{cast(int, server.sockets[0].getsockname()[1])}"
    try:
        yield found
    finally:
        found.go_on.set()
        server.close()


class Pieces:
    """A body, and how much of it was taken."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count = count
        self.error = error
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.count):
            self.taken += 1
            yield PIECE
        if self.error is not None:
            raise self.error


def asking(url: str, pieces: Pieces, length: int | None = None) -> UpstreamRequest:
    headers = ((b"content-type", b"multipart/form-data; boundary=x"),)
    return UpstreamRequest(url=url, headers=headers, pieces=pieces, length=length, timeouts=Timeouts(total=20))


async def ask(upstream: Upstream, request: UpstreamRequest) -> int:
    async with upstream.open(request) as answer:
        assert await answer.aread(limit=100) == b"{}"
        return answer.status


async def test_a_body_of_known_length_says_so(upstream: Upstream) -> None:
    async with taker() as vendor:
        vendor.go_on.set()
        assert await ask(upstream, asking(vendor.url, Pieces(3), length=3 * len(PIECE))) == 200
    assert vendor.body == PIECE * 3
    head = vendor.head.lower()
    assert head.count(b"content-length: %d\r\n" % (3 * len(PIECE))) == 1
    assert b"transfer-encoding" not in head and head.count(b"content-type") == 1


async def test_a_body_of_unknown_length_goes_in_chunks(upstream: Upstream) -> None:
    async with taker() as vendor:
        vendor.go_on.set()
        assert await ask(upstream, asking(vendor.url, Pieces(3))) == 200
    assert vendor.body == PIECE * 3
    assert b"transfer-encoding: chunked" in vendor.head.lower() and b"content-length" not in vendor.head.lower()


async def test_nothing_is_taken_that_the_vendor_has_no_room_for(upstream: Upstream) -> None:
    """Back-pressure: what is under way is what sockets hold."""
    pieces = Pieces(MANY)
    async with taker() as vendor:
        call = asyncio.create_task(ask(upstream, asking(vendor.url, pieces, length=MANY * len(PIECE))))
        while not vendor.head:
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert 0 < pieces.taken < MANY // 2
        vendor.go_on.set()
        assert await call == 200
    assert pieces.taken == MANY and len(vendor.body) == MANY * len(PIECE)


@pytest.mark.parametrize("length", [None, 9 * len(PIECE)])
async def test_a_body_that_breaks_off_is_never_taken_for_whole(upstream: Upstream, length: int | None) -> None:
    pieces = Pieces(3, RequestError("too large", kind="request_too_large"))
    async with taker() as vendor:
        vendor.go_on.set()
        with pytest.raises((RequestError, UpstreamError)):
            await ask(upstream, asking(vendor.url, pieces, length=length))
        await vendor.ended.wait()
    assert not vendor.whole and vendor.connections == 1


async def test_a_vendor_may_answer_before_it_has_read_all(upstream: Upstream) -> None:
    async with taker() as vendor:
        vendor.early = True
        pieces = Pieces(MANY)
        vendor.go_on.set()
        try:
            assert await ask(upstream, asking(vendor.url, pieces, length=MANY * len(PIECE))) == 400
        except UpstreamError as error:
            # a client that writes first finds the connection closed
            assert error.failure == "unreachable"


async def test_a_cancelled_upload_closes_the_connection(upstream: Upstream) -> None:
    """F109, F124"""
    async with taker() as vendor:
        call = asyncio.create_task(ask(upstream, asking(vendor.url, Pieces(MANY))))
        while not vendor.head:
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        vendor.go_on.set()
        async with asyncio.timeout(5):
            await vendor.ended.wait()
    assert not vendor.whole


async def test_a_vendor_that_wraps_its_calls_takes_no_uploads() -> None:
    from asgi_llmgw.envelopes.bedrock import BedrockMessages

    upstream = dress(AiohttpUpstream(), BedrockMessages())
    with pytest.raises(InvalidRequest):
        await ask(upstream, asking("https://nowhere.example", Pieces(1)))
