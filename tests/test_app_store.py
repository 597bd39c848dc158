"""The whole gateway over Redis: two of them count together, and go on without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from asgi_llmgw import Gateway, build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.json import as_object, dumps, loads_object
from asgi_llmgw.testing import Answer, FakeUpstream, call, http_scope
from tests.reasoning.cases import SIGNATURE, UPSTREAMS
from tests.replaying import next_request, without_conventions
from tests.samples import chat_request, messages_answer
from tests.store.redis_server import RedisServer, redis_server
from tests.test_app_reasoning import vendor

pytestmark = pytest.mark.anyio
SECRET = "sk-client"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


def gateway(
    server: RedisServer,
    prefix: str,
    *,
    claude: FakeUpstream | None = None,
    registry: CollectorRegistry | None = None,
    store: dict[str, object] | None = None,
    **limits: object,
) -> Gateway:
    document = {
        "keys": [{"name": "a", "key": SECRET, **limits}],
        "providers": {"anthropic": {"api_key": "k"}} if claude is not None else {"demo": {}},
        "store": {"url": server.url, "prefix": prefix, "timeout_ms": 5000, **(store or {})},
        "prices": {"demo/*": {"input": 1.0, "output": 1.0}},
    }
    upstreams = {} if claude is None else {"anthropic": claude}
    config = parse_config(document, environ={})
    return build_app(config, upstreams=upstreams, registry=registry, access_log=None)


async def ask(app: Gateway, body: bytes | None = None) -> Answer:
    scope = http_scope("POST", "/v1/chat/completions", headers=[(b"authorization", b"Bearer " + SECRET.encode())])
    return await call(app, scope, body if body is not None else dumps(chat_request("demo")))


async def store_of(app: Gateway) -> object:
    headers = [(b"authorization", b"Bearer " + SECRET.encode())]
    return as_object((await call(app, http_scope("GET", "/status", headers=headers))).json)["store"]


async def test_two_gateways_count_together(redis: RedisServer) -> None:
    """L3, L5: one ceiling, however many processes serve it."""
    one, two, other = (gateway(redis, prefix, rpm=5) for prefix in ("t1:", "t1:", "t2:"))
    statuses = [(await ask(app)).status for _ in range(4) for app in (one, two)]
    assert statuses == [200] * 5 + [429] * 3
    assert (await ask(other)).status == 200
    for app in (one, two, other):
        await app.aclose()


async def test_a_running_request_gives_its_slot_back(redis: RedisServer) -> None:
    """L1"""
    app = gateway(redis, "t3:", concurrency=1)
    assert [(await ask(app)).status for _ in range(5)] == [200] * 5
    await app.aclose()


@pytest.mark.parametrize(("when_away", "status"), [("deny", 503), ("allow", 200)])
async def test_the_gateway_goes_on_while_redis_is_away(tmp_path: Path, when_away: str, status: int) -> None:
    """F181, F185: limits of a minute are counted here, budgets do as configured, and the metric tells."""
    registry = CollectorRegistry()
    with redis_server(tmp_path) as server:
        limited = gateway(server, "a:", registry=registry, store={"replicas": 2}, rpm=24)
        budget = gateway(server, "b:", store={"budgets_when_away": when_away}, budget_usd=1.0)
        assert [(await ask(app)).status for app in (limited, budget)] == [200, 200]
        assert registry.get_sample_value("llm_store_available") == 1
        unused = gateway(server, "c:")
        server.kill()
        assert [(await ask(limited)).status for _ in range(15)] == [200] * 12 + [429] * 3
        assert registry.get_sample_value("llm_store_available") == 0
        assert [await store_of(app) for app in (limited, unused)] == ["away", "available"]
        for _ in range(6):
            answer = await ask(budget)
            assert answer.status == status
            assert (b"retry-after" in dict(answer.headers)) is (status == 503)
            assert str(server.port).encode() not in answer.body
        await limited.aclose()
        await budget.aclose()
        await unused.aclose()


async def test_turns_are_remembered_for_all_gateways(redis: RedisServer) -> None:
    """R6: the next request of a conversation may reach another process."""
    thinks = UPSTREAMS["claude_thinks"][1]
    claude = vendor(thinks.answer, messages_answer())
    one, two = (gateway(redis, "t4:", claude=claude) for _ in range(2))
    answer = await ask(one, dumps(chat_request("claude-sonnet-4-5")))
    assert answer.status == 200, answer.body
    follow_up = without_conventions(next_request("openai_chat", answer.body, streamed=False))
    follow_up = dumps({**loads_object(follow_up), "model": "claude-sonnet-4-5"})
    assert (await ask(two, follow_up)).status == 200
    assert SIGNATURE.encode() in claude.requests[1].body
    await one.aclose()
    await two.aclose()


def test_workers_that_count_each_for_itself_are_warned_of() -> None:
    """L3"""
    document: dict[str, object] = {"keys": [{"name": "a", "key": "k", "rpm": 5}], "server": {"workers": 4}}
    warned = "Limits are counted by each of the 4 workers for itself"
    assert any(found.startswith(warned) for found in parse_config(document, environ={}).warnings())
    for change in ({"store": {"url": "redis://h"}}, {"server": {"workers": 1}}, {"keys": [{"name": "a", "key": "k"}]}):
        found = parse_config({**document, **change}, environ={}).warnings()
        assert not any(warning.startswith("Limits are counted") for warning in found)
