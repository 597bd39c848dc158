"""Bodies that the transport on httptools sends while they come, on the loops of asyncio and of uvloop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import pytest

from asgi_llmgw.errors import RequestError, UpstreamError
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.httptools import HttptoolsUpstream
from tests.faultup import CHUNKED, OK, Act, chunk, fault_server
from tests.upstream.test_pieces import MANY, PIECE, taker

pytestmark = pytest.mark.anyio

SHORT = Timeouts(first_byte_whole=0.05, idle=0.05)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def upstream() -> AsyncIterator[HttptoolsUpstream]:
    made = HttptoolsUpstream()
    yield made
    await made.aclose()


class Body:
    """Pieces, each when its time has come."""

    def __init__(self, *pieces: bytes | asyncio.Event) -> None:
        self._pieces = pieces
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                self.taken += 1
                yield piece
            else:
                await piece.wait()


class Endless:
    """Small pieces for as long as somebody takes them."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"a"
            await asyncio.sleep(0)


async def send(
    upstream: HttptoolsUpstream,
    url: str,
    body: Body | Endless,
    length: int | None = None,
    timeouts: Timeouts = Timeouts(),
) -> int:
    """The status of the answer."""
    async with upstream.open(UpstreamRequest(url=url, pieces=body, length=length, timeouts=timeouts)) as answer:
        assert await answer.aread(limit=100) == b"{}"
        return answer.status


def soon(set_event: Callable[[], None]) -> None:
    """In the next few turns of the loop, after what is under way on this machine."""
    asyncio.get_running_loop().call_later(0.05, set_event)


async def test_an_empty_piece_is_not_the_end(upstream: HttptoolsUpstream) -> None:
    async with taker() as vendor:
        vendor.go_on.set()
        assert await send(upstream, vendor.url, Body(b"a", b"", b"b")) == 200
        assert vendor.body == b"ab"


@pytest.mark.parametrize("pieces", [(b"abc", b"def"), (b"abcdef",), (b"abc",), ()])
async def test_a_body_that_is_not_as_long_as_told_is_never_taken_for_whole(
    upstream: HttptoolsUpstream, pieces: tuple[bytes, ...]
) -> None:
    """F100: what is too much could be read as the next request."""
    async with taker() as vendor:
        vendor.go_on.set()
        with pytest.raises(RequestError):
            await send(upstream, vendor.url, Body(*pieces), length=5)
        await vendor.ended.wait()
        assert not vendor.whole and vendor.connections == 1


@pytest.mark.parametrize("length", [None, MANY * len(PIECE)])
async def test_a_refusal_ends_an_upload_that_the_vendor_does_not_read(
    upstream: HttptoolsUpstream, length: int | None
) -> None:
    async with taker() as vendor:
        vendor.early = True
        body = Body(*[PIECE] * MANY)
        assert await send(upstream, vendor.url, body, length) == 400
        assert body.taken < MANY // 2


async def test_a_refusal_ends_an_upload_with_the_next_piece(upstream: HttptoolsUpstream) -> None:
    async with taker() as vendor:
        vendor.early = True
        assert await send(upstream, vendor.url, Endless()) == 400


async def test_an_upload_goes_on_that_is_answered_before_its_end(upstream: HttptoolsUpstream) -> None:
    answered = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        soon(answered.set)
        assert await reader.readexactly(2) == b"ab"
        writer.write(chunk(b"{}") + chunk(b""))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await send(upstream, url, Body(b"a", answered, b"b"), length=2) == 200


async def test_a_vendor_that_takes_nothing_is_too_slow(upstream: HttptoolsUpstream) -> None:
    async with taker() as vendor:
        with pytest.raises(UpstreamError) as caught:
            await send(upstream, vendor.url, Body(*[PIECE] * MANY), timeouts=SHORT)
        assert caught.value.failure == "timeout"


async def test_a_slow_client_is_not_taken_for_a_silent_vendor(upstream: HttptoolsUpstream) -> None:
    later = asyncio.Event()
    async with taker() as vendor:
        vendor.go_on.set()
        asyncio.get_running_loop().call_later(0.2, later.set)
        assert await send(upstream, vendor.url, Body(b"a", later, b"b"), timeouts=SHORT) == 200


async def test_a_vendor_that_does_not_answer_an_upload_is_too_slow(upstream: HttptoolsUpstream) -> None:
    """F126."""
    async with fault_server([Act.STALL]) as server:
        with pytest.raises(UpstreamError) as caught:
            await send(upstream, server.url, Body(b"a"), timeouts=SHORT)
        assert caught.value.failure == "timeout"


async def test_an_upload_has_an_end_however_slow_the_client_is(upstream: HttptoolsUpstream) -> None:
    """F127."""
    gone = asyncio.Event()
    async with taker() as vendor:
        soon(gone.set)
        with pytest.raises(UpstreamError) as caught:
            await send(upstream, vendor.url, Body(b"a", gone), timeouts=Timeouts(total=0.01))
        assert caught.value.failure == "timeout"


async def test_an_upload_is_made_once(upstream: HttptoolsUpstream) -> None:
    """F135: its body is gone."""
    async with fault_server([OK], [Act.CLOSE], [OK]) as server:
        async with upstream.open(UpstreamRequest(url=server.url)) as answer:
            assert answer.status == 200
        with pytest.raises(UpstreamError) as caught:
            await send(upstream, server.url, Body(b""), length=0)
        assert caught.value.failure == "unreachable"
        assert (len(server.requests), server.connections) == (2, 1)


@pytest.mark.parametrize("end", [Act.CLOSE, Act.RESET])
async def test_a_connection_that_ends_ends_its_upload(upstream: HttptoolsUpstream, end: Act) -> None:
    async with fault_server([end]) as server:
        with pytest.raises(UpstreamError) as caught:
            await send(upstream, server.url, Endless())
        assert caught.value.failure == "unreachable"


async def test_a_connection_is_reused_whose_upload_was_taken_whole(upstream: HttptoolsUpstream) -> None:
    async with fault_server([OK]) as server:
        for _ in range(2):
            assert await send(upstream, server.url, Body(b"{}"), length=2) == 200
        assert server.connections == 1 and [request.body for request in server.requests] == [b"{}"] * 2


async def test_a_connection_is_not_reused_whose_upload_was_not_wanted(upstream: HttptoolsUpstream) -> None:
    """F134."""
    second, connections = asyncio.Event(), itertools.count(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(connections) == 2:
            second.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK.replace(b"200 OK", b"413 Too Large"))
        while await reader.read(1000):
            pass
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for _ in range(2):
            assert await send(upstream, url, Endless()) == 413
        await second.wait()
