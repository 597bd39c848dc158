"""AiohttpRealtime against servers that behave in ways of their own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.upstream.aiohttp_websocket import AiohttpRealtime
from asgi_llmgw.upstream.websocket import Closed, Refusal, SocketRequest, UpstreamSocket
from tests.realtime.vendor import CREATED, Refused, echo, vendor_of

pytestmark = pytest.mark.anyio

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(serve: Serve) -> AsyncIterator[str]:
    """A server of bytes; gives its URL."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime"
    finally:
        server.close()


async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's half of RFC 6455, section 4.2.2."""
    head = await reader.readuntil(b"\r\n\r\n")
    key = re.search(rb"sec-websocket-key: (\S+)", head, re.IGNORECASE)
    assert key is not None
    digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def failure(error: pytest.ExceptionInfo[UpstreamError]) -> str:
    return error.value.failure


async def test_a_refusal_says_what_the_vendor_has_said() -> None:
    said = Refused(429, b'{"error": {"message": "slow down"}}', (("Retry-After", "7"),))
    async with vendor_of(said) as vendor, AiohttpRealtime().connect(SocketRequest(url=f"{vendor.url}/realtime")) as got:
        assert isinstance(got, Refusal)
        assert (got.status, got.body) == (429, said.body)
        assert (b"retry-after", b"7") in got.headers


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    moved = Refused(status, b"", (("Location", "/v1/realtime"),))
    async with vendor_of(moved, echo) as vendor:
        async with AiohttpRealtime().connect(SocketRequest(url=f"{vendor.url}/realtime")) as got:
            assert isinstance(got, Refusal) and got.status == status
        assert len(vendor.targets) == 1


async def test_a_long_refusal_is_not_read_to_its_end() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000)
        await reader.read()
        writer.close()

    async with raw_server(serve) as url, AiohttpRealtime().connect(SocketRequest(url=url)) as got:
        assert isinstance(got, Refusal)
        assert (got.status, len(got.body)) == (500, 64 * 1024)


async def test_nobody_there_is_unreachable() -> None:
    async with raw_server(lambda reader, writer: asyncio.sleep(0)) as url:
        pass
    with pytest.raises(UpstreamError) as error:
        async with AiohttpRealtime().connect(SocketRequest(url=url)):
            pass
    assert failure(error) == "unreachable"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "invalid_response", id="not_http"),
        pytest.param(
            b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
            "invalid_response",
            id="another_ones_handshake",
        ),
        pytest.param(b"", "unreachable", id="hangs_up"),
    ],
)
async def test_a_handshake_that_goes_wrong_is_told_by_its_cause(answer: bytes, found: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with raw_server(serve) as url:
        with pytest.raises(UpstreamError) as error:
            async with AiohttpRealtime().connect(SocketRequest(url=url)):
                pass
    assert failure(error) == found


@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 401 No\r\nContent-Length: 5\r\n\r\nab"])
async def test_a_handshake_that_takes_too_long_is_a_timeout(words: bytes) -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await reader.read()
        writer.close()
        left.set()

    timeouts = Timeouts(connect=0.1, first_byte=0.1)
    async with raw_server(serve) as url:
        with pytest.raises(UpstreamError) as error:
            async with AiohttpRealtime().connect(SocketRequest(url=url, timeouts=timeouts)):
                pass
        await left.wait()
    assert failure(error) == "timeout"


async def test_a_vendor_that_answers_no_ping_is_gone() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer)
        await reader.read()
        writer.close()

    async with raw_server(serve) as url, AiohttpRealtime(heartbeat=0.05).connect(SocketRequest(url=url)) as got:
        assert not isinstance(got, Refusal)
        with pytest.raises(UpstreamError) as error:
            await got.receive()
    assert failure(error) == "timeout"


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        pytest.param(b"", "unreachable", id="hangs_up"),
        pytest.param(b"\x81\x7e\x01\x00abc", "unreachable", id="in_the_middle_of_a_message"),
        pytest.param(b"\x82\x7e\x10\x01" + b"x" * 4097, "invalid_response", id="too_large"),
        pytest.param(b"\xff\x00", "invalid_response", id="reserved_bits"),
        pytest.param(b"\x81\x01\xff", "invalid_response", id="not_utf8"),
    ],
)
async def test_what_cannot_be_read_ends_the_session(frame: bytes, found: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer)
        writer.write(frame)
        writer.close()

    async with raw_server(serve) as url, AiohttpRealtime().connect(SocketRequest(url=url, max_frame=4096)) as got:
        assert not isinstance(got, Refusal)
        with pytest.raises(UpstreamError) as error:
            await got.receive()
    assert failure(error) == found


async def test_a_goodbye_without_a_code_is_1005() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await shake_hands(reader, writer)
        writer.write(b"\x88\x00")
        await reader.read()
        writer.close()

    async with raw_server(serve) as url, AiohttpRealtime().connect(SocketRequest(url=url)) as got:
        assert not isinstance(got, Refusal)
        assert await got.receive() == Closed(1005)


async def test_nothing_can_be_sent_over_what_is_closed() -> None:
    async with vendor_of(echo) as vendor:
        async with AiohttpRealtime().connect(SocketRequest(url=f"{vendor.url}/realtime")) as got:
            assert not isinstance(got, Refusal)
            assert await got.receive() == CREATED
            await got.close(4000, "x" * 200)
            await got.close()
            for frame in ("text", b"bytes"):
                with pytest.raises(UpstreamError) as error:
                    await got.send(frame)
                assert failure(error) == "unreachable"
        assert await vendor.ended.get() == 4000


async def test_a_connection_that_is_left_is_closed() -> None:
    async with vendor_of(echo) as vendor:
        async with AiohttpRealtime().connect(SocketRequest(url=f"{vendor.url}/realtime")) as got:
            socket: UpstreamSocket | Refusal = got
        assert not isinstance(socket, Refusal)
        assert await vendor.ended.get() == 1001


async def test_an_address_may_go_through_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readline()).decode())
        writer.write(b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    seen: list[str] = []
    async with raw_server(serve) as url:
        monkeypatch.setenv("http_proxy", url.rpartition("/v1")[0])
        monkeypatch.setenv("no_proxy", "")
        request = SocketRequest(url="http://vendor.example/v1/realtime")
        async with AiohttpRealtime(trust_env=True).connect(request) as got:
            assert isinstance(got, Refusal) and got.status == 407
    assert "http://vendor.example/v1/realtime" in seen[0]
