"""Vendors' streams that end too early, too late or never, through the whole gateway: never a success for the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

import asgi_llmgw.components.proxy as proxy
from asgi_llmgw.app import Gateway, build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, dumps
from asgi_llmgw.testing import Answer, RecordingSend, ScriptedReceive, http_scope
from tests.faultup import CHUNKED, Act, FaultServer, Step, chunk, fault_server, response
from tests.samples import CHAT_ROLE, chat_answer, chat_chunk, chat_stream, messages_stream

pytestmark = pytest.mark.anyio

VENDORS: dict[Protocol, list[bytes]] = {
    "openai_chat": chat_stream("Hel", "lo", usage=True),
    "anthropic_messages": messages_stream("Hel", "lo"),
}
QUESTION: JSONObject = {"role": "user", "content": "Hello"}
CLIENTS: dict[Protocol, tuple[str, JSONObject]] = {
    "openai_chat": ("/v1/chat/completions", {"model": "smart", "stream": True, "messages": [QUESTION]}),
    "openai_responses": ("/v1/responses", {"model": "smart", "stream": True, "input": "Hello"}),
    "anthropic_messages": (
        "/v1/messages",
        {"model": "smart", "stream": True, "max_tokens": 9, "messages": [QUESTION]},
    ),
    "gemini_generate": (
        "/v1beta/models/smart:streamGenerateContent",
        {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
    ),
}
SUCCESS = (b"[DONE]", b"message_stop", b"response.completed", b'"finishReason":"STOP"', b'"finish_reason":"stop"')
FAILURE = (b'"error":{', b"response.failed", b"event: error")
PAIRS = [pytest.param(client, vendor, id=f"{client}-{vendor}") for client in CLIENTS for vendor in VENDORS]


@dataclass
class House:
    """The gateway and its one vendor."""

    app: Gateway
    vendor: FaultServer
    log: list[JSONObject] = field(default_factory=list)

    async def stream(self, client: Protocol) -> Answer:
        path, body = CLIENTS[client]
        send = RecordingSend()
        query = b"alt=sse" if client == "gemini_generate" else b""
        async with asyncio.timeout(20):
            await self.app(http_scope(path=path, query=query), ScriptedReceive(dumps(body)), send)
        assert send.finished
        return Answer(send.status, send.headers, send.body)

    def failed(self, answer: Answer) -> None:
        """The client was told of a failure, and nothing looks like an end."""
        assert any(mark in answer.body for mark in FAILURE), answer.body
        assert [mark for mark in SUCCESS if mark in answer.body] == []
        assert self.log[-1]["outcome"] == "upstream_error"


@asynccontextmanager
async def house(protocol: Protocol, *scenarios: list[Step], **timeouts: float) -> AsyncIterator[House]:
    async with fault_server(*scenarios) as vendor:
        settings = {"protocol": protocol, "base_url": vendor.url, "api_key": "k", "timeouts": timeouts}
        log: list[JSONObject] = []
        config = parse_config(
            {"providers": {"vendor": settings}, "models": {"smart": {"targets": ["vendor/m"]}}}, environ={}
        )
        app = build_app(config, access_log=lambda line: log.append(json.loads(line)))
        try:
            yield House(app, vendor, log)
        finally:
            await app.aclose()


def begun(vendor: Protocol) -> bytes:
    """A stream up to its first words."""
    return b"".join(VENDORS[vendor][:4] if vendor == "anthropic_messages" else VENDORS[vendor][:2])


@pytest.mark.parametrize(("client", "vendor"), PAIRS)
async def test_a_length_that_is_too_short_makes_no_whole_stream(client: Protocol, vendor: Protocol) -> None:
    """F129: the transport sees nothing wrong."""
    part = begun(vendor)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(part)
    async with house(vendor, [head + part]) as running:
        running.failed(await running.stream(client))


@pytest.mark.parametrize(("client", "vendor"), PAIRS)
async def test_what_comes_after_the_length_belongs_to_no_answer(client: Protocol, vendor: Protocol) -> None:
    """F129, F134: not to this one (which may be asked for once more as long as nothing was said), nor to the next."""
    whole, part = b"".join(VENDORS[vendor]), begun(vendor)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(part)
    async with house(vendor, [head + whole], [CHUNKED + chunk(whole) + chunk(b"")]) as running:
        first = await running.stream(client)
        if len(running.vendor.requests) == 1:
            running.failed(first)
        second = await running.stream(client)
        assert second.status == 200 and any(mark in second.body for mark in SUCCESS)
        assert running.log[-1]["outcome"] == "completed"


async def test_a_length_that_is_too_short_makes_no_whole_answer() -> None:
    """F129: half a JSON document is a bad gateway."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (len(chat_answer()) - 9)
    async with house("openai_chat", [head + chat_answer()]) as running:
        send = RecordingSend()
        body = dumps({"model": "smart", "messages": [QUESTION]})
        await running.app(http_scope(), ScriptedReceive(body), send)
        assert send.status == 502


