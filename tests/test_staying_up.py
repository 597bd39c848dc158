"""Failures of vendors through the whole gateway, and as their own SDKs see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import anthropic
import anyio
import openai
import pytest

from asgi_llmgw import build_app
from asgi_llmgw._types import Scope
from asgi_llmgw.app import Gateway
from asgi_llmgw.config import Config, parse_config
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.testing import Answer, FakeResponse, FakeUpstream, RecordingSend, ScriptedReceive, call, http_scope
from asgi_llmgw.upstream.base import UpstreamRequest
from tests.samples import CHAT_ERROR, chat_answer, chat_request, messages_answer
from tests.servers import Background, background, uvicorn_server

KEY = "client-key"
OVERLOADED = FakeResponse([dumps(CHAT_ERROR)], status=503)


def limited(retry_after: bytes | None) -> FakeResponse:
    body = dumps({"error": {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}})
    headers = () if retry_after is None else ((b"retry-after", retry_after),)
    return FakeResponse([body], status=429, headers=((b"content-type", b"application/json"), *headers))


def refused() -> FakeResponse:
    return FakeResponse([dumps({"error": {"message": "No", "code": "invalid_api_key"}})], status=401)


def configured(**sections: JSONValue) -> Config:
    """Two vendors, a model at both, and a cheaper one behind it; no time is spent on waiting."""
    document: JSONObject = {
        "keys": [{"name": "team", "key": KEY}],
        "providers": {
            "openai": {"api_keys": ["upstream-1", "upstream-2"], "protocol": "openai_chat"},
            "anthropic": {"api_keys": ["upstream-3", "upstream-4", "upstream-5"]},
        },
        "models": {
            "smart": {"targets": ["openai/gpt-4o"], "fallbacks": ["cheap"]},
            "cheap": {"targets": ["anthropic/claude-haiku-4-5"]},
            "alone": {"targets": ["openai/gpt-4o"]},
        },
        "retry": {"backoff_seconds": 0},
        **sections,
    }
    return parse_config(document, environ={})


class Running:
    """A gateway, its two vendors, and what it logs."""

    def __init__(
        self,
        *openai_answers: FakeResponse | BaseException,
        anthropic_answers: tuple[FakeResponse | BaseException, ...] = (FakeResponse([messages_answer("From Claude")]),),
        config: Config | None = None,
    ) -> None:
        self.openai = FakeUpstream(list(openai_answers))
        self.anthropic = FakeUpstream(list(anthropic_answers))
        self.lines: list[bytes] = []
        self.gateway: Gateway = build_app(
            configured() if config is None else config,
            upstreams={"openai": self.openai, "anthropic": self.anthropic},
            access_log=self.lines.append,
        )

    async def ask(
        self,
        body: JSONObject | None = None,
        *,
        path: str = "/v1/chat/completions",
        secret: str = KEY,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Answer:
        scope = asking(path, secret, headers)
        return await call(self.gateway, scope, chat_request("smart") if body is None else body)

    async def read(self, path: str) -> Answer:
        scope = http_scope("GET", path, headers=((b"authorization", f"Bearer {KEY}".encode()),))
        return await call(self.gateway, scope)

    @property
    def entry(self) -> JSONObject:
        return loads_object(self.lines[-1])


def asking(path: str, secret: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Scope:
    own = ((b"content-type", b"application/json"), (b"authorization", f"Bearer {secret}".encode()))
    return http_scope(path=path, headers=(*own, *headers))


def secret_of(request: UpstreamRequest) -> str:
    headers = dict(request.headers)
    found = headers.get(b"x-api-key") or headers.get(b"authorization", b"")
    return found.decode().removeprefix("Bearer ")


@pytest.mark.anyio
async def test_another_model_at_another_vendor_answers() -> None:
    """F177, D10: in another protocol, from the client's own request, and the log tells the way."""
    running = Running(OVERLOADED)
    body = chat_request("smart", temperature=0.5)
    answer = await running.ask(body)
    assert answer.status == 200 and b"From Claude" in answer.body
    asked = loads_object(running.anthropic.requests[0].body)
    assert (asked["model"], asked["temperature"]) == ("claude-haiku-4-5", 0.5)
    assert [as_object(tried)["failure"] for tried in as_list(running.entry["tried"])] == ["overloaded", None]
    assert (running.entry["provider"], running.entry["attempts"], running.entry["outcome"]) == (
        "anthropic",
        2,
        "completed",
    )


