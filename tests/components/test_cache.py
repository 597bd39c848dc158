"""Answers given again."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import anyio
import pytest

from asgi_llmgw import Exchange, Gateway, build_app
from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import send_response
from asgi_llmgw.components.cache import CacheMiddleware
from asgi_llmgw.config import Config, parse_config
from asgi_llmgw.errors import ConfigError, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY
from asgi_llmgw.json import JSONValue, dumps, loads_object
from asgi_llmgw.store.memory import MemorySideTable
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
from tests.samples import chat_answer, chat_chunk, chat_request, chat_stream, messages_stream

pytestmark = pytest.mark.anyio

NOTHING: Mapping[str, object] = MappingProxyType({})
KEYS = [
    {"name": "ann", "key": "key-ann", "tenant": "red"},
    {"name": "bob", "key": "key-bob", "tenant": "red"},
    {"name": "cid", "key": "key-cid", "tenant": "blue"},
    {"name": "dan", "key": "key-dan"},
    {"name": "red", "key": "key-red"},
]


def configured(*, ann: Mapping[str, object] = NOTHING, **model: object) -> Config:
    return parse_config(
        {
            "keys": [{**KEYS[0], **ann}, *KEYS[1:]],
            "tenants": {"red": {}, "blue": {}},
            "providers": {"openai": {"api_key": "k"}, "anthropic": {"api_key": "k"}},
            "models": {
                "smart": {"targets": ["openai/gpt-4o"], "cache_seconds": 60, **model},
                "nick": {"alias": "smart"},
                "plain": {"targets": ["openai/gpt-4o"]},
                "clever": {"targets": ["anthropic/claude-sonnet-4-5"], "cache_seconds": 60},
            },
        },
        environ={},
    )


class House:
    """A gateway whose vendor counts."""

    def __init__(
        self, *answers: FakeResponse | BaseException, ann: Mapping[str, object] = NOTHING, **model: object
    ) -> None:
        self.upstream = FakeUpstream(list(answers) or [FakeResponse([chat_answer()])])
        self.lines: list[bytes] = []
        self.gateway: Gateway = build_app(
            configured(ann=ann, **model), upstream=self.upstream, access_log=self.lines.append
        )

    async def ask(
        self,
        body: JSONValue | bytes = None,
        *headers: tuple[bytes, bytes],
        key: str = "key-ann",
        path: str = "/v1/chat/completions",
    ) -> Answer:
        sent = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {key}".encode()), *headers]
        scope = http_scope(path=path, headers=sent)
        return await call(self.gateway, scope, chat_request("smart") if body is None else body)

    @property
    def asked(self) -> int:
        return len(self.upstream.requests)


def told(answer: Answer) -> bytes | None:
    return answer.headers.get(b"x-llmgw-cache")


async def test_the_same_request_gets_the_same_answer_again() -> None:
    house = House()
    first, second = await house.ask(), await house.ask()
    assert (told(first), told(second), house.asked) == (b"miss", b"hit", 1)
    assert first.body == second.body
    assert second.headers[b"content-type"] == first.headers[b"content-type"]
    assert first.headers[b"x-request-id"] != second.headers[b"x-request-id"]
    log = [loads_object(line) for line in house.lines]
    assert [line["cache"] for line in log] == ["miss", "hit"]
    assert (log[1]["outcome"], log[1]["finish_reason"], log[1]["input_tokens"], log[1]["attempts"]) == (
        "completed",
        "stop",
        None,
        0,
    )


async def test_the_order_of_members_does_not_matter_and_all_else_does() -> None:
    house = House()
    await house.ask(b'{"model":"smart","messages":[{"role":"user","content":"Hello"}],"temperature":0}')
    again = await house.ask(b'{ "temperature":0,"messages":[{"content":"Hello","role":"user"}], "model":"smart"}')
    assert told(again) == b"hit"
    for body in (
        chat_request("smart", temperature=1),
        chat_request("smart", temperature=0, messages=[]),
        chat_request("nick", temperature=0),
    ):
        assert told(await house.ask(body)) == b"miss"


async def test_nobody_gets_the_answer_of_another_tenant() -> None:
    """F062: the keys of a tenant share; a key that is called like a tenant does not."""
    house = House()
    expected = {"key-ann": b"miss", "key-bob": b"hit", "key-cid": b"miss", "key-dan": b"miss", "key-red": b"miss"}
    assert {key: told(await house.ask(key=key)) for key in expected} == expected
    assert house.asked == 4


async def test_no_cache_in_between_may_keep_an_answer() -> None:
    """F063: least of all one that we keep ourselves."""
    house = House()
    for _ in range(2):
        assert b"no-store" in (await house.ask()).headers[b"cache-control"]


async def test_a_stream_is_given_again_as_the_same_frames() -> None:
    house = House(sse_response(*chat_stream("Hel", "lo", usage=True)), FakeResponse([chat_answer()]))
    body = chat_request("smart", stream=True, stream_options={"include_usage": True})
    first, second = await house.ask(body), await house.ask(body)
    assert (told(second), first.body) == (b"hit", second.body)
    assert b'"usage":{' in second.body
    assert second.headers[b"content-type"].startswith(b"text/event-stream")
    assert told(await house.ask()) == b"miss", "a whole answer is another thing"


async def test_a_translated_stream_is_remembered_in_the_clients_protocol() -> None:
    house = House(sse_response(*messages_stream("Hello")))
    body = chat_request("clever", stream=True)
    first, second = await house.ask(body), await house.ask(body)
    assert (told(second), first.body.replace(b": keep-alive\n\n", b"")) == (b"hit", second.body)
    assert b"Hello" in second.body and second.body.endswith(b"data: [DONE]\n\n")


async def test_signs_of_life_are_not_remembered_and_what_comes_with_them_is() -> None:
    sent = (b": keep-alive\n\n", b"\r\n\r\n", b": keep-alive\n\ndata: 1\n\n", b"data: 2\n\n")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[SCOPE_KEY].finish_reason = "stop"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for chunk in sent:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    cache = CacheMiddleware(app, seconds={"smart": 1}, table=MemorySideTable())
    bodies = []
    for _ in range(2):
        exchange = Exchange("req_1", route="smart", client_protocol="openai_chat", operation="chat")
        bodies.append((await call(cache, {**http_scope(), SCOPE_KEY: exchange}, b"{}")).body)
    assert bodies == [b"".join(sent), b"".join(sent[2:])]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(sse_response(*chat_stream("Hi")[:2]), id="no finish"),
        pytest.param(
            sse_response(chat_chunk({"content": "Hi"}), UpstreamError("gone", failure="unreachable")), id="broken off"
        ),
        pytest.param(sse_response(*chat_stream("x" * 1024 * 1024)), id="too large"),
    ],
)
async def test_only_what_is_complete_and_small_is_remembered(answer: FakeResponse) -> None:
    house = House(answer)
    for _ in range(2):
        assert told(await house.ask(chat_request("smart", stream=True))) == b"miss"
    assert house.asked == 2


async def test_errors_are_not_remembered() -> None:
    refused = FakeResponse([dumps({"error": {"message": "no", "type": "invalid_request_error"}})], status=400)
    house = House(refused, FakeResponse([chat_answer()]))
    first, second = await house.ask(), await house.ask()
    assert (first.status, told(first), second.status, told(second)) == (400, None, 200, b"miss")


async def test_clients_may_ask_anew() -> None:
    house = House(FakeResponse([chat_answer("old")]), FakeResponse([chat_answer("new")]))
    await house.ask()
    anew = await house.ask(None, (b"cache-control", b"max-age=0, No-Cache"))
    assert told(anew) == b"miss" and b"new" in anew.body
    again = await house.ask()
    assert told(again) == b"hit" and b"new" in again.body


async def test_clients_may_leave_no_trace() -> None:
    house = House()
    assert told(await house.ask(None, (b"cache-control", b"no-store"))) is None
    assert told(await house.ask()) == b"miss"
    assert told(await house.ask(None, (b"cache-control", b"no-store"))) is None
    assert house.asked == 3


async def test_other_routes_have_no_cache() -> None:
    house = House()
    for _ in range(2):
        assert told(await house.ask(chat_request("plain"))) is None
    assert house.asked == 2


async def test_an_alias_has_its_models_cache() -> None:
    house = House()
    assert [told(await house.ask(chat_request("nick"))) for _ in range(2)] == [b"miss", b"hit"]


@pytest.mark.parametrize("member", [{"previous_response_id": "resp_1"}, {"background": True}, {"conversation": "c"}])
async def test_what_depends_on_more_than_the_request_has_no_cache(member: dict[str, JSONValue]) -> None:
    asked: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(True)
        scope[SCOPE_KEY].finish_reason = "stop"
        await send_response(send, 200, b"{}")

    cache = CacheMiddleware(app, seconds={"smart": 1}, table=MemorySideTable())
    for _ in range(2):
        exchange = Exchange("req_1", route="smart", client_protocol="openai_responses", operation="chat")
        answer = await call(cache, {**http_scope(), SCOPE_KEY: exchange}, dumps({"input": "Hi", **member}))
        assert told(answer) is None
    assert len(asked) == 2


async def test_headers_that_vendors_read_make_another_request() -> None:
    house = House()
    beta = (b"openai-beta", b"one")
    for expected in (b"miss", b"hit"):
        assert told(await house.ask(None, beta)) == expected
    assert told(await house.ask()) == b"miss"
    assert told(await house.ask(None, (b"x-trace", b"1"))) == b"hit"


async def test_a_hit_uses_up_a_request_but_no_tokens() -> None:
    house = House(ann={"rpm": 3, "tpm": 100_000})
    answers = [await house.ask() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    remaining = [answer.headers[b"x-ratelimit-remaining-tokens"] for answer in answers[1:3]]
    assert remaining[0] == remaining[1]
    metrics = await call(house.gateway, http_scope("GET", "/metrics"))
    assert b'model="smart",provider="openai",type="input"} 9.0' in metrics.body


async def test_a_changed_target_makes_old_answers_worthless() -> None:
    house = House()
    await house.ask()
    await house.gateway.reload(configured())
    assert told(await house.ask()) == b"hit", "what is remembered outlives a reload"
    await house.gateway.reload(configured(targets=["openai/gpt-5"]))
    assert told(await house.ask()) == b"miss"


async def test_an_answer_is_forgotten_in_time() -> None:
    clock = [0.0]
    table = MemorySideTable(clock=lambda: clock[0])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[SCOPE_KEY].finish_reason = "stop"
        await send_response(send, 200, b"{}")

    async def ask() -> bytes | None:
        exchange = Exchange("req_1", route="smart", client_protocol="openai_chat", operation="chat")
        cache = CacheMiddleware(app, seconds={"smart": 10}, table=table)
        return told(await call(cache, {**http_scope(), SCOPE_KEY: exchange}, b"{}"))

    assert [await ask(), await ask()] == [b"miss", b"hit"]
    clock[0] = 10.0
    assert await ask() == b"miss"


async def test_what_another_version_remembered_is_no_answer() -> None:
    class Odd(MemorySideTable):
        async def get(self, owner: str, name: str) -> bytes | None:
            return b"\xc1 not ours"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, 200, b"{}")

    exchange = Exchange("req_1", route="smart", client_protocol="openai_chat", operation="chat")
    cache = CacheMiddleware(app, seconds={"smart": 10}, table=Odd())
    assert told(await call(cache, {**http_scope(), SCOPE_KEY: exchange}, b"{}")) == b"miss"


async def test_a_client_that_left_has_nothing_remembered() -> None:
    gate = anyio.Event()
    house = House(sse_response(chat_chunk({"content": "Hi"}), gate), FakeResponse([chat_answer()]))
    receive = ScriptedReceive(dumps(chat_request("smart", stream=True)))
    scope = http_scope(headers=[(b"content-type", b"application/json"), (b"authorization", b"Bearer key-ann")])
    await house.gateway(scope, receive, RecordingSend(lambda chunk: receive.disconnect()))
    assert loads_object(house.lines[0])["outcome"] == "client_disconnected"
    assert told(await house.ask(chat_request("smart", stream=True))) != b"hit"


def test_numbers_must_make_sense() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    with pytest.raises(ConfigError):
        CacheMiddleware(app, seconds={"smart": 0}, table=MemorySideTable())
