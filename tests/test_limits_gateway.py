"""Limits and budgets through the whole gateway, and as the vendors' own SDKs see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anthropic
import anyio
import openai
import pytest
from google import genai
from google.genai import errors, types
from prometheus_client import CollectorRegistry

from asgi_llmgw import LimitsMiddleware, Principal, assembly, build_app
from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.app import Gateway
from asgi_llmgw.components.costs import CostsMiddleware
from asgi_llmgw.config import Config, parse_config
from asgi_llmgw.json import JSONObject, JSONValue, as_object, dumps, loads_object
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.store.stores import Stores
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
from tests.samples import (
    CHAT_ERROR,
    MESSAGES_OVERLOADED,
    chat_answer,
    chat_request,
    chat_stream,
    frame,
    messages_answer,
    messages_stream,
)
from tests.servers import background, uvicorn_server

GPT: JSONObject = {"targets": ["openai/gpt-4o"]}


def configured(key: JSONObject | None = None, **sections: JSONValue) -> Config:
    """A gateway with one client, and what that client may use."""
    document: JSONObject = {
        "keys": [{"name": "team-a", "key": "client-key", **(key or {})}],
        "providers": {"openai": {"api_key": "k", "protocol": "openai_chat"}, "anthropic": {"api_key": "k"}},
        "models": {"smart": dict(GPT), "claude": {"targets": ["anthropic/claude-sonnet-4-5"]}},
        **sections,
    }
    return parse_config(document, environ={})


def asking(path: str = "/v1/chat/completions", *, secret: bytes = b"client-key") -> Scope:
    return http_scope(
        path=path, headers=((b"content-type", b"application/json"), (b"authorization", b"Bearer " + secret))
    )


class Running:
    """A gateway, what its vendor is asked, and what it logs."""

    def __init__(self, config: Config, *answers: FakeResponse | BaseException) -> None:
        self.upstream = FakeUpstream([*answers])
        self.lines: list[bytes] = []
        self.registry = CollectorRegistry()
        self.gateway: Gateway = build_app(
            config, upstream=self.upstream, access_log=self.lines.append, registry=self.registry
        )

    async def ask(
        self, body: JSONObject | None = None, *, path: str = "/v1/chat/completions", secret: bytes = b"client-key"
    ) -> Answer:
        return await call(self.gateway, asking(path, secret=secret), body or chat_request(max_tokens=100))

    @property
    def entry(self) -> JSONObject:
        return loads_object(self.lines[-1])

    async def leave_after(self, text: bytes, body: JSONObject) -> None:
        """Ask for a stream, and leave once this has come."""
        receive = ScriptedReceive(dumps(body))
        send = RecordingSend(lambda chunk: receive.disconnect() if text in chunk else None)
        await self.gateway(asking(), receive, send)


def remaining(answer: Answer, kind: str = "tokens") -> int:
    return int(answer.headers[b"x-ratelimit-remaining-" + kind.encode()])


@pytest.mark.anyio
async def test_a_key_meets_its_limit_and_the_vendor_is_spared() -> None:
    running = Running(configured({"rpm": 2}), FakeResponse([chat_answer()]))
    answers = [await running.ask() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert len(running.upstream.requests) == 2
    assert b"key team-a: 2 requests per minute" in answers[2].body
    assert (running.entry["outcome"], running.entry["limited"]) == ("rejected", "key_rpm")


@pytest.mark.anyio
async def test_64_at_once_through_all_of_it_find_exactly_20_places() -> None:
    """L4 F189"""
    running = Running(configured({"rpm": 20}), FakeResponse([chat_answer()]))
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await running.ask()).status)

    async with anyio.create_task_group() as group:
        for _ in range(64):
            group.start_soon(ask)
    assert (statuses.count(200), statuses.count(429)) == (20, 44)
    assert len(running.upstream.requests) == 20


@pytest.mark.anyio
async def test_the_keys_of_a_tenant_share_its_limits_and_nobody_is_told_of_the_others() -> None:
    keys: list[JSONValue] = [
        {"name": name, "key": f"key-of-{name}", "tenant": tenant}
        for name, tenant in (("alice", "acme"), ("bob", "acme"), ("carol", "other"))
    ]
    tenants: JSONObject = {"acme": {"rpm": 2}, "other": {}}
    running = Running(configured(keys=keys, tenants=tenants), FakeResponse([chat_answer()]))
    answers = [await running.ask(secret=f"key-of-{name}".encode()) for name in ("alice", "bob", "alice", "carol")]
    assert [answer.status for answer in answers] == [200, 200, 429, 200]
    assert b"tenant acme: 2 requests per minute" in answers[2].body
    assert b"bob" not in answers[2].body and b"carol" not in answers[2].body


@pytest.mark.anyio
async def test_a_hosts_own_callers_have_the_limits_of_their_tenant() -> None:
    async def verify(scope: Scope, secret: str | None) -> Principal | None:
        return Principal(f"user-{secret}", tenant="acme")

    config = configured(keys=[], tenants={"acme": {"rpm": 1}})
    gateway = build_app(config, upstream=FakeUpstream([FakeResponse([chat_answer()])]), verify=verify, access_log=None)
    statuses = [(await call(gateway, asking(secret=who), chat_request())).status for who in (b"one", b"two")]
    assert statuses == [200, 429]


@pytest.mark.anyio
async def test_an_alias_is_no_way_around_the_limits_of_its_model() -> None:
    models: JSONObject = {"smart": {**GPT, "rpm": 2}, "fast": {"alias": "smart", "rpm": 5}}
    running = Running(configured(models=models), FakeResponse([chat_answer()]))
    statuses = [(await running.ask(chat_request(model))).status for model in ("fast", "smart", "fast")]
    assert statuses == [200, 200, 429]
    refused = await running.ask(chat_request("fast"))
    assert b"model smart: 2 requests per minute" in refused.body
    assert b"x-ratelimit-remaining-requests" not in refused.headers


@pytest.mark.anyio
async def test_tokens_and_cost_are_what_the_vendor_reported() -> None:
    running = Running(configured({"tpm": 5000, "budget_usd": 1.0}), FakeResponse([chat_answer()]))
    first, second = await running.ask(), await running.ask()
    # 9 tokens in and 3 out at 2.5 and 10 USD per million
    assert running.entry["cost_usd"] == 0.000053
    assert remaining(first) - remaining(second) == 12


@pytest.mark.anyio
async def test_a_stream_is_settled_as_it_was_reported() -> None:
    stream = sse_response(*chat_stream("Hello", " you", usage=True))
    running = Running(configured({"tpm": 5000}), stream)
    body = chat_request(max_tokens=100, stream=True)
    first, second = await running.ask(body), await running.ask(body)
    assert remaining(first) - remaining(second) == 12
    assert running.entry["cost_usd"] == 0.000053


@pytest.mark.anyio
async def test_a_client_that_leaves_in_the_middle_is_counted_what_was_streamed() -> None:
    """F109 F113 L8"""
    forever = anyio.Event()
    words = chat_stream("Hello", "x" * 900)[:3]
    running = Running(configured({"tpm": 5000, "concurrency": 1}), sse_response(*words, forever))
    body = chat_request(max_tokens=1000, stream=True)
    await running.leave_after(b"xxx", body)
    assert running.entry["outcome"] == "client_disconnected"
    cost = running.entry["cost_usd"]
    assert isinstance(cost, float) and 0.003 < cost < 0.0032
    running.upstream.answers = [FakeResponse([chat_answer()])]
    after = await running.ask(chat_request(max_tokens=1000))
    # its own claim of 1000 and a little, and 300 tokens of text and a little
    assert after.status == 200
    assert 5000 - 1000 - 302 - 60 < remaining(after) < 5000 - 1000 - 302


@pytest.mark.anyio
async def test_the_first_word_of_a_messages_stream_is_no_count_of_its_output() -> None:
    """L8: `message_start` says 1 token of output; the client leaves after many."""
    forever = anyio.Event()
    events = messages_stream("Hello ", "y" * 900)[:5]
    running = Running(configured({"budget_usd": 1.0}), sse_response(*events, forever))
    await running.leave_after(b"yyy", chat_request("claude", max_tokens=1000, stream=True))
    cost = running.entry["cost_usd"]
    # 9 tokens in at 3 USD, 302 out at 15 USD per million
    assert isinstance(cost, float) and cost == pytest.approx(0.000027 + 0.00453)


@pytest.mark.anyio
async def test_an_attempt_that_failed_costs_what_its_vendor_reported() -> None:
    """9 tokens in and 1 out at 3 and 15 USD per million, then 9 and 3 at 2.5 and 10."""
    begun = [messages_stream("Hello")[0], frame(MESSAGES_OVERLOADED, "error")]
    models: JSONObject = {"smart": {"targets": ["anthropic/claude-sonnet-4-5", "openai/gpt-4o"]}}
    running = Running(
        configured({"budget_usd": 1.0}, models=models),
        sse_response(*begun),
        sse_response(*chat_stream("Hello", " you", usage=True)),
    )
    assert (await running.ask(chat_request(stream=True))).status == 200
    assert running.entry["attempts"] == 2
    assert running.entry["cost_usd"] == pytest.approx(0.000042 + 0.000053)


@pytest.mark.anyio
async def test_what_the_vendor_refused_costs_nothing() -> None:
    refusal = FakeResponse([dumps(CHAT_ERROR)], status=500)
    running = Running(configured({"tpm": 1000}, retry={"attempts": 1}), refusal)
    assert (await running.ask()).status >= 500
    assert running.entry["cost_usd"] is None
    running.upstream.answers = [FakeResponse([chat_answer()])]
    assert remaining(await running.ask()) > 800


@pytest.mark.anyio
async def test_an_error_inside_a_stream_is_settled_with_what_came_before() -> None:
    words = [*chat_stream("Hello", "z" * 300)[:3], frame(CHAT_ERROR)]
    running = Running(configured({"tpm": 5000}), sse_response(*words))
    await running.ask(chat_request(max_tokens=1000, stream=True))
    cost = running.entry["cost_usd"]
    assert isinstance(cost, float) and 0.001 < cost < 0.0012


@pytest.mark.anyio
async def test_a_count_of_tokens_is_a_request() -> None:
    """L5"""
    running = Running(configured({"rpm": 1}), FakeResponse([b'{"input_tokens": 7}']))
    body: JSONObject = {"model": "claude", "messages": [{"role": "user", "content": "Hello"}]}
    answers = [await running.ask(body, path="/v1/messages/count_tokens") for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert as_object(as_object(answers[1].json)["error"])["type"] == "rate_limit_error"
    assert answers[0].headers[b"anthropic-ratelimit-requests-remaining"] == b"0"


@pytest.mark.anyio
async def test_lists_of_models_and_health_are_not_limited() -> None:
    running = Running(configured({"rpm": 1}), FakeResponse([chat_answer()]))
    await running.ask()
    for path in ("/v1/models", "/health", "/metrics"):
        scope = http_scope("GET", path, headers=((b"authorization", b"Bearer client-key"),))
        assert (await call(running.gateway, scope)).status == 200


@pytest.mark.anyio
async def test_the_metrics_tell_cost_and_refusals() -> None:
    running = Running(configured({"rpm": 1}), FakeResponse([chat_answer()]))
    await running.ask()
    await running.ask()
    value = running.registry.get_sample_value
    labels = {"api_key": "team-a", "provider": "openai", "model": "smart"}
    assert value("llm_cost_usd_total", labels) == pytest.approx(0.000053)
    assert value("llm_limited_total", {"api_key": "team-a", "limit": "key_rpm"}) == 1


@pytest.mark.anyio
async def test_the_cost_is_known_without_any_limit() -> None:
    running = Running(configured(), FakeResponse([chat_answer()]))
    answer = await running.ask()
    assert running.entry["cost_usd"] == 0.000053
    assert not any(b"ratelimit" in name for name in answer.headers)


def test_without_any_limit_nothing_stands_in_the_way() -> None:
    stores = Stores(MemoryStore())
    inner = CostsMiddleware(_nothing)
    assert assembly._limits(configured(), stores)(inner) is inner
    assert isinstance(assembly._limits(configured({"rpm": 1}), stores)(inner), LimitsMiddleware)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that is never called."""