@pytest.mark.parametrize(("client", "vendor"), PAIRS)
async def test_a_vendor_that_falls_silent_is_given_up(client: Protocol, vendor: Protocol) -> None:
    """F161, F127: the line to it is closed, and the client is told."""
    async with house(vendor, [CHUNKED + chunk(begun(vendor)), Act.STALL], idle=0.1) as running:
        running.failed(await running.stream(client))
        await running.vendor.connections_ended()


async def test_a_vendor_that_speaks_again_in_time_is_not() -> None:
    """F161: each piece starts the time anew, also when all of it takes longer."""
    pauses = [asyncio.Event() for _ in range(6)]
    words = [chunk(chat_chunk({"content": "a"})) for _ in pauses]
    steps: list[Step] = [CHUNKED + chunk(CHAT_ROLE)]
    for pause, word in zip(pauses, words, strict=True):
        steps += [pause, word]
    steps.append(chunk(chat_chunk({}, "stop")) + chunk(b"data: [DONE]\n\n") + chunk(b""))
    async with house("openai_chat", steps, idle=0.4) as running:
        for number, pause in enumerate(pauses):
            asyncio.get_running_loop().call_later(0.1 * (number + 1), pause.set)
        answer = await running.stream("openai_chat")
        assert b"[DONE]" in answer.body and b'"error"' not in answer.body


@pytest.mark.parametrize(("client", "vendor"), PAIRS)
async def test_a_stream_without_end_has_one(client: Protocol, vendor: Protocol) -> None:
    """F165: `timeouts.total`, although there is never a silence."""
    more = chunk(b": still there\n\n")
    dripping: list[Step] = [CHUNKED + chunk(begun(vendor)), *_drips(more)]
    async with house(vendor, dripping, total=0.4, idle=0.3) as running:
        running.failed(await running.stream(client))
        await running.vendor.connections_ended()


def _drips(what: bytes) -> list[Step]:
    """So many pieces, each a little after the one before."""
    steps: list[Step] = []
    loop = asyncio.get_running_loop()
    for number in range(40):
        pause = asyncio.Event()
        loop.call_later(0.05 * (number + 1), pause.set)
        steps += [pause, what]
    return [*steps, Act.STALL]


@pytest.mark.parametrize(("client", "vendor"), PAIRS)
async def test_a_stream_has_only_so_many_bytes(
    client: Protocol, vendor: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F165, F118: the cap of a stream."""
    monkeypatch.setattr(proxy, "MAX_STREAM", 100_000)
    delta = VENDORS[vendor][3 if vendor == "anthropic_messages" else 1]
    async with house(vendor, [CHUNKED + chunk(begun(vendor)), *[chunk(delta * 50)] * 200, Act.STALL]) as running:
        answer = await running.stream(client)
        running.failed(answer)
        await running.vendor.connections_ended()
        assert b"100000" in answer.body


async def test_a_page_of_the_vendors_proxy_is_no_stream() -> None:
    """F158, on the wire."""
    page = response(b"<html>secret</html>", headers=[b"content-type: text/html"])
    async with house("openai_chat", [page]) as running:
        answer = await running.stream("openai_chat")
        assert answer.status == 502 and b"secret" not in answer.body