@pytest.mark.anyio
async def test_a_fallback_that_the_key_may_not_use_is_none() -> None:
    """D10: authorised anew for each model."""
    config = configured(keys=[{"name": "team", "key": KEY, "models": ["smart"]}])
    running = Running(OVERLOADED, config=config)
    answer = await running.ask()
    assert answer.status == 503 and running.anthropic.requests == []


@pytest.mark.anyio
async def test_the_first_vendor_takes_over_again_by_itself() -> None:
    """F170, D7: after five failures it is left alone, which the status tells."""
    running = Running(OVERLOADED)
    for _ in range(10):
        assert (await running.ask()).status == 200
    assert len(running.openai.requests) == 10, "five with each of its two keys"
    status = as_list(as_object((await running.read("/status")).json)["targets"])
    states = {(as_object(lane)["provider"], as_object(lane)["key"]): as_object(lane)["state"] for lane in status}
    assert states[("openai", 0)] == states[("openai", 1)] == "open"
    metrics = (await running.read("/metrics")).body
    assert b'llm_attempts_total{provider="openai",result="overloaded"} 10.0' in metrics
    assert b'llm_target_state{key="0",model="gpt-4o",provider="openai",state="open"} 1.0' in metrics
    assert b"upstream-" not in metrics


@pytest.mark.anyio
async def test_the_status_is_for_callers_with_a_key() -> None:
    running = Running(OVERLOADED)
    assert (await call(running.gateway, http_scope("GET", "/status", headers=()))).status == 401
    assert (await running.read("/status")).status == 200


@pytest.mark.anyio
async def test_what_is_known_of_vendors_outlives_a_reload() -> None:
    """D12: as long as the vendors and their keys are the same."""
    running = Running(limited(b"100"))
    await running.ask(chat_request("alone"))
    await running.gateway.reload(configured(routing={"default": "smart"}))
    assert (await running.ask(chat_request("alone"))).status == 429
    assert len(running.openai.requests) == 2, "once with each key, before the reload"
    await running.gateway.reload(configured(breaker={"failures": 9}))
    await running.ask(chat_request("alone"))
    assert len(running.openai.requests) > 2


@pytest.mark.anyio
async def test_keys_rotate_and_a_refused_one_is_left_out() -> None:
    """F173, D11."""
    running = Running(refused(), FakeResponse([chat_answer()]))
    for _ in range(5):
        assert (await running.ask(chat_request("alone"))).status == 200
    assert Counter(map(secret_of, running.openai.requests)) == {"upstream-1": 1, "upstream-2": 5}
    assert b"upstream-1" not in b"".join(running.lines)


@pytest.mark.anyio
@pytest.mark.parametrize("name", [b"x-claude-code-session-id", b"session_id"], ids=["C14_claude_code", "C14_codex"])
async def test_an_agents_session_stays_with_one_key(name: bytes) -> None:
    """C14: whatever protocol it speaks."""
    running = Running(FakeResponse([chat_answer()]))
    for number in range(6):
        session = ((name, f"session-{number}".encode()),)
        for _ in range(3):
            await running.ask(chat_request("cheap"), headers=session)
        assert len({secret_of(request) for request in running.anthropic.requests[-3:]}) == 1
    assert len({secret_of(request) for request in running.anthropic.requests}) > 1


@pytest.mark.anyio
async def test_without_stickiness_sessions_are_spread() -> None:
    models: JSONObject = {"cheap": {"targets": ["anthropic/claude-haiku-4-5"], "sticky": False}}
    running = Running(config=configured(models=models))
    for _ in range(3):
        await running.ask(chat_request("cheap"), headers=((b"session_id", b"one"),))
    assert len({secret_of(request) for request in running.anthropic.requests}) == 3