@pytest.mark.anyio
async def test_counting_goes_on_when_the_configuration_changes() -> None:
    running = Running(configured({"rpm": 2}), FakeResponse([chat_answer()]))
    await running.ask()
    await running.ask()
    await running.gateway.reload(configured({"rpm": 3}))
    assert [(await running.ask()).status for _ in range(2)] == [200, 429]


@pytest.mark.anyio
async def test_a_model_passed_through_by_name_needs_a_price_under_a_budget() -> None:
    models: JSONObject = {"gpt-*": {"targets": ["openai/*"]}}
    running = Running(configured({"budget_usd": 1.0}, models=models), FakeResponse([chat_answer()]))
    assert (await running.ask(chat_request("gpt-4o"))).status == 200
    refused = await running.ask(chat_request("gpt-of-tomorrow"))
    assert (refused.status, as_object(as_object(refused.json)["error"])["code"]) == (403, "model_without_price")


class Served:
    """The gateway on a socket; `go` is an event in its loop."""

    def __init__(self, url: str, upstream: FakeUpstream, go: anyio.Event, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.upstream = upstream
        self.go = go
        self._loop = loop

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self.go.set)


@asynccontextmanager
async def event() -> AsyncIterator[anyio.Event]:
    yield anyio.Event()


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with background() as running:
        upstream = FakeUpstream([FakeResponse([chat_answer()])])
        key: JSONObject = request.param
        url = running.enter(uvicorn_server(build_app(configured(key), upstream=upstream, access_log=None)))
        yield Served(url, upstream, running.enter(event()), running.loop)


