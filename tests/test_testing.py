"""The fakes are strict: they fail on a broken app."""

from __future__ import annotations

import anyio
import pytest

from asgi_llmgw._types import Message, Receive, Scope, Send
from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.testing import (
    FakeClock,
    FakeResponse,
    FakeUpstream,
    RecordingSend,
    ScriptedReceive,
    call,
    http_scope,
    sse_response,
)
from asgi_llmgw.upstream.base import Upstream, UpstreamRequest

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Message = {"type": "http.response.body", "body": b"x"}
MORE: Message = {"type": "http.response.body", "body": b"x", "more_body": True}
REQUEST = UpstreamRequest(url="http://127.0.0.1/v1")

pytestmark = pytest.mark.anyio


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was sent."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": message["body"]})


async def test_an_app_that_keeps_the_rules_is_driven_to_its_end() -> None:
    answer = await call(app, body={"a": 1})
    assert (answer.status, answer.json, answer.headers) == (200, {"a": 1}, {b"content-type": b"application/json"})
    assert (await call(app, http_scope("GET", "/"), b"[]")).body == b"[]"


async def test_an_app_that_does_not_finish_fails() -> None:
    async def unfinished(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(MORE)

    with pytest.raises(AssertionError, match="without finishing"):
        await call(unfinished)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([BODY], id="a body before the start"),
        pytest.param([START, START], id="two starts"),
        pytest.param([START, BODY, BODY], id="a body after the end"),
        pytest.param([START, BODY, START], id="a start after the end"),
        pytest.param([START, MORE, {"type": "http.response.surprise"}], id="an unknown message"),
        pytest.param([{**START, "headers": [("content-type", "text/plain")]}], id="headers that are text"),
        pytest.param([{**START, "headers": [(b"Content-Type", b"text/plain")]}], id="upper case"),
        pytest.param([{**START, "headers": [(b"a", b"b\r\nc: d")]}], id="line ends in a header"),
    ],
)
async def test_messages_out_of_order_fail(messages: list[Message]) -> None:
    send = RecordingSend()
    with pytest.raises(AssertionError):
        for message in messages:
            await send(message)


async def test_what_was_sent_is_kept() -> None:
    seen: list[bytes] = []
    send = RecordingSend(on_body=seen.append)
    before = send.started
    for message in (START, MORE, {**BODY, "body": b"1"}):
        await send(message)
    assert (before, send.started, send.finished) == (False, True, True)
    assert seen == send.chunks == [b"x", b"1"]
    assert send.body == b"x1"


async def test_receive_gives_the_body_and_then_waits_for_the_disconnect() -> None:
    receive = ScriptedReceive(b"a", b"b")
    assert await receive() == {"type": "http.request", "body": b"a", "more_body": True}
    assert await receive() == {"type": "http.request", "body": b"b", "more_body": False}
    receive.disconnect()
    assert await receive() == {"type": "http.disconnect"}
    assert await receive() == {"type": "http.disconnect"}
    assert receive.calls == 4


async def test_two_concurrent_calls_of_receive_fail() -> None:
    receive = ScriptedReceive()
    await receive()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(AssertionError, match="while another call was waiting"):
            await receive()
        receive.disconnect()


async def test_the_clock_moves_only_when_told() -> None:
    clock = FakeClock(10.0)
    assert (clock(), clock()) == (10.0, 10.0)
    clock.advance(2.5)
    assert clock() == 12.5


async def test_the_upstream_gives_its_answers_in_order_and_repeats_the_last() -> None:
    upstream = FakeUpstream([FakeResponse([b"1"]), FakeResponse([b"2"], status=500)])
    given: list[tuple[int, bytes]] = []
    for _ in range(3):
        async with upstream.open(REQUEST) as response:
            assert upstream.open_calls == 1
            given.append((response.status, await response.aread(limit=10)))
    assert given == [(200, b"1"), (500, b"2"), (500, b"2")]
    assert upstream.requests == [REQUEST] * 3
    assert upstream.open_calls == 0


async def test_the_upstream_can_refuse_a_call_and_break_an_answer() -> None:
    upstream = FakeUpstream([OSError("refused"), sse_response(b"data: 1\n\n", OSError("cut"))])
    with pytest.raises(OSError, match="refused"):
        async with upstream.open(REQUEST):
            pass
    seen: list[bytes] = []
    with pytest.raises(OSError, match="cut"):
        async with upstream.open(REQUEST) as response:
            async for chunk in response.aiter_raw():
                seen.append(chunk)
    assert seen == [b"data: 1\n\n"]
    assert upstream.open_calls == 0


async def test_an_answer_waits_at_an_event() -> None:
    event = anyio.Event()
    seen: list[bytes] = []
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            async for chunk in sse_response(b"a", event, b"b").aiter_raw():
                seen.append(chunk)

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        assert seen == [b"a"]
        event.set()
    assert seen == [b"a", b"b"]


async def test_an_answer_larger_than_its_reader_takes_is_invalid() -> None:
    """F132"""
    with pytest.raises(InvalidUpstreamResponse):
        await FakeResponse([b"12", b"34"]).aread(limit=3)


async def test_the_fake_is_an_upstream() -> None:
    upstream = FakeUpstream([FakeResponse()])
    contract: Upstream = upstream
    await contract.aclose()
    assert upstream.closed
