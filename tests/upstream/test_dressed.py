"""An upstream with an envelope, over real sockets and each HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import httpx
import httpx2
import pytest

from asgi_llmgw.envelopes.bedrock import BedrockMessages
from asgi_llmgw.errors import InvalidRequest, InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.json import as_object, dumps, loads_object
from asgi_llmgw.upstream.aiohttp import AiohttpUpstream
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest
from asgi_llmgw.upstream.dressed import DressedUpstream, dress
from asgi_llmgw.upstream.httptools import HttptoolsUpstream
from asgi_llmgw.upstream.httpx import HttpxUpstream
from tests import amazon
from tests.faultup import OK, Act, chunk, fault_server, response
from tests.samples import messages_stream
from tests.test_bedrock import amazon as wrapped
from tests.test_bedrock import events

pytestmark = pytest.mark.anyio

Make: TypeAlias = Callable[[], Upstream]

ARN = "arn:aws:bedrock:us-east-1:1234:application-inference-profile/abc"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM = b"".join(messages_stream("Hi", " there"))


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
    made = dress(make(), BedrockMessages())
    yield made
    await made.aclose()


def asking(url: str, *, stream: bool) -> UpstreamRequest:
    body = dumps({"model": ARN, "max_tokens": 9, "messages": [], "stream": stream})
    return UpstreamRequest(url=f"{url}/v1/messages", headers=((b"accept", b"x"),), body=body, stream=stream)


async def test_a_stream_is_unwrapped_as_it_comes(upstream: Upstream) -> None:
    """F4"""
    whole = b"".join(wrapped(STREAM))
    pieces = [whole[start : start + 11] for start in range(0, len(whole), 11)]
    async with fault_server([HEAD, *(chunk(piece) for piece in pieces), chunk(b"")]) as server:
        async with upstream.open(asking(server.url, stream=True)) as answer:
            assert dict(answer.headers)[b"content-type"] == b"text/event-stream"
            told = b"".join([piece async for piece in answer.aiter_raw()])
        received = server.requests[0]
    assert events(told) == events(STREAM)
    assert received.request_line == (
        "POST /model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1234%3Aapplication-inference-profile%2Fabc"
        "/invoke-with-response-stream"
        " HTTP/1.1"
    )
    assert ("accept", "application/vnd.amazon.eventstream") in received.headers
    assert loads_object(received.body) == {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": []}


async def test_a_whole_answer_is_as_it_is(upstream: Upstream) -> None:
    async with fault_server([OK]) as server, upstream.open(asking(server.url, stream=False)) as answer:
        assert await answer.aread(limit=100) == b"{}"
        assert server.requests[0].request_line.endswith("/invoke HTTP/1.1")


async def test_what_is_not_wrapped_is_streamed_as_it_is(upstream: Upstream) -> None:
    async with fault_server([response(b"plain")]) as server, upstream.open(asking(server.url, stream=True)) as answer:
        assert b"".join([piece async for piece in answer.aiter_raw()]) == b"plain"


async def test_an_error_is_told_in_the_words_of_the_protocol(upstream: Upstream) -> None:
    headers = [b"x-amzn-ErrorType: ThrottlingException:http://internal.amazon.com/", b"content-type: application/json"]
    refusal = response(b'{"message":"slow"}', status="429 Too Many Requests", headers=headers)
    async with fault_server([refusal]) as server, upstream.open(asking(server.url, stream=True)) as answer:
        told = loads_object(await answer.aread(limit=1000))
    assert as_object(told["error"]) == {"type": "rate_limit_error", "message": "slow"}


@pytest.mark.parametrize("size", [3, 50])
async def test_a_connection_that_breaks_inside_a_message_is_noticed(upstream: Upstream, size: int) -> None:
    """F4"""
    part = amazon.chunk({"type": "ping"})[:size]
    async with fault_server([HEAD, chunk(part), Act.CLOSE]) as server:
        with pytest.raises(UpstreamError):
            async with upstream.open(asking(server.url, stream=True)) as answer:
                assert [piece async for piece in answer.aiter_raw()] == []


async def test_an_end_inside_a_message_is_noticed(upstream: Upstream) -> None:
    """F4"""
    part = amazon.chunk({"type": "ping"})[:-3]
    async with fault_server([HEAD, chunk(part), chunk(b"")]) as server:
        with pytest.raises(InvalidUpstreamResponse, match="inside a message"):
            async with upstream.open(asking(server.url, stream=True)) as answer:
                assert [piece async for piece in answer.aiter_raw()] == []


@pytest.mark.parametrize("model", ["", ".", "..", None])
async def test_a_model_that_would_change_the_path_is_not_asked_for(model: str | None) -> None:
    """F082"""
    upstream = DressedUpstream(AiohttpUpstream(), BedrockMessages())
    request = UpstreamRequest(url="http://127.0.0.1:1/v1/messages", body=dumps({"model": model}))
    with pytest.raises(InvalidRequest, match="by this name"):
        async with upstream.open(request):
            pass


def test_where_there_is_nothing_to_wrap_the_upstream_is_the_same() -> None:
    plain = AiohttpUpstream()
    assert dress(plain, None) is plain
