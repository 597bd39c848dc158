"""Vendors whose streams do not end as they should."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio
import pytest

from asgi_llmgw._types import Headers
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import dumps
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.testing import SSE_HEADERS, FakeResponse, FakeUpstream, RecordingSend, ScriptedReceive, http_scope
from tests.samples import DONE, chat_request, chat_stream, messages_stream

pytestmark = pytest.mark.anyio

GRACE = 0.02
PING = b": still here\n\n"


@dataclass
class Restless(FakeResponse):
    """After its chunks it sends heartbeats for ever, or just says nothing more."""

    headers: Headers = SSE_HEADERS
    heartbeats: bool = True

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        async for chunk in super().aiter_raw():
            yield chunk
        while self.heartbeats:
            await anyio.lowlevel.checkpoint()
            yield PING
        await anyio.Event().wait()


def provider(protocol: Protocol) -> Provider:
    return Provider(name="vendor", base_url="https://api.example", protocols=(protocol,), api_keys=("key",))


async def stream_of(response: FakeResponse, protocol: Protocol) -> tuple[RecordingSend, Exchange]:
    """What a Chat Completions client gets, passed through or translated."""
    upstream = FakeUpstream([response])
    proxy = ProxyApp(provider(protocol), upstream=upstream, finish_grace=GRACE)
    app = proxy if protocol == "openai_chat" else TranslatorMiddleware(proxy, serve="openai_chat", over=protocol)
    exchange, send = Exchange("r"), RecordingSend()
    body = dumps(chat_request(stream=True, stream_options={"include_usage": True}))
    with anyio.fail_after(5):
        await app({**http_scope(), SCOPE_KEY: exchange}, ScriptedReceive(body), send)
    assert upstream.open_calls == 0
    return send, exchange


@pytest.mark.parametrize("heartbeats", [True, False], ids=["heartbeats", "silence"])
@pytest.mark.parametrize("protocol", ["openai_chat", "anthropic_messages"])
async def test_a_finished_stream_that_never_ends_is_ended(protocol: Protocol, heartbeats: bool) -> None:
    """T11: the finish was told; what then comes is no data."""
    told = chat_stream("Hi", usage=True)[:-1] if protocol == "openai_chat" else messages_stream("Hi")[:-1]
    send, exchange = await stream_of(Restless(told, heartbeats=heartbeats), protocol)
    assert send.finished
    assert b'"finish_reason":"stop"' in send.body and b'"error"' not in send.body
    assert exchange.failure is None
    assert exchange.usage is not None and exchange.usage.output_tokens == 3
    if protocol != "openai_chat":
        assert send.body.endswith(DONE)


async def test_data_after_the_finish_is_waited_for() -> None:
    """T11: the grace begins anew with every piece of data."""
    start, word, finish, usage, done = chat_stream("Hi", usage=True)

    @dataclass
    class Slow(FakeResponse):
        headers: Headers = SSE_HEADERS

        async def aiter_raw(self) -> AsyncIterator[bytes]:
            for chunk in (start, word, finish, PING, usage, PING, done):
                yield chunk

    send, exchange = await stream_of(Slow(), "openai_chat")
    assert send.body == b"".join((start, word, finish, PING, usage, PING, done))
    assert exchange.usage is not None


async def test_a_length_of_the_vendors_never_frames_a_translated_stream() -> None:
    """F12: nor does its encoding (F11)."""
    headers = (*SSE_HEADERS, (b"content-length", b"20"), (b"content-encoding", b"identity"))
    send, _ = await stream_of(FakeResponse(messages_stream("Hi"), headers=headers), "anthropic_messages")
    assert b"content-length" not in send.headers and b"content-encoding" not in send.headers
    assert send.body.endswith(DONE)
