"""What every `Upstream` over HTTP promises, held against a server that misbehaves on command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import httpx
import httpx2
import pytest
from msgspec.structs import replace

from asgi_llmgw.errors import InvalidUpstreamResponse, RequestError, UpstreamError
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.upstream.aiohttp import AiohttpUpstream
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest
from asgi_llmgw.upstream.common import USER_AGENT
from asgi_llmgw.upstream.httptools import HttptoolsUpstream
from asgi_llmgw.upstream.httpx import HttpxUpstream
from tests.faultup import CHUNKED, OK, Act, Step, chunk, fault_server, response, unused_port
from tests.upstream.tls import SelfSigned

pytestmark = pytest.mark.anyio

Make: TypeAlias = Callable[[], Upstream]

LIMIT = 1 << 20
SHORT = Timeouts(connect=2.0, first_byte=0.05, first_byte_whole=0.05, idle=0.05, total=5.0)


def over_aiohttp() -> Upstream:
    return AiohttpUpstream()


def over_httptools() -> Upstream:
    return HttptoolsUpstream()


def over_httpx2() -> Upstream:
    return HttpxUpstream(httpx2.AsyncClient(trust_env=False), own=True)


def over_httpx() -> Upstream:
    return HttpxUpstream(httpx.AsyncClient(trust_env=False), own=True)


@pytest.fixture(
    params=[
        pytest.param(over_aiohttp, id="aiohttp"),
        pytest.param(over_httptools, id="httptools"),
        pytest.param(over_httpx2, id="httpx2"),
        pytest.param(over_httpx, id="httpx"),
    ]
)
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[Upstream]:
    make: Make = request.param
    made = make()
    yield made
    await made.aclose()


def post(url: str, *, stream: bool = False, timeouts: Timeouts = Timeouts(), body: bytes = b"{}") -> UpstreamRequest:
    return UpstreamRequest(
        url=url,
        headers=((b"content-type", b"application/json"), (b"authorization", b"Bearer sk-secret-0123456789")),
        body=body,
        stream=stream,
        timeouts=timeouts,
    )


async def ask(upstream: Upstream, request: UpstreamRequest) -> bytes:
    async with upstream.open(request) as answer:
        return await answer.aread(limit=LIMIT)


async def test_gives_status_headers_and_body_as_they_are(upstream: Upstream) -> None:
    body = '{"text":  "né\u2028"}'.encode()
    async with (
        fault_server([response(body, status="418 Teapot", headers=[b"X-Thing: One", b"x-thing: two"])]) as server,
        upstream.open(post(server.url + "/v1/x")) as answer,
    ):
        assert answer.status == 418
        assert [value for name, value in answer.headers if name == b"x-thing"] == [b"One", b"two"]
        assert all(name == name.lower() for name, _ in answer.headers)
        assert await answer.aread(limit=LIMIT) == body


async def test_a_stream_arrives_chunk_by_chunk(upstream: Upstream) -> None:
    go_on = asyncio.Event()
    script: list[Step] = [CHUNKED, chunk(b"data: 1\r\n\r\n"), go_on, chunk(b"data: 2\n\n"), chunk(b"")]
    async with fault_server(script) as server, upstream.open(post(server.url, stream=True)) as answer:
        chunks = answer.aiter_raw()
        assert await anext(chunks) == b"data: 1\r\n\r\n"
        go_on.set()
        assert [rest async for rest in chunks] == [b"data: 2\n\n"]


async def test_the_body_sent_is_the_body_given(upstream: Upstream) -> None:
    body = b'{"a" : "\xf0\x9f\x90\x8d" , "b":[1,  2]}' * 20_000
    async with fault_server([OK]) as server:
        await ask(upstream, post(server.url, body=body))
        assert server.requests[0].body == body


async def test_sends_the_given_headers_and_what_http_needs_and_nothing_else(upstream: Upstream) -> None:
    """F097, F099."""
    async with fault_server([OK]) as server:
        await ask(upstream, post(server.url + "/v1/chat"))
        sent = dict(server.requests[0].headers)
        assert sent.pop("connection", "keep-alive") == "keep-alive"
        assert sent == {
            "host": server.url.removeprefix("http://"),
            "content-type": "application/json",
            "authorization": "Bearer sk-secret-0123456789",
            "content-length": "2",
            "accept-encoding": "identity",
            "user-agent": USER_AGENT,
        }


async def test_what_http_itself_needs_cannot_be_overruled(upstream: Upstream) -> None:
    """F098, F099."""
    headers = ((b"host", b"evil"), (b"content-length", b"9"), (b"transfer-encoding", b"x"), (b"accept-encoding", b"br"))
    async with fault_server([OK]) as server:
        await ask(upstream, UpstreamRequest(url=server.url, headers=headers, body=b"{}"))
        sent = server.requests[0].headers
        assert ("host", server.url.removeprefix("http://")) in sent
        assert ("content-length", "2") in sent
        assert ("accept-encoding", "identity") in sent
        assert len({name for name, _ in sent}) == len(sent)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-thing", b"a\r\nx-evil: 1"),
        (b"x-thing", b"a\nb"),
        (b"x-thing", b"a\0b"),
        (b"x-thing", b"\xff"),
        (b"x-thing\r\nx-evil", b"1"),
        (b"x thing", b"1"),
        (b"", b"1"),
        (b"\xff", b"1"),
    ],
)
async def test_a_header_that_breaks_out_is_never_sent(upstream: Upstream, name: bytes, value: bytes) -> None:
    """F100."""
    async with fault_server([OK]) as server:
        with pytest.raises(RequestError):
            await ask(upstream, UpstreamRequest(url=server.url, headers=((name, value),)))
        assert server.connections == 0


async def test_the_address_is_not_written_anew(upstream: Upstream) -> None:
    path = "/v1beta/models/openai%2Fgpt:streamGenerateContent?alt=sse&x=%7Ea+b"
    async with fault_server([OK]) as server:
        await ask(upstream, post(server.url + path))
        assert server.requests[0].request_line == f"POST {path} HTTP/1.1"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_redirects_are_given_back(upstream: Upstream, status: str) -> None:
    """F087, F092."""
    async with fault_server([OK]) as elsewhere:
        async with (
            fault_server([response(b"", status=status, headers=[b"location: " + elsewhere.url.encode()])]) as server,
            upstream.open(post(server.url)) as answer,
        ):
            assert answer.status == int(status[:3])
        assert elsewhere.connections == 0


async def test_keeps_no_cookies(upstream: Upstream) -> None:
    async with fault_server([response(headers=[b"set-cookie: a=b; Path=/"])]) as server:
        await ask(upstream, post(server.url))
        await ask(upstream, post(server.url))
        assert "cookie" not in dict(server.requests[1].headers)


async def test_connections_are_reused(upstream: Upstream) -> None:
    async with fault_server([OK]) as server:
        for _ in range(3):
            await ask(upstream, post(server.url))
        assert (server.connections, len(server.requests)) == (1, 3)


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(upstream: Upstream) -> None:
    """F135."""
    async with fault_server([OK, Act.CLOSE], [OK]) as server:
        await ask(upstream, post(server.url))
        await server.connections_ended()
        assert await ask(upstream, post(server.url)) == b"{}"
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_an_answer_without_a_body_does_not_hang(upstream: Upstream, status: str) -> None:
    """F105."""
    script: list[Step] = [f"HTTP/1.1 {status}\r\n\r\n".encode(), Act.STALL]
    async with fault_server(script) as server, upstream.open(post(server.url)) as answer:
        assert (answer.status, await answer.aread(limit=LIMIT)) == (int(status[:3]), b"")


async def test_hints_before_the_answer_are_skipped(upstream: Upstream) -> None:
    """F105."""
    async with fault_server([b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK]) as server:
        assert await ask(upstream, post(server.url)) == b"{}"


async def test_nobody_listens(upstream: Upstream) -> None:
    """F125."""
    port = unused_port()
    with pytest.raises(UpstreamError) as caught:
        await ask(upstream, post(f"http://127.0.0.1:{port}/v1"))
    assert (caught.value.failure, caught.value.kind) == ("unreachable", "upstream_unavailable")
    assert str(port) not in caught.value.message and "127.0.0.1" not in caught.value.message
    assert "sk-secret" not in repr(caught.value)


@pytest.mark.parametrize("stream", [True, False])
async def test_silence_before_the_head(upstream: Upstream, stream: bool) -> None:
    """F126."""
    async with fault_server([Act.STALL]) as server:
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, post(server.url, stream=stream, timeouts=SHORT))
        assert (caught.value.failure, caught.value.kind) == ("timeout", "upstream_timeout")
        await server.connections_ended()


async def test_a_whole_answer_may_take_longer_than_the_first_byte_of_a_stream(upstream: Upstream) -> None:
    timeouts = Timeouts(first_byte=0.01, first_byte_whole=5.0, idle=5.0)
    go_on = asyncio.Event()
    async with fault_server([go_on, OK]) as server:
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        assert await ask(upstream, post(server.url, timeouts=timeouts)) == b"{}"


async def test_the_wait_for_the_first_byte_is_not_the_wait_between_chunks(upstream: Upstream) -> None:
    timeouts = Timeouts(first_byte=0.05, first_byte_whole=0.05, idle=5.0)
    go_on = asyncio.Event()
    script: list[Step] = [CHUNKED + chunk(b"a"), go_on, chunk(b"b") + chunk(b"")]
    request = post("", stream=True, timeouts=timeouts)
    async with fault_server(script) as server, upstream.open(replace(request, url=server.url)) as answer:
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        assert b"".join([part async for part in answer.aiter_raw()]) == b"ab"


async def test_silence_in_the_body(upstream: Upstream) -> None:
    """F127."""
    timeouts = Timeouts(first_byte=5.0, idle=0.05)
    async with fault_server([CHUNKED + chunk(b"a"), Act.STALL]) as server:
        with pytest.raises(UpstreamError) as caught:
            async with upstream.open(post(server.url, stream=True, timeouts=timeouts)) as answer:
                assert [part async for part in answer.aiter_raw()] == []
        assert (caught.value.failure, caught.value.kind) == ("timeout", "upstream_timeout")
        await server.connections_ended()


async def test_the_whole_call_has_an_end(upstream: Upstream) -> None:
    """F127: a server that keeps dripping cannot keep a call open for ever."""
    drip: list[Step] = [CHUNKED + chunk(b"a"), Act.STALL]
    async with fault_server(drip) as server:
        with pytest.raises(UpstreamError) as caught:
            async with upstream.open(post(server.url, stream=True, timeouts=Timeouts(total=0.1))) as answer:
                assert [part async for part in answer.aiter_raw()] == []
        assert caught.value.failure == "timeout"


@pytest.mark.parametrize("end", [Act.CLOSE, Act.RESET])
async def test_the_connection_ends_before_the_head(upstream: Upstream, end: Act) -> None:
    async with fault_server([end]) as server:
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, post(server.url))
        assert caught.value.failure == "unreachable"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([CHUNKED + chunk(b"data: 1\n\n"), Act.RESET], id="reset"),
        pytest.param([CHUNKED + chunk(b"data: 1\n\n"), Act.CLOSE], id="no_last_chunk"),
        pytest.param([b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this", Act.CLOSE], id="F128"),
    ],
)
async def test_a_body_that_breaks_off_is_an_error(upstream: Upstream, script: list[Step]) -> None:
    """F128."""
    async with fault_server(script) as server:
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, post(server.url))
        assert caught.value.failure == "unreachable"


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000 + b"\r\n\r\n"]
)
async def test_an_answer_that_is_not_http(upstream: Upstream, answer: bytes) -> None:
    """F103."""
    async with fault_server([answer, Act.CLOSE]) as server:
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, post(server.url))
        assert caught.value.failure in ("invalid_response", "unreachable")


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"zstd, gzip"])
async def test_a_compressed_answer_is_refused(upstream: Upstream, encoding: bytes) -> None:
    """F133, F159, F11: so no decoded body ever goes on under its old encoding."""
    script = response(b"\x1f\x8b\x08", headers=[b"content-encoding: " + encoding])
    async with fault_server([script]) as server:
        with pytest.raises(InvalidUpstreamResponse):
            await ask(upstream, post(server.url))


@pytest.mark.parametrize("encoding", [b"identity", b"none", b""])
async def test_an_answer_that_only_says_it_is_not_compressed_is_taken(upstream: Upstream, encoding: bytes) -> None:
    async with fault_server([response(headers=[b"content-encoding: " + encoding])]) as server:
        assert await ask(upstream, post(server.url)) == b"{}"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([response(b"x" * 1001)], id="declared"),
        pytest.param([CHUNKED, *[chunk(b"x" * 100)] * 11, Act.STALL], id="endless"),
    ],
)
async def test_an_answer_larger_than_the_limit_is_cut(upstream: Upstream, script: list[Step]) -> None:
    """F132."""
    async with fault_server(script) as server:
        with pytest.raises(InvalidUpstreamResponse):
            async with upstream.open(post(server.url)) as answer:
                await answer.aread(limit=1000)


async def test_a_big_answer_comes_whole(upstream: Upstream) -> None:
    body = bytes(range(256)) * 4096
    async with fault_server([response(body)]) as server:
        assert await ask(upstream, post(server.url)) == body


async def test_leaving_in_the_middle_closes_the_connection_at_once(upstream: Upstream) -> None:
    """F109."""
    async with fault_server([CHUNKED + chunk(b"data: 1\n\n"), Act.STALL]) as server:
        async with upstream.open(post(server.url, stream=True)) as answer:
            assert await anext(answer.aiter_raw()) == b"data: 1\n\n"
        async with asyncio.timeout(0.1):
            await server.connections_ended()


async def test_cancelling_before_the_first_byte_closes_the_connection_at_once(upstream: Upstream) -> None:
    """F109, F124."""
    async with fault_server([Act.STALL]) as server:
        call = asyncio.create_task(ask(upstream, post(server.url)))
        await server.requests_seen(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(0.1):
            await server.connections_ended()


async def test_calls_cancelled_under_load_leave_the_pool_usable(upstream: Upstream) -> None:
    """F124."""
    stall: list[Step] = [CHUNKED + chunk(b"data: 1\n\n"), Act.STALL]
    async with fault_server(*[stall] * 150, [OK]) as server:
        calls = [asyncio.create_task(ask(upstream, post(server.url, stream=True))) for _ in range(50)]
        for wave in range(1, 4):
            await server.requests_seen(50 * wave)
            for call in calls:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
            calls = [asyncio.create_task(ask(upstream, post(server.url))) for _ in range(50)]
        assert await asyncio.gather(*calls) == [b"{}"] * 50


async def test_the_proxies_of_the_environment_are_ignored(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """F091."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    async with fault_server([OK]) as server:
        assert await ask(upstream, post(server.url)) == b"{}"


async def test_a_certificate_nobody_vouches_for_is_refused(upstream: Upstream, self_signed: SelfSigned) -> None:
    """F093."""
    async with fault_server([OK], tls=self_signed.server) as server:
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, post(server.url))
        assert caught.value.failure == "unreachable"
        assert server.requests == []


async def test_closing_twice_is_harmless(upstream: Upstream) -> None:
    async with fault_server([OK]) as server:
        await ask(upstream, post(server.url))
        await upstream.aclose()
        await upstream.aclose()
        await server.connections_ended()
        assert server.clients_gone == 1
