"""Clients that read or write too slowly, under real servers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import pytest

import asgi_llmgw.components.proxy as proxy
from asgi_llmgw.answer import PIECE
from asgi_llmgw.json import dumps
from tests.faultup import CHUNKED, Act, Step, chunk, response
from tests.samples import CHAT_ROLE, chat_answer, chat_chunk, chat_request
from tests.serving.conftest import KEY, OpenHouse
from tests.serving.raw import RawClient, connect, request, until

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
WORDS = chunk(chat_chunk({"content": "x" * 16_000}))
ENDLESS: list[Step] = [CHUNKED + chunk(CHAT_ROLE), *[WORDS] * 4_000, Act.STALL]
LET_THROUGH = 16 * MIB
"""What the vendor's kernel, the gateway, its server and the client may have in their buffers."""


@asynccontextmanager
async def small_reader(port: int) -> AsyncIterator[RawClient]:
    """A client whose kernel takes next to nothing."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


async def test_a_client_that_stops_reading_stops_the_vendor_and_is_given_up(house: OpenHouse) -> None:
    """F117: what it does not take is not read from the vendor; after the stall both sides are closed."""
    async with house(ENDLESS, settings={"send_stall_seconds": 0.5}) as running, small_reader(running.port) as client:
        client.send(request(chat_request(stream=True), key=KEY))
        async with asyncio.timeout(20):
            await running.vendor.connections_ended()
        assert 0 < running.vendor.sent < LET_THROUGH
        await until(lambda: bool(running.log))
        assert running.log[0]["outcome"] == "client_disconnected"
        assert running.counted("llm_streams_in_flight") == 0


async def test_a_client_that_reads_on_gets_all_of_it(house: OpenHouse) -> None:
    """F120: with the same patience, and a stream that does not fit into any buffer."""
    end = chunk(chat_chunk({}, "stop")) + chunk(b"data: [DONE]\n\n") + chunk(b"")
    long: list[Step] = [CHUNKED + chunk(CHAT_ROLE), *[WORDS] * 400, end]
    async with house(long, settings={"send_stall_seconds": 0.5}) as running, small_reader(running.port) as client:
        client.send(request(chat_request(stream=True), key=KEY))
        size = 0
        while b"[DONE]" not in (piece := await client.reader.read(PIECE)):
            size += len(piece)
        assert size > 400 * 16_000 - PIECE
        await until(lambda: bool(running.log))
        assert running.log[0]["outcome"] == "completed"


@pytest.mark.parametrize("settings", [{"body_timeout_seconds": 0.2}, {"body_timeout_seconds": 0.2, "reload": False}])
async def test_a_body_that_does_not_come_is_told_so(house: OpenHouse, settings: dict[str, object]) -> None:
    """F121: nobody is asked, and the next client is served."""
    body = dumps(chat_request())
    whole = response(chat_answer(), headers=(b"content-type: application/json",))
    async with house([whole], settings=settings) as running:
        async with connect(running.port) as client:
            started = time.monotonic()
            client.send(request(body, key=KEY)[:-10])
            answer = await client.answer()
            assert answer.status == 408
            assert 0.2 <= time.monotonic() - started < 5
            assert b'"error"' in answer.body
            # or the rest could go on coming for ever, and be taken for the next request
            assert b"connection: close" in answer.head.lower()
            assert await asyncio.wait_for(client.reader.read(), 10) == b""
        assert running.vendor.requests == []
        async with connect(running.port) as client:
            client.send(request(body, key=KEY))
            assert (await client.answer()).status == 200


@pytest.mark.parametrize("house", ["hypercorn"], indirect=True)
async def test_a_stream_of_http_2_that_is_not_read_is_bounded(
    house: OpenHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F118: whether the server makes us wait or takes all it is given, one of our bounds ends it."""
    monkeypatch.setattr(proxy, "MAX_STREAM", MIB)
    async with house(ENDLESS, settings={"send_stall_seconds": 0.5}) as running, connect(running.port) as client:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        connection.initiate_connection()
        body = dumps(chat_request(stream=True))
        headers = [
            (":method", "POST"),
            (":path", "/v1/chat/completions"),
            (":scheme", "http"),
            (":authority", "gateway.example"),
            ("authorization", f"Bearer {KEY}"),
            ("content-type", "application/json"),
        ]
        connection.send_headers(1, headers)
        connection.send_data(1, body, end_stream=True)
        client.send(connection.data_to_send())
        async with asyncio.timeout(20):
            await running.vendor.connections_ended()
        await until(lambda: bool(running.log))
        assert running.log[0]["outcome"] in ("client_disconnected", "upstream_error")
        assert running.vendor.sent < LET_THROUGH
