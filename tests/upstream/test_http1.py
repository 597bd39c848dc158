"""Answers over HTTP/1.1 as they come on the wire, whole and broken, on the loops of asyncio and of uvloop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from math import inf

import anyio
import pytest
from msgspec.structs import replace

from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.common import broken
from asgi_llmgw.upstream.http1 import Connection
from asgi_llmgw.upstream.http1_head import Origin
from asgi_llmgw.upstream.httptools import HttptoolsUpstream
from tests.faultup import CHUNKED, OK, Act, Step, chunk, fault_server, response

pytestmark = pytest.mark.anyio

MANY = 64 * 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\n"
STRANGER = response(b"not yours")


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def upstream() -> AsyncIterator[HttptoolsUpstream]:
    made = HttptoolsUpstream()
    yield made
    await made.aclose()


async def ask(upstream: HttptoolsUpstream, url: str, method: str = "POST", *, timeouts: Timeouts = Timeouts()) -> bytes:
    async with upstream.open(UpstreamRequest(method=method, url=url, timeouts=timeouts)) as answer:
        return await answer.aread(limit=1 << 20)


async def failure(upstream: HttptoolsUpstream, url: str, *, timeouts: Timeouts = Timeouts()) -> str:
    """How the call fails."""
    with pytest.raises(UpstreamError) as caught:
        await ask(upstream, url, timeouts=timeouts)
    return caught.value.failure


@pytest.mark.parametrize("after", [STRANGER, b"H", b"junk", b"\0"])
@pytest.mark.parametrize("answer", [OK, CHUNKED + chunk(b"{}") + chunk(b"")])
async def test_what_comes_after_an_answer_is_not_taken_for_the_next_one(
    upstream: HttptoolsUpstream, answer: bytes, after: bytes
) -> None:
    """F134."""
    async with fault_server([answer + after], [response(b"yours")]) as server:
        assert await ask(upstream, server.url) == b"{}"
        assert await ask(upstream, server.url) == b"yours"
        assert server.connections == 2


@pytest.mark.parametrize("after", [STRANGER, b"\r\n"])
async def test_what_comes_while_nothing_is_asked_ends_the_connection(upstream: HttptoolsUpstream, after: bytes) -> None:
    """F134."""
    go_on = asyncio.Event()
    async with fault_server([OK, go_on, after], [response(b"yours")]) as server:
        assert await ask(upstream, server.url) == b"{}"
        go_on.set()
        await server.connections_ended()
        assert await ask(upstream, server.url) == b"yours"


async def test_an_answer_that_came_before_the_question_is_none(upstream: HttptoolsUpstream) -> None:
    """F134."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STRANGER)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        ended = asyncio.Event()
        connection = Connection(Origin(False, "127.0.0.1", 0), memoryview(bytearray(99)), lambda _: ended.set())
        port = server.sockets[0].getsockname()[1]
        await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
        await ended.wait()
        answer = await connection.ask(UpstreamRequest(url="http://a.example"), b"", end=inf)
        assert answer.error is not None and not answer.status