def chat(client: openai.OpenAI) -> str:
    answer = client.chat.completions.create(
        model="smart", max_tokens=50, messages=[{"role": "user", "content": "Hello"}]
    )
    return answer.choices[0].message.content or ""


ONE_A_MINUTE = pytest.mark.parametrize("served", [{"rpm": 1}], indirect=True)


@ONE_A_MINUTE
def test_openais_sdk_sees_a_rate_limit(served: Served) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="client-key", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="smart", messages=[{"role": "user", "content": "Hello"}]
        )
        assert raw.headers["x-ratelimit-limit-requests"] == "1"
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as caught:
            chat(client)
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "requests")
    assert "key team-a: 1 request per minute" in caught.value.message
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 63


@ONE_A_MINUTE
def test_openais_sdk_sees_a_rate_limit_of_responses(served: Served) -> None:
    served.upstream.answers = [FakeResponse([chat_answer()])]
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="client-key", max_retries=0) as client:
        assert client.responses.create(model="smart", input="Hello").output_text == "Hi there"
        with pytest.raises(openai.RateLimitError, match="1 request per minute"):
            client.responses.create(model="smart", input="Hello")


@ONE_A_MINUTE
def test_anthropics_sdk_sees_a_rate_limit(served: Served) -> None:
    served.upstream.answers = [FakeResponse([messages_answer()])]
    with anthropic.Anthropic(base_url=served.url, api_key="client-key", max_retries=0) as client:
        raw = client.messages.with_raw_response.create(
            model="claude", max_tokens=50, messages=[{"role": "user", "content": "Hello"}]
        )
        assert raw.headers["anthropic-ratelimit-requests-remaining"] == "0"
        with pytest.raises(anthropic.RateLimitError, match="1 request per minute") as caught:
            client.messages.create(model="claude", max_tokens=50, messages=[{"role": "user", "content": "Hello"}])
    assert caught.value.response.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert int(caught.value.response.headers["retry-after"]) > 0


