"""A stream that never makes anybody wait must not keep the others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from asgi_llmgw._types import Headers, Message
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.json import dumps
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.testing import SSE_HEADERS, FakeResponse, ScriptedReceive, http_scope
from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.turns import TURN
from tests.samples import CHAT_ROLE, DONE, chat_chunk, chat_request, messages_stream

pytestmark = pytest.mark.anyio

MANY = 100_000
TINY = b": x\n\n"


@dataclass
class Flood:
    """An upstream whose bytes are all here already: reading them never waits."""

    chunks: list[bytes]

    @asynccontextmanager
    async def open(self, request: UpstreamRequest, /) -> AsyncIterator[Flood]:
        yield self

    async def aclose(self) -> None:
        return None

    @property
    def status(self) -> int:
        return 200

    @property
    def headers(self) -> Headers:
        return SSE_HEADERS

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk

    async def aread(self, *, limit: int) -> bytes:
        return await FakeResponse(self.chunks).aread(limit=limit)


class Counter:
    """A `send` that never waits either, and another stream that wants its turn all the while."""

    def __init__(self) -> None:
        self.messages = self.size = self.turns = 0
        self.most_messages = self.most_bytes = 0

    async def send(self, message: Message) -> None:
        self.messages += 1
        self.size += len(message.get("body", b""))

    async def other(self) -> None:
        while True:
            messages, size = self.messages, self.size
            await asyncio.sleep(0)
            self.turns += 1
            self.most_messages = max(self.most_messages, self.messages - messages)
            self.most_bytes = max(self.most_bytes, self.size - size)


async def flooded(chunks: list[bytes], *, translated: bool = False) -> Counter:
    name = "anthropic_messages" if translated else "openai_chat"
    vendor = Provider(name="v", base_url="https://v.example/v1", protocols=(name,), api_keys=("k",))  # type: ignore[arg-type]
    app = TranslatorMiddleware(ProxyApp(vendor, upstream=Flood(chunks)), over=vendor.protocols, serve="openai_chat")
    counter = Counter()
    other = asyncio.create_task(counter.other())
    scope = {**http_scope(), SCOPE_KEY: Exchange("r")}
    await app(scope, ScriptedReceive(dumps(chat_request(stream=True))), counter.send)
    other.cancel()
    return counter


async def test_a_flood_of_tiny_chunks_leaves_the_others_their_turns() -> None:
    """F160: 64 of them at most between two turns of another stream."""
    chunks = [CHAT_ROLE, *[TINY] * MANY, chat_chunk({}, "stop"), DONE]
    counter = await flooded(chunks)
    assert counter.most_messages <= 64
    assert counter.turns >= MANY // 64


async def test_a_flood_in_one_piece_leaves_the_others_their_turns() -> None:
    """F160: it is cut, and no byte is lost."""
    text = b"".join([CHAT_ROLE, chat_chunk({"content": "x"}) * 20_000, chat_chunk({}, "stop"), DONE])
    counter = await flooded([text])
    assert len(text) <= counter.size < len(text) + 200
    assert counter.most_bytes <= 2 * TURN
    assert counter.turns >= len(text) // (2 * TURN)


async def test_a_flood_that_is_translated_leaves_the_others_their_turns() -> None:
    """F160."""
    start, *_, stop, delta, end = messages_stream("x")
    block, word = messages_stream("x")[1], messages_stream("x")[3]
    text = b"".join([start, block, word * 10_000, stop, delta, end])
    counter = await flooded([text], translated=True)
    assert counter.turns >= len(text) // (2 * TURN)
    assert counter.most_bytes <= 8 * TURN


async def test_a_stream_at_its_own_pace_is_passed_on_as_it_comes() -> None:
    """F160: nothing is cut that is small."""
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            sent.append(message["body"])

    chunks = [CHAT_ROLE, *[chat_chunk({"content": "x" * 200})] * 200, chat_chunk({}, "stop"), DONE]
    vendor = Provider(name="v", base_url="https://v.example/v1", protocols=("openai_chat",), api_keys=("k",))
    body = chat_request(stream=True, stream_options={"include_usage": True})
    await ProxyApp(vendor, upstream=Flood(chunks))(http_scope(), ScriptedReceive(dumps(body)), send)
    assert sent == [*chunks, b""]
