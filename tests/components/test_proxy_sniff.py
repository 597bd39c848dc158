"""A stream was asked for. What has come?"""

from __future__ import annotations

import anyio
import pytest

from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.json import dumps
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.testing import Answer, FakeResponse, FakeUpstream, RecordingSend, ScriptedReceive, http_scope
from asgi_llmgw.upstream.sniff import sniff
from tests.samples import CHAT_ERROR, MESSAGES_OVERLOADED, chat_answer, chat_request, chat_stream, messages_stream

pytestmark = pytest.mark.anyio

STREAM = b"".join(chat_stream("Hi", usage=True))
TYPES = [
    pytest.param(None, id="F158-missing"),
    pytest.param(b"application/json", id="F158-json"),
    pytest.param(b"text/html; charset=utf-8", id="F158-html"),
    pytest.param(b"text/plain", id="F158-plain"),
]


async def streamed(
    *chunks: bytes | BaseException, kind: bytes | None, protocol: str = "openai_chat"
) -> tuple[Answer, Exchange]:
    headers = () if kind is None else ((b"content-type", kind),)
    upstream = FakeUpstream([FakeResponse(chunks, headers=headers)])
    vendor = Provider(name="v", base_url="https://v.example/v1", protocols=(protocol,), api_keys=("k",))  # type: ignore[arg-type]
    app = TranslatorMiddleware(ProxyApp(vendor, upstream=upstream), over=vendor.protocols, serve="openai_chat")
    send, exchange = RecordingSend(), Exchange("r")
    body = dumps(chat_request(stream=True, stream_options={"include_usage": True}))
    await app({**http_scope(), SCOPE_KEY: exchange}, ScriptedReceive(body), send)
    assert send.finished
    return Answer(send.status, send.headers, send.body), exchange


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_stream_is_one_whatever_it_is_called(kind: bytes | None, size: int) -> None:
    chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    answer, exchange = await streamed(*chunks, kind=kind)
    assert (answer.status, answer.body) == (200, STREAM)
    assert answer.headers[b"content-type"].startswith(b"text/event-stream")
    assert exchange.finish_reason == "stop"


@pytest.mark.parametrize("kind", TYPES)
async def test_a_stream_with_another_name_is_translated(kind: bytes | None) -> None:
    answer, _ = await streamed(b"\n\n", *messages_stream("Hel", "lo"), kind=kind, protocol="anthropic_messages")
    assert answer.status == 200
    assert b'"content":"Hel"' in answer.body and answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("kind", TYPES)
async def test_an_error_instead_of_a_stream_is_told_as_one(kind: bytes | None) -> None:
    answer, exchange = await streamed(b"\r\n " + dumps(CHAT_ERROR), kind=kind)
    assert answer.status == 500
    assert b"The server had an error" in answer.body
    assert isinstance(exchange.failure, UpstreamError) and exchange.outcome == "upstream_error"


@pytest.mark.parametrize("kind", TYPES)
async def test_an_error_of_another_protocol_is_told_as_one(kind: bytes | None) -> None:
    answer, _ = await streamed(dumps(MESSAGES_OVERLOADED), kind=kind, protocol="anthropic_messages")
    assert answer.status == 503
    assert b"Overloaded" in answer.body


@pytest.mark.parametrize("kind", TYPES)
async def test_a_page_instead_of_a_stream_is_a_bad_gateway(kind: bytes | None) -> None:
    """F106: and its words stay here."""
    answer, exchange = await streamed(b"<!DOCTYPE html><p>secret stack", kind=kind)
    assert answer.status == 502
    assert b"secret" not in answer.body
    assert isinstance(exchange.failure, UpstreamError) and exchange.failure.failure == "invalid_response"


@pytest.mark.parametrize("kind", [None, b"application/json", b"text/event-stream"])
async def test_nothing_instead_of_a_stream_is_never_a_success(kind: bytes | None) -> None:
    """F158, F150: where blank bytes have gone out already, an error event follows them."""
    for chunks in ((), (b"\n",), (b" " * 70_000,)):
        answer, exchange = await streamed(*chunks, kind=kind)
        assert answer.status == (200 if chunks else 502)
        assert b'"error"' in answer.body and b"[DONE]" not in answer.body
        assert exchange.outcome == "upstream_error"


async def test_a_whole_answer_instead_of_a_stream_keeps_its_bytes() -> None:
    """F158, F166."""
    answer, exchange = await streamed(chat_answer(), kind=None)
    assert (answer.status, answer.body) == (200, chat_answer())
    assert exchange.usage is not None and exchange.usage.output_tokens == 3


async def test_a_beginning_that_breaks_off_is_the_transports_failure() -> None:
    """F158, F149."""
    answer, exchange = await streamed(b"\n", UpstreamError("The connection broke.", failure="unreachable"), kind=None)
    assert answer.status >= 502
    assert isinstance(exchange.failure, UpstreamError) and exchange.failure.failure == "unreachable"


async def test_a_stream_that_says_what_it_is_is_not_waited_for() -> None:
    """F158: nothing of it is read beforehand."""
    response = FakeResponse([anyio.Event()], headers=((b"content-type", b"Text/Event-Stream"),))
    assert await sniff(response) == (response, True)