@ONE_A_MINUTE
def test_googles_sdk_sees_a_rate_limit(served: Served) -> None:
    with genai.Client(api_key="client-key", http_options=types.HttpOptions(base_url=served.url)) as client:
        assert client.models.generate_content(model="smart", contents="Hello").text == "Hi there"
        with pytest.raises(errors.ClientError) as caught:
            client.models.generate_content(model="smart", contents="Hello")
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert "RetryInfo" in str(caught.value.details)


@pytest.mark.parametrize("served", [{"budget_usd": 0.000_001}], indirect=True)
def test_openais_sdk_does_not_try_again_what_never_fits(served: Served) -> None:
    with (
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="client-key", max_retries=5) as client,
        pytest.raises(openai.RateLimitError, match="more than the limit of key team-a"),
    ):
        chat(client)
    assert served.upstream.requests == []


@pytest.mark.parametrize("served", [{"concurrency": 1}], indirect=True)
def test_openais_sdk_comes_back_when_it_was_told_to(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait of the SDK is the moment in which the place becomes free."""
    waited: list[float] = []
    first, *rest = chat_stream("Hello", " you")
    served.upstream.answers = [sse_response(first, rest[0], served.go, *rest[1:]), FakeResponse([chat_answer()])]
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="client-key", max_retries=2) as client:
        running = client.chat.completions.create(
            model="smart", stream=True, messages=[{"role": "user", "content": "Hello"}]
        )
        assert next(running).choices[0].delta.role == "assistant"

        def wait(seconds: float) -> None:
            waited.append(seconds)
            served.release()
            assert list(running)

        monkeypatch.setattr("openai._base_client.time.sleep", wait)
        assert chat(client) == "Hi there"
    assert waited == [1.0]