async def test_an_answer_that_came_before_the_end_of_the_question_is_the_last_one(upstream: HttptoolsUpstream) -> None:
    """F134."""
    second, connections = asyncio.Event(), itertools.count(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(connections) == 2:
            second.set()
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await second.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for _ in range(2):
            async with upstream.open(UpstreamRequest(url=url, body=b"x" * MANY)) as answer:
                assert await answer.aread(limit=9) == b"{}"
        await second.wait()


async def test_a_connection_given_up_before_it_stood_does_not_stand(upstream: HttptoolsUpstream) -> None:
    """F124."""
    async with fault_server([OK]) as server:
        connection = Connection(Origin(False, "127.0.0.1", 0), memoryview(bytearray(99)), lambda _: None)
        connection.abort(broken())
        port = int(server.url.rpartition(":")[2])
        await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
        assert not connection.usable
        await server.connections_ended()


async def test_an_answer_kept_for_too_long_gives_nothing_of_the_next_one(upstream: HttptoolsUpstream) -> None:
    """F134."""
    go_on = asyncio.Event()
    async with fault_server([OK], [go_on, response(b"yours")]) as server:
        async with upstream.open(UpstreamRequest(url=server.url)) as kept:
            assert await kept.aread(limit=9) == b"{}"
        call = asyncio.create_task(ask(upstream, server.url))
        await server.requests_seen(2)
        assert await kept.aread(limit=9) == b""
        go_on.set()
        assert await call == b"yours" and await kept.aread(limit=9) == b""
        assert server.connections == 1


async def test_an_answer_left_in_the_middle_gives_no_more(upstream: HttptoolsUpstream) -> None:
    async with fault_server([CHUNKED + chunk(b"data: 1\n\n"), Act.STALL]) as server:
        async with upstream.open(UpstreamRequest(url=server.url)) as left:
            pass
        with pytest.raises(UpstreamError):
            assert [part async for part in left.aiter_raw()] == []


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        pytest.param(OK, True, id="1.1"),
        pytest.param(CHUNKED + chunk(b"{}") + chunk(b""), True, id="chunked"),
        pytest.param(CHUNKED + chunk(b"{}") + b"0\r\nx-sum: 1\r\n\r\n", True, id="trailers"),
        pytest.param(response(headers=[b"connection: close"]), False, id="close"),
        pytest.param(response(headers=[b"Connection: x, Close"]), False, id="among_others"),
        pytest.param(OK.replace(b"1.1", b"1.0"), False, id="1.0"),
        pytest.param(response(headers=[b"connection: keep-alive"]).replace(b"1.1", b"1.0"), True, id="1.0_keep_alive"),
        pytest.param(HEAD + b"upgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\n{}", True, id="offer"),
    ],
)
async def test_a_connection_is_kept_if_the_vendor_keeps_it(
    upstream: HttptoolsUpstream, answer: bytes, kept: bool
) -> None:
    async with fault_server([answer]) as server:
        assert [await ask(upstream, server.url) for _ in range(2)] == [b"{}"] * 2
        assert server.connections == (1 if kept else 2)


async def test_reuses_a_connection_whose_answer_has_come_whether_it_was_read_or_not(
    upstream: HttptoolsUpstream,
) -> None:
    async with fault_server([OK]) as server:
        async with upstream.open(UpstreamRequest(url=server.url)):
            pass
        assert await ask(upstream, server.url) == b"{}"
        assert server.connections == 1


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", HEAD + b"content-length: 10\r\n\r\n"),
        ("HEAD", HEAD + b"transfer-encoding: chunked\r\n\r\n"),
        ("HEAD", HEAD + b"\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n"),
        ("GET", HEAD + b"content-length: 0\r\n\r\n"),
    ],
)
async def test_where_no_body_may_be_none_is_waited_for(upstream: HttptoolsUpstream, method: str, answer: bytes) -> None:
    """F105."""
    async with fault_server([answer], [response(b"next")]) as server:
        assert await ask(upstream, server.url, method) == b""
        assert await ask(upstream, server.url) == b"next"


@pytest.mark.parametrize("head", [HEAD, b"HTTP/1.0 200 OK\r\n", HEAD + b"connection: close\r\n"])
async def test_a_body_may_end_with_its_connection(upstream: HttptoolsUpstream, head: bytes) -> None:
    async with fault_server([head + b"\r\n", b"all of ", b"it", Act.CLOSE]) as server:
        assert [await ask(upstream, server.url) for _ in range(2)] == [b"all of it"] * 2


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([HEAD + b"\r\nall of", Act.RESET], id="reset_instead_of_an_end"),
        pytest.param([HEAD + b"content-length: 9\r\n\r\nall of", Act.CLOSE], id="shorter_than_told"),
        pytest.param([CHUNKED + chunk(b"a") + b"5\r\nab", Act.CLOSE], id="cut_in_a_chunk"),
        pytest.param([CHUNKED + chunk(b"a") + b"0\r\n", Act.CLOSE], id="cut_in_the_end"),
        pytest.param([CHUNKED + chunk(b"a") + b"2\r\nabcd\r\n", Act.STALL], id="longer_than_told"),
        pytest.param([CHUNKED + b"z\r\n", Act.STALL], id="no_size"),
        pytest.param([CHUNKED, b"1;" + b"x" * 70_000, Act.STALL], id="endless_extension"),
        pytest.param([CHUNKED + b"0\r\nx: ", b"y" * 70_000, Act.STALL], id="endless_trailer"),
    ],
)
async def test_a_body_that_breaks_off_or_makes_no_sense_is_broken(
    upstream: HttptoolsUpstream, script: Sequence[Step]
) -> None:
    """F128."""
    async with fault_server(script, [OK]) as server:
        assert await failure(upstream, server.url) == "unreachable"
        assert await ask(upstream, server.url) == b"{}"
        assert server.connections == 2


