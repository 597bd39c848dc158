"""What a host plugs in."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import cast

import anyio
import pytest

from asgi_llmgw import Exchange, Gateway, Hooks, HooksMiddleware, build_app
from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import read_body
from asgi_llmgw.components.hooks import _Answer
from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import GatewayError, RequestError, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import as_object, dumps
from asgi_llmgw.sse import ServerSentEvent
from asgi_llmgw.testing import (
    Answer,
    FakeResponse,
    FakeUpstream,
    RecordingSend,
    ScriptedReceive,
    call,
    http_scope,
    sse_response,
)
from tests.samples import DONE, chat_answer, chat_chunk, chat_request, chat_stream

pytestmark = pytest.mark.anyio

CONFIG = parse_config(
    {
        "providers": {"first": {"kind": "openai", "api_key": "k"}, "second": {"kind": "openai", "api_key": "k"}},
        "models": {"smart": {"targets": ["first/gpt-4o", "second/gpt-4o"]}},
    },
    environ={},
)
BROKEN = UpstreamError("away", failure="unreachable")


def gateway(upstream: FakeUpstream, *hooks: Hooks) -> Gateway:
    return build_app(CONFIG, upstream=upstream, hooks=hooks, access_log=None)


async def ask(upstream: FakeUpstream, *hooks: Hooks, stream: bool = False) -> Answer:
    return await call(gateway(upstream, *hooks), http_scope(), chat_request("smart", stream=stream))


def error_of(answer: Answer) -> dict[str, object]:
    return cast(dict[str, object], as_object(as_object(answer.json)["error"]))


class Named(Hooks):
    """Writes its name behind every text."""

    def __init__(self, name: str, seen: list[str] | None = None) -> None:
        self.name = name
        self.seen: list[str] = [] if seen is None else seen

    async def before_request(self, exchange: Exchange, body: bytes) -> bytes:
        self.seen.append(f"{exchange.model} {exchange.route} {exchange.client_protocol}")
        return body.replace(b"Hello", b"Hello" + self.name.encode())

    async def on_response(self, exchange: Exchange, body: bytes) -> bytes:
        return body.replace(b"there", b"there" + self.name.encode())

    async def on_end(self, exchange: Exchange) -> None:
        self.seen.append(f"{exchange.outcome} {exchange.usage is not None} {exchange.attempts}")


async def test_bodies_pass_in_order_and_answers_in_reverse() -> None:
    upstream = FakeUpstream([FakeResponse([chat_answer("Hi there")])])
    answer = await ask(upstream, Named("1"), Named("2"))
    assert b"Hello21" in upstream.requests[0].body
    assert b"there12" in answer.body
    assert answer.headers[b"content-length"] == str(len(answer.body)).encode()


async def test_hooks_run_once_however_many_targets_are_tried() -> None:
    """D10: and what they changed goes to every target."""
    upstream = FakeUpstream([BROKEN, FakeResponse([chat_answer()])])
    hook = Named("1")
    assert (await ask(upstream, hook)).status == 200
    assert hook.seen == ["smart smart openai_chat", "completed True 2"]
    assert [b"Hello1" in request.body for request in upstream.requests] == [True, True]


class Refusing(Hooks):
    def __init__(self, where: str) -> None:
        self.where = where
        self.ended: list[str | None] = []

    def check(self, where: str) -> None:
        if where == self.where:
            raise RequestError("not here", code="guarded")

    async def before_request(self, exchange: Exchange, body: bytes) -> bytes:
        self.check("request")
        return body

    async def on_response(self, exchange: Exchange, body: bytes) -> bytes:
        self.check("response")
        return body

    def on_event(self, exchange: Exchange, frame: ServerSentEvent) -> ServerSentEvent | None:
        if b"bad" in frame.data:
            self.check("event")
        return frame

    async def on_end(self, exchange: Exchange) -> None:
        self.ended.append(exchange.outcome)


@pytest.mark.parametrize("where", ["request", "response"])
async def test_a_refusal_is_told_in_the_clients_protocol(where: str) -> None:
    upstream = FakeUpstream([FakeResponse([chat_answer()])])
    answer = await ask(upstream, hook := Refusing(where))
    assert (answer.status, error_of(answer)["code"]) == (400, "guarded")
    assert len(upstream.requests) == (where == "response")
    assert upstream.open_calls == 0
    assert hook.ended == ["rejected"]


async def test_a_refused_event_ends_the_stream_and_the_call() -> None:
    gate = anyio.Event()
    upstream = FakeUpstream([sse_response(chat_chunk({"content": "good"}), chat_chunk({"content": "bad"}), gate)])
    answer = await ask(upstream, hook := Refusing("event"), stream=True)
    assert b"good" in answer.body and b'"bad"' not in answer.body
    assert b'data: {"error":{"message":"not here"' in answer.body
    assert (upstream.open_calls, hook.ended) == (0, ["rejected"])


class Muted(Hooks):
    def on_event(self, exchange: Exchange, frame: ServerSentEvent) -> ServerSentEvent | None:
        if b"secret" in frame.data:
            return None
        return ServerSentEvent(frame.data.replace(b"Hi", b"Ho"), frame.event)


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_events_can_be_changed_and_left_out(size: int) -> None:
    whole = b"".join(chat_stream("Hi", "secret", "there"))
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    answer = await ask(FakeUpstream([sse_response(*pieces)]), Muted(), stream=True)
    assert b"Ho" in answer.body and b"Hi" not in answer.body and b"secret" not in answer.body
    assert answer.body.endswith(DONE)


async def test_signs_of_life_pass_by_hooks_that_see_events() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for body in (b": keep-alive\n\n", b"\r\n\r\n", b"data: 1\n\n"):
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    answer = await call(HooksMiddleware(app, hooks=[Muted()]), http_scope())
    assert answer.body == b": keep-alive\n\n\r\n\r\ndata: 1\n\n"


async def test_what_is_not_overridden_is_not_wrapped() -> None:
    """M4: nothing stands between a stream and its client."""
    given: list[Send] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given.append(send)
        await read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    class Before(Hooks):
        async def before_request(self, exchange: Exchange, body: bytes) -> bytes:
            return body

    class End(Hooks):
        async def on_end(self, exchange: Exchange) -> None:
            pass

    for hook in (Hooks(), Before(), End()):
        send = RecordingSend()
        await HooksMiddleware(app, hooks=[hook])(http_scope(), ScriptedReceive(b"{}"), send)
    assert [isinstance(send, _Answer) for send in given] == [False, False, True]


async def test_a_stream_is_passed_on_byte_for_byte_where_no_hook_sees_events() -> None:
    whole = b": odd\n" + b"".join(chat_stream("Hi", usage=True))
    without = await ask(FakeUpstream([sse_response(whole)]), stream=True)
    answer = await ask(FakeUpstream([sse_response(whole)]), Named("1"), stream=True)
    assert answer.body == without.body


async def test_the_end_never_fails_a_request(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Named):
        async def on_end(self, exchange: Exchange) -> None:
            raise RuntimeError("secret" + "-canary")

    after = Named("2")
    answer = await ask(FakeUpstream([FakeResponse([chat_answer()])]), Failing("1"), after)
    assert answer.status == 200
    assert after.seen[-1] == "completed True 1"
    assert "on_end of Failing failed" in caplog.text and "secret-canary" not in caplog.text


async def test_the_end_is_told_of_errors_too() -> None:
    hook = Named("1")
    assert (await ask(FakeUpstream([BROKEN]), hook)).status >= 500
    assert hook.seen[-1].startswith("upstream_error")


async def test_a_hook_with_a_bug_is_a_500_that_says_nothing() -> None:
    class Bug(Hooks):
        async def before_request(self, exchange: Exchange, body: bytes) -> bytes:
            raise KeyError("a-canary")

    answer = await ask(FakeUpstream([]), Bug())
    assert answer.status == 500 and b"canary" not in answer.body


async def test_a_client_that_leaves_before_its_body_is_whole() -> None:
    exchange, receive, send = Exchange("req_1"), ScriptedReceive(), RecordingSend()
    receive._messages.clear()
    receive.disconnect()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("nobody asks any more")

    scope = {**http_scope(), SCOPE_KEY: exchange}
    await HooksMiddleware(app, hooks=[Named("1")])(scope, receive, send)
    assert (exchange.outcome, send.status) == ("client_disconnected", 499)


async def test_other_scopes_pass_through() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await HooksMiddleware(app, hooks=[Named("1")])({"type": "lifespan"}, ScriptedReceive(), RecordingSend())
    assert seen == ["lifespan"]


@pytest.fixture
def example() -> Hooks:
    """The hook of docs/hooks.md."""
    text = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {"__name__": "guard"}
    exec(compile(code.replace("app = build_app(hooks=[Guard()])", ""), "docs/hooks.md", "exec"), names)
    return cast(Hooks, cast(type, names["Guard"])())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("protocol", "path", "request_fields"),
    [
        ("openai_chat", "/v1/chat/completions", {}),
        ("anthropic_messages", "/v1/messages", {"max_tokens": 9}),
    ],
)
async def test_the_example_of_the_docs_does_what_it_says(
    example: Hooks,
    stream: bool,
    protocol: Protocol,
    path: str,
    request_fields: dict[str, int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "prompts")
    good, bad = chat_stream("Hi"), chat_stream("Plutonium")
    answers = [
        sse_response(*good) if stream else FakeResponse([chat_answer("Hi")]),
        sse_response(*bad) if stream else FakeResponse([chat_answer("Plutonium")]),
    ]
    upstream = FakeUpstream([*answers])
    app: ASGIApp = gateway(upstream, example)

    def body(text: str) -> bytes:
        message = {"role": "user", "content": text}
        return dumps({"model": "smart", "stream": stream, "messages": [message], **request_fields})

    answer = await call(app, http_scope(path=path), body("I am ann@example.org"))
    assert answer.status == 200 and b"Hi" in answer.body
    assert b"[email]" in upstream.requests[0].body and b"ann@" not in upstream.requests[0].body
    assert "prompt " in caplog.text and "ended: completed" in caplog.text and "email" not in caplog.text
    answer = await call(app, http_scope(path=path), body("How much?"))
    assert b"This answer is not given here." in answer.body and b"Plutonium" not in answer.body
    asked = len(upstream.requests)
    answer = await call(app, http_scope(path=path), body("Where is plutonium?"))
    assert answer.status == 400 and b"not answered" in answer.body and len(upstream.requests) == asked


async def test_a_gateway_error_keeps_its_kind() -> None:
    class Forbidding(Hooks):
        async def before_request(self, exchange: Exchange, body: bytes) -> bytes:
            raise GatewayError("no", kind="forbidden")

    assert (await ask(FakeUpstream([]), Forbidding())).status == 403
