"""Uploads over real sockets: through real servers to a vendor that reads as it likes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import anyio
import pytest

from asgi_llmgw import Gateway, build_app
from asgi_llmgw.config import parse_config
from tests.servers import SERVERS, ServerName
from tests.upstream.test_pieces import Taker, taker

pytestmark = pytest.mark.anyio

FIELD = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
PIECE = b"\x00sound!!" * 8192
PIECES = 640
"""More than the sockets on the way hold, of which each may grow to ten MB."""


@pytest.fixture(params=["uvicorn", "hypercorn"])
def server(request: pytest.FixtureRequest) -> ServerName:
    return cast(ServerName, request.param)


def gateway(vendor: Taker) -> Gateway:
    provider = {"protocol": "openai_chat", "base_url": f"{vendor.url}/v1", "api_key": "upstream-key"}
    document = {"providers": {"vendor": provider}, "models": {"whisper-1": {"targets": ["vendor/whisper-1"]}}}
    return build_app(parse_config(document, environ={}), access_log=None)


def head(length: int) -> bytes:
    return (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n"
        b"content-type: multipart/form-data; boundary=b\r\ncontent-length: %d\r\n\r\n" % length
    )


async def opened(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head(len(FIELD) + len(FILE) + PIECES * len(PIECE) + len(b"\r\n--b--\r\n")) + FIELD + FILE)
    return reader, writer


async def send_all(writer: asyncio.StreamWriter) -> None:
    for _ in range(PIECES):
        writer.write(PIECE)
        await writer.drain()
    writer.write(b"\r\n--b--\r\n")
    await writer.drain()


async def test_a_large_form_arrives_whole(server: ServerName) -> None:
    async with taker() as vendor, SERVERS[server](gateway(vendor)) as url:
        vendor.go_on.set()
        reader, writer = await opened(url)
        await send_all(writer)
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"{}")
    assert vendor.body == FIELD + FILE + PIECE * PIECES + b"\r\n--b--\r\n"
    assert b"content-length: %d" % len(vendor.body) in vendor.head.lower()


async def test_a_vendor_that_does_not_read_stops_the_client(server: ServerName) -> None:
    """Back-pressure from the vendor's socket to the client's, with little held between them."""
    async with taker() as vendor, SERVERS[server](gateway(vendor)) as url:
        reader, writer = await opened(url)
        sending = asyncio.create_task(send_all(writer))
        await until(lambda: bool(vendor.head))
        done, _ = await asyncio.wait({sending}, timeout=0.5)
        assert not done
        vendor.go_on.set()
        await sending
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_client_that_leaves_in_the_middle_ends_the_call(server: ServerName) -> None:
    async with taker() as vendor, SERVERS[server](gateway(vendor)) as url:
        vendor.go_on.set()
        _, writer = await opened(url)
        for _ in range(PIECES // 2):
            writer.write(PIECE)
            await writer.drain()
        await until(lambda: bool(vendor.head))
        writer.transport.abort()
        async with asyncio.timeout(10):
            await vendor.ended.wait()
    assert not vendor.whole


async def test_a_vendor_that_refuses_before_it_has_read_all_is_heard(server: ServerName) -> None:
    async with taker() as vendor, SERVERS[server](gateway(vendor)) as url:
        vendor.early = True
        reader, writer = await opened(url)
        sending = asyncio.create_task(send_all(writer))
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"\r\n")
        assert answer.split()[1] in (b"400", b"502")
        sending.cancel()
        await asyncio.wait({sending})
        writer.transport.abort()


async def until(condition: Callable[[], bool]) -> None:
    """Let the others go on until something is so."""
    async with asyncio.timeout(10):
        while not condition():
            await anyio.lowlevel.checkpoint()