@pytest.mark.parametrize("end", [Act.CLOSE, Act.RESET])
async def test_what_came_before_a_break_is_given_first(upstream: HttptoolsUpstream, end: Act) -> None:
    go_on = asyncio.Event()
    script: list[Step] = [CHUNKED + chunk(b"a"), go_on, chunk(b"b"), end]
    async with fault_server(script) as server, upstream.open(UpstreamRequest(url=server.url)) as answer:
        parts = answer.aiter_raw()
        assert await anext(parts) == b"a"
        go_on.set()
        rest = b""
        with pytest.raises(UpstreamError):
            async for part in parts:
                rest += part
        assert rest == b"b" or end is Act.RESET


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", id="ssh"),
        pytest.param(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", id="101"),
        pytest.param(b"HTTP/1.1 101 Switching\r\n\r\n" + OK, id="101_to_nothing"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", id="status"),
        pytest.param(HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}", id="two_lengths"),
        pytest.param(HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", id="two_different_lengths"),
        pytest.param(HEAD + b"content-length: +2\r\n\r\n{}", id="no_length"),
        pytest.param(HEAD + b"x y: z\r\n\r\n", id="name"),
        pytest.param(HEAD + b"x: y\r\n z: folded\r\n\r\n", id="folded"),
        pytest.param(HEAD + b"x: " + b"y" * 33_000 + b"\r\ncontent-length: 0\r\n\r\n", id="large_field"),
        pytest.param(HEAD + b"x: yyyyyyyyyy\r\n" * 129 + b"content-length: 0\r\n\r\n", id="many_fields"),
        pytest.param(
            HEAD + (b"x: " + b"y" * 22_000 + b"\r\n") * 3 + b"content-length: 0\r\n\r\n", id="large_altogether"
        ),
        pytest.param(HEAD + b"x: " + b"y" * 70_000, id="endless_field"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 2_000, id="endless_hints"),
    ],
)
async def test_a_head_that_makes_no_sense_is_refused(upstream: HttptoolsUpstream, answer: bytes) -> None:
    """F103."""
    async with fault_server([answer, Act.STALL], [OK]) as server:
        with pytest.raises(InvalidUpstreamResponse):
            await ask(upstream, server.url)
        assert await ask(upstream, server.url) == b"{}"


async def test_a_large_head_is_taken(upstream: HttptoolsUpstream) -> None:
    lines = [b"x-large: " + b"y" * 30_000] * 2 + [b"x: y"] * 100
    async with fault_server([response(headers=lines)]) as server:
        assert [await ask(upstream, server.url) for _ in range(2)] == [b"{}"] * 2


async def test_an_answer_may_come_byte_by_byte(upstream: HttptoolsUpstream) -> None:
    """F142."""
    whole = b"HTTP/1.1 103 Hints\r\nx: 1\r\n\r\n" + CHUNKED.replace(b": ", b": \t") + chunk(b"ab") + chunk(b"")
    script = [bytes([byte]) for byte in whole]
    async with fault_server(script) as server, upstream.open(UpstreamRequest(url=server.url)) as answer:
        assert answer.headers == ((b"content-type", b"text/event-stream"), (b"transfer-encoding", b"chunked"))
        assert await answer.aread(limit=9) == b"ab"


async def test_what_came_together_is_given_together(upstream: HttptoolsUpstream) -> None:
    script = [CHUNKED + b"".join(chunk(b"data: %d\n\n" % number) for number in range(9)) + chunk(b"")]
    async with fault_server(script) as server, upstream.open(UpstreamRequest(url=server.url)) as answer:
        assert [part async for part in answer.aiter_raw()] == [b"".join(b"data: %d\n\n" % n for n in range(9))]


async def test_a_vendor_is_kept_waiting_by_a_reader_who_does_not_read(upstream: HttptoolsUpstream) -> None:
    """F117: what is under way is what sockets hold, and a little more."""
    part = b"x" * 65_536
    async with fault_server([HEAD + b"content-length: %d\r\n\r\n" % MANY, *[part] * (MANY // len(part))]) as server:
        async with upstream.open(UpstreamRequest(url=server.url)) as answer:
            await anyio.wait_all_tasks_blocked()
            assert server.sent < MANY // 2
            assert sum([len(chunk) async for chunk in answer.aiter_raw()]) == MANY
        assert await failure(upstream, server.url) == "invalid_response"


async def test_a_slow_reader_is_not_taken_for_a_silent_vendor(upstream: HttptoolsUpstream) -> None:
    timeouts = Timeouts(idle=0.05)
    request = UpstreamRequest(url="", timeouts=timeouts)
    later, end = asyncio.Event(), asyncio.Event()
    async with (
        fault_server([CHUNKED + chunk(b"a"), end, chunk(b"b") + chunk(b"")]) as server,
        upstream.open(replace(request, url=server.url)) as answer,
    ):
        asyncio.get_running_loop().call_later(0.2, later.set)
        await later.wait()
        parts = answer.aiter_raw()
        assert await anext(parts) == b"a"
        end.set()
        assert [part async for part in parts] == [b"b"]


async def test_a_vendor_has_its_time_from_when_a_slow_reader_has_read(upstream: HttptoolsUpstream) -> None:
    loop, later, end = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    request = UpstreamRequest(url="", timeouts=Timeouts(idle=0.4))
    async with (
        fault_server([CHUNKED + chunk(b"a"), end, chunk(b"b") + chunk(b"")]) as server,
        upstream.open(replace(request, url=server.url)) as answer,
    ):
        loop.call_later(0.6, later.set)
        await later.wait()
        parts = answer.aiter_raw()
        assert await anext(parts) == b"a"
        loop.call_later(0.3, end.set)
        assert [part async for part in parts] == [b"b"]


async def test_a_head_that_drips_is_too_slow(upstream: HttptoolsUpstream) -> None:
    """F126: it is the end of the head that counts."""
    drips: list[Step] = []
    async with fault_server(drips) as server:
        loop = asyncio.get_running_loop()
        for number in range(100):
            drop = asyncio.Event()
            loop.call_later(0.01 * number, drop.set)
            drips += [drop, b"H" if number == 0 else b"TTP/1.1 200 OK\r\nx: "[number - 1 : number] or b"y"]
        assert await failure(upstream, server.url, timeouts=Timeouts(first_byte_whole=0.1)) == "timeout"


async def test_the_error_of_a_call_has_its_cause(upstream: HttptoolsUpstream) -> None:
    async with fault_server([b"nonsense"], [Act.RESET]) as server:
        for _ in range(2):
            with pytest.raises(UpstreamError) as caught:
                await ask(upstream, server.url)
            assert caught.value.__cause__ is not None


async def test_an_address_of_version_6_is_called() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(response(head.split(b"\r\n")[1]))
        await reader.read()
        writer.close()

    upstream = HttptoolsUpstream()
    try:
        server = await asyncio.start_server(serve, "::1", 0)
    except OSError:
        pytest.skip("needs IPv6")
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await ask(upstream, f"http://[::1]:{port}/") == b"host: [::1]:%d" % port
        await upstream.aclose()
