"""Comments in silent streams, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.asgi import send_response
from asgi_llmgw.components.heartbeat import HeartbeatMiddleware
from asgi_llmgw.errors import ConfigError, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols import SERVED, codec
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, http_scope
from asgi_llmgw.translate import StreamTranslator
from tests.readers import hear_stream
from tests.samples import chat_stream
from tests.virtual_time import BACKEND

pytestmark = pytest.mark.anyio

START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
}
BEAT = b": keep-alive\n\n"

Script = Callable[[Exchange, Send], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> object:
    return BACKEND


async def body(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


def playing(script: Script) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await script(cast(Exchange, scope[SCOPE_KEY]), send)

    return HeartbeatMiddleware(app, seconds=15)


async def run(script: Script, *, protocol: Protocol = "openai_chat", stream: bool = True) -> RecordingSend:
    exchange = Exchange("req_1", client_protocol=protocol, stream=stream)
    send = RecordingSend()
    before = len(asyncio.all_tasks())
    await playing(script)({**http_scope(), SCOPE_KEY: exchange}, ScriptedReceive(), send)
    assert len(asyncio.all_tasks()) == before
    return send


async def test_a_silent_stream_is_kept_alive() -> None:
    """F161."""

    async def script(exchange: Exchange, send: Send) -> None:
        await send(START)
        await body(send, b"data: 1\n\n")
        await asyncio.sleep(50)
        await body(send, b"data: 2\n\n", more=False)

    send = await run(script)
    assert send.body == b"data: 1\n\n" + 3 * BEAT + b"data: 2\n\n"


async def test_a_lively_stream_is_left_alone() -> None:
    async def script(exchange: Exchange, send: Send) -> None:
        await send(START)
        for _ in range(10):
            await asyncio.sleep(14)
            await body(send, b"data: 1\n\n")
        await body(send, b"", more=False)

    send = await run(script)
    assert BEAT not in send.body


async def test_nothing_comes_into_the_middle_of_a_frame() -> None:
    async def script(exchange: Exchange, send: Send) -> None:
        await send(START)
        await body(send, b'data: {"a"')
        await asyncio.sleep(40)
        await body(send, b": 1}\n\n", more=False)

    send = await run(script)
    assert send.body == b'data: {"a": 1}\n\n'


@pytest.mark.parametrize("protocol", SERVED)
async def test_the_stream_is_opened_before_a_slow_vendor_has_answered(protocol: Protocol) -> None:
    """D15: a proxy's 60 seconds do not wait for a model that thinks."""

    async def script(exchange: Exchange, send: Send) -> None:
        await asyncio.sleep(40)
        await send(START)
        await body(send, b"data: 1\n\n", more=False)

    send = await run(script, protocol=protocol)
    comment = b"\r\n\r\n" if protocol == "gemini_generate" else BEAT
    assert (send.status, send.body) == (200, 2 * comment + b"data: 1\n\n")


@pytest.mark.parametrize("protocol", SERVED)
async def test_an_error_after_that_is_told_in_the_stream(protocol: Protocol) -> None:
    async def script(exchange: Exchange, send: Send) -> None:
        await asyncio.sleep(20)
        exchange.fail(UpstreamError("Too slow.", failure="timeout", kind="upstream_timeout"))
        await send_response(send, 504, b'{"error": "whole"}', headers=[(b"content-type", b"application/json")])

    send = await run(script, protocol=protocol)
    assert send.status == 200
    assert b"Too slow." in send.body and b"whole" not in send.body
    assert b"[DONE]" not in send.body and b"message_stop" not in send.body


async def test_an_answer_that_is_no_stream_after_all_is_told_as_an_error() -> None:
    async def script(exchange: Exchange, send: Send) -> None:
        await asyncio.sleep(20)
        await send_response(send, 200, b"{}", headers=[(b"content-type", b"application/json")])

    send = await run(script)
    assert b"did not answer with a stream" in send.body and b"{}" not in send.body


async def test_an_early_error_keeps_its_status() -> None:
    async def script(exchange: Exchange, send: Send) -> None:
        await asyncio.sleep(10)
        await send_response(send, 503, b"{}")

    assert (await run(script)).status == 503


async def test_whole_answers_are_waited_for_in_silence() -> None:
    async def script(exchange: Exchange, send: Send) -> None:
        await asyncio.sleep(100)
        await send_response(send, 200, b"{}")

    send = await run(script, stream=False)
    assert (send.status, send.body) == (200, b"{}")


async def test_no_heartbeat_overtakes_a_send_that_takes_its_time() -> None:
    """A slow reader: nothing is written beside what is being written."""
    sent: list[bytes] = []

    async def slow(message: Message) -> None:
        await asyncio.sleep(20)
        sent.append(cast(bytes, message.get("body", b"")))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await body(send, b"data: 1\n\n")
        await body(send, b"data: 2\n\n", more=False)

    exchange = Exchange("req_1", client_protocol="openai_chat", stream=True)
    await HeartbeatMiddleware(app, seconds=15)({**http_scope(), SCOPE_KEY: exchange}, ScriptedReceive(), slow)
    assert sent == [b"", b"data: 1\n\n", b"data: 2\n\n"]


async def test_the_answer_waits_for_a_heartbeat_that_is_being_written() -> None:
    sent: list[bytes] = []

    async def slow(message: Message) -> None:
        await asyncio.sleep(5)
        sent.append(cast(bytes, message.get("body", b"")))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(16)
        await send(START)
        await body(send, b"data: 1\n\n", more=False)

    exchange = Exchange("req_1", client_protocol="openai_chat", stream=True)
    await HeartbeatMiddleware(app, seconds=15)({**http_scope(), SCOPE_KEY: exchange}, ScriptedReceive(), slow)
    assert sent == [b"", BEAT, b"data: 1\n\n"]


async def test_a_client_that_has_gone_does_not_hurt_the_heart() -> None:
    async def gone(message: Message) -> None:
        raise OSError

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(40)

    exchange = Exchange("req_1", client_protocol="openai_chat", stream=True)
    before = len(asyncio.all_tasks())
    await HeartbeatMiddleware(app, seconds=15)({**http_scope(), SCOPE_KEY: exchange}, ScriptedReceive(), gone)
    assert len(asyncio.all_tasks()) == before


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        HeartbeatMiddleware(playing(lambda exchange, send: body(send, b"")), seconds=0)


def stream_of(protocol: Protocol) -> list[bytes]:
    """The frames of a short answer in this protocol."""
    translator = StreamTranslator(source="openai_chat", target=protocol)
    stream = b"".join(translator.feed(chunk) for chunk in chat_stream("Hel", "lo")) + translator.close()
    newline = codec(protocol).frame_newline
    return [frame + 2 * newline for frame in stream.split(2 * newline)[:-1]]


@pytest.mark.parametrize("protocol", SERVED)
async def test_every_vendors_sdk_skips_heartbeats(protocol: Protocol) -> None:
    """D15: before the first frame and between any two."""
    frames = stream_of(protocol)

    async def script(exchange: Exchange, send: Send) -> None:
        await asyncio.sleep(20)
        await send(START)
        for frame in frames:
            await body(send, frame)
            await asyncio.sleep(20)
        await body(send, b"", more=False)

    send = await run(script, protocol=protocol)
    assert len(send.body) > len(b"".join(frames))
    assert hear_stream(protocol, send.body) == hear_stream(protocol, b"".join(frames))