@pytest.mark.anyio
async def test_one_idempotency_key_of_two_clients_gives_each_its_own_answer() -> None:
    """F180: vendors would take the two for one, as both come with the operator's key."""
    keys: JSONValue = [{"name": "one", "key": "secret-1"}, {"name": "two", "key": "secret-2"}]
    answers = [FakeResponse([chat_answer("For one")]), FakeResponse([chat_answer("For two")])]
    running = Running(*answers, config=configured(keys=keys))
    same = ((b"idempotency-key", b"7c1f"),)
    got: list[bytes] = []

    async def ask(secret: str) -> None:
        got.append((await running.ask(chat_request("alone"), secret=secret, headers=same)).body)

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "secret-1")
        group.start_soon(ask, "secret-2")
    assert len(running.openai.requests) == 2 and len(set(got)) == 2
    assert all(b"idempotency-key" not in dict(request.headers) for request in running.openai.requests)


@pytest.mark.anyio
async def test_one_tenant_that_floods_leaves_the_others_their_places() -> None:
    """F179: 95 of 100 requests are its own; what it has no place for is refused at once."""
    gate = anyio.Event()
    config = configured(
        keys=[{"name": "flood", "key": "flood-key", "concurrency": 5}, {"name": "calm", "key": "calm-key"}]
    )
    running = Running(FakeResponse([gate, chat_answer()]), config=config)
    statuses: dict[str, list[int]] = {"flood-key": [], "calm-key": []}

    async def ask(secret: str) -> None:
        send = RecordingSend()
        await running.gateway(
            asking("/v1/chat/completions", secret), ScriptedReceive(dumps(chat_request("alone"))), send
        )
        statuses[secret].append(send.status)

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(ask, "calm-key" if number % 20 == 19 else "flood-key")
        while len(statuses["flood-key"]) < 90:
            await anyio.lowlevel.checkpoint()
        assert running.openai.open_calls == 10 and set(statuses["flood-key"]) == {429}
        gate.set()
    assert statuses["calm-key"] == [200] * 5
    assert Counter(statuses["flood-key"]) == {429: 90, 200: 5}


class Served:
    """A gateway behind a real server, for the vendors' own SDKs."""

    def __init__(self, running: Background) -> None:
        self._running = running

    def __call__(self, *answers: FakeResponse) -> tuple[str, FakeUpstream]:
        upstream = FakeUpstream(list(answers))
        gateway = build_app(configured(), upstream=upstream, access_log=None)
        return self._running.enter(uvicorn_server(gateway)), upstream


@pytest.fixture
def served() -> Iterator[Served]:
    with background() as running:
        yield Served(running)


def chat(url: str) -> openai.types.chat.ChatCompletion:
    """With the SDK's own retries on, as it comes."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
        return client.chat.completions.create(model="alone", messages=[{"role": "user", "content": "Hello"}])


def test_openais_sdk_does_not_retry_what_the_gateway_has_retried(served: Served) -> None:
    """F175: three attempts of ours, and not three times three."""
    url, upstream = served(OVERLOADED)
    with pytest.raises(openai.InternalServerError) as caught:
        chat(url)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == 3


def test_anthropics_sdk_does_not_either(served: Served) -> None:
    """F175."""
    url, upstream = served(OVERLOADED)
    with anthropic.Anthropic(base_url=url, api_key=KEY) as client, pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="alone", max_tokens=9, messages=[{"role": "user", "content": "Hello"}])
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == 3


def test_openais_sdk_reads_when_to_come_back(served: Served) -> None:
    """F136, D4: from a vendor's 429, and from the gateway's own while all is cooling down."""
    url, upstream = served(limited(b"300"))
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            chat(url)
        assert 290 < int(caught.value.response.headers["retry-after"]) <= 300
    assert len(upstream.requests) == 2, "once with each key, and none while they rest"


def test_openais_sdk_gets_an_answer_although_the_first_key_is_limited(served: Served) -> None:
    """D11."""
    url, upstream = served(limited(b"300"), FakeResponse([chat_answer("At last")]))
    assert chat(url).choices[0].message.content == "At last"
    assert [secret_of(request) for request in upstream.requests] == ["upstream-1", "upstream-2"]
