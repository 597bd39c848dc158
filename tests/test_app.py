from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest
from prometheus_client import CollectorRegistry

from asgi_llmgw import Principal, build_app
from asgi_llmgw._types import Message, Receive, Scope, Send
from asgi_llmgw.app import from_environment
from asgi_llmgw.asgi import send_response
from asgi_llmgw.config import Config, parse_config
from asgi_llmgw.json import as_list, as_object, dumps
from asgi_llmgw.testing import FakeResponse, FakeUpstream, RecordingSend, ScriptedReceive, call, http_scope
from tests.samples import chat_answer, chat_request

pytestmark = pytest.mark.anyio

DEMO = parse_config({}, environ={})


def configured(**sections: object) -> Config:
    document: dict[str, object] = {
        "providers": {"openai": {"api_key": "upstream-key"}},
        "models": {"smart": {"targets": ["openai/gpt-4o"]}},
        **sections,
    }
    return parse_config(document, environ={})


def get(path: str, *headers: tuple[bytes, bytes]) -> Scope:
    return http_scope("GET", path, headers=headers)


async def test_serves_the_demo_without_any_configuration() -> None:
    gateway = build_app(DEMO, access_log=None)
    answer = await call(gateway, body=chat_request("demo"))
    choice = as_object(as_list(as_object(answer.json)["choices"])[0])
    assert "demo provider" in str(as_object(choice["message"])["content"])
    await gateway.aclose()


async def test_asks_the_configured_vendor_through_the_given_transport() -> None:
    upstream = FakeUpstream([FakeResponse([chat_answer("Hello")])])
    gateway = build_app(configured(), upstream=upstream, access_log=None)
    answer = await call(gateway, body=chat_request("smart"))
    assert b"Hello" in answer.body
    assert upstream.requests[0].url == "https://api.openai.com/v1/chat/completions"
    await gateway.aclose()
    assert upstream.closed


async def test_a_provider_can_have_a_transport_of_its_own() -> None:
    own, shared = FakeUpstream([FakeResponse([chat_answer()])]), FakeUpstream([])
    gateway = build_app(configured(), upstreams={"openai": own}, upstream=shared, access_log=None)
    await call(gateway, body=chat_request("smart"))
    assert len(own.requests) == 1


async def test_each_kind_of_transport_is_made_where_none_is_given() -> None:
    config = configured(providers={"openai": {"api_key": "k", "trust_env_proxies": True}, "demo": {}})
    gateway = build_app(config, access_log=None)
    assert gateway.readiness.ready
    await gateway.aclose()


async def test_the_hosts_own_authentication_decides() -> None:
    async def verify(scope: Scope, secret: str | None) -> Principal | None:
        return Principal("host-user", ("demo",)) if secret == "host-token" else None

    gateway = build_app(DEMO, verify=verify, access_log=None)
    assert (await call(gateway, body=chat_request("demo"))).status == 401
    headers = ((b"authorization", b"Bearer host-token"), (b"content-type", b"application/json"))
    assert (await call(gateway, http_scope(headers=headers), chat_request("demo"))).status == 200
    assert (await call(gateway, http_scope(headers=headers), chat_request("gpt-4o"))).status == 404


async def test_metrics_need_a_key_where_they_are_not_public() -> None:
    sections = {"metrics": {"public": False}, "keys": [{"name": "team", "key": "a-client-key"}]}
    gateway = build_app(configured(**sections), access_log=None)
    assert (await call(gateway, get("/metrics"))).status == 401
    assert (await call(gateway, get("/metrics", (b"authorization", b"Bearer a-client-key")))).status == 200
    assert (await call(gateway, get("/health"))).status == 200


async def test_metrics_can_be_turned_off() -> None:
    gateway = build_app(configured(metrics={"enabled": False}), access_log=None)
    assert (await call(gateway, get("/metrics"))).status == 404


async def test_two_gateways_have_metrics_of_their_own() -> None:
    """F208."""
    first, second = build_app(DEMO, access_log=None), build_app(DEMO, access_log=None)
    await call(first, body=chat_request("demo"))
    counted = b'llm_requests_total{api_key="anonymous"'
    assert counted in (await call(first, get("/metrics"))).body
    assert counted not in (await call(second, get("/metrics"))).body


async def test_the_registry_can_be_the_hosts() -> None:
    registry = CollectorRegistry()
    gateway = build_app(DEMO, registry=registry, access_log=None)
    await call(gateway, body=chat_request("demo"))
    assert registry.get_sample_value("llm_request_outcomes_total", {"outcome": "completed"}) == 1


async def test_one_log_line_for_each_request_unless_it_is_turned_off() -> None:
    lines: list[bytes] = []
    await call(build_app(DEMO, access_log=lines.append), body=chat_request("demo"))
    assert len(lines) == 1 and b"Hello" not in lines[0]
    await call(build_app(configured(server={"access_log": False}), access_log=lines.append), get("/health"))
    assert len(lines) == 1


async def lifespan(gateway: object, *kinds: str) -> list[str]:
    waiting = [f"lifespan.{kind}" for kind in kinds]
    said: list[str] = []

    async def receive() -> Message:
        return {"type": waiting.pop(0)}

    async def send(message: Message) -> None:
        said.append(message["type"])

    await gateway({"type": "lifespan"}, receive, send)  # type: ignore[operator]
    return said


async def test_answers_the_lifespan_and_closes_its_connections() -> None:
    upstream = FakeUpstream([])
    gateway = build_app(configured(), upstream=upstream, access_log=None)
    assert await lifespan(gateway, "startup", "shutdown") == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert upstream.closed


async def test_is_not_ready_once_it_shuts_down() -> None:
    gateway = build_app(configured(), upstream=FakeUpstream([]), access_log=None)
    assert (await call(gateway, get("/ready"))).status == 200
    await gateway.aclose()
    answer = await call(gateway, get("/ready"))
    assert (answer.status, as_object(answer.json)["reasons"]) == (503, ["shutting down"])


async def test_a_hosts_lifespan_closes_it_and_can_open_it_again() -> None:
    """F197."""
    upstream = FakeUpstream([FakeResponse([chat_answer()])])
    gateway = build_app(configured(), upstream=upstream, access_log=None)
    async with gateway.lifespan():
        assert (await call(gateway, body=chat_request("smart"))).status == 200
    assert upstream.closed and not gateway.readiness.ready
    async with gateway.lifespan():
        assert gateway.readiness.ready


async def test_closing_waits_for_running_requests() -> None:
    gate = anyio.Event()
    gateway = build_app(configured(), upstream=(upstream := FakeUpstream([FakeResponse([gate, chat_answer()])])))
    send = RecordingSend()
    async with anyio.create_task_group() as group:
        group.start_soon(gateway, http_scope(), ScriptedReceive(dumps(chat_request("smart"))), send)
        while not upstream.open_calls:
            await anyio.lowlevel.checkpoint()
        group.start_soon(gateway.aclose)
        await anyio.lowlevel.checkpoint()
        assert not upstream.closed
        gate.set()
    assert send.finished and upstream.closed


async def test_closing_does_not_wait_for_ever() -> None:
    config = configured(server={"drain_seconds": 0.01})
    gateway = build_app(config, upstream=(upstream := FakeUpstream([FakeResponse([anyio.Event()])])), access_log=None)
    async with anyio.create_task_group() as group:
        group.start_soon(gateway, http_scope(), ScriptedReceive(dumps(chat_request("smart"))), RecordingSend())
        while not upstream.open_calls:
            await anyio.lowlevel.checkpoint()
        await gateway.aclose()
        assert upstream.closed
        group.cancel_scope.cancel()


async def test_paths_that_are_not_ours_fall_through_to_the_host() -> None:
    events: list[str] = []

    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        events.append(scope["type"])
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": f"{message['type']}.complete"})
            return
        await send_response(send, 200, b"the host's page")

    upstream = FakeUpstream([])
    gateway = build_app(configured(), upstream=upstream, fallback=host, access_log=None)
    assert (await call(gateway, get("/about"))).body == b"the host's page"
    assert (await call(gateway, get("/health"))).json == {"status": "ok"}
    assert await lifespan(gateway, "startup", "shutdown") == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert upstream.closed and events == ["http", "lifespan"]


def test_a_server_can_make_it_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "LLMGW_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert from_environment().readiness.ready


async def test_authentication_that_blocks_holds_up_nobody_else() -> None:
    """F207: the way of docs/deployment.md, threads of its own."""
    limiter, asked, answered = anyio.CapacityLimiter(1), threading.Event(), threading.Event()

    def look_up(secret: str | None) -> Principal | None:
        asked.set()
        assert answered.wait(10)
        return Principal("host-user") if secret == "host-token" else None

    async def verify(scope: Scope, secret: str | None) -> Principal | None:
        return await anyio.to_thread.run_sync(look_up, secret, limiter=limiter)

    gateway = build_app(DEMO, verify=verify, access_log=None)
    headers = ((b"authorization", b"Bearer host-token"), (b"content-type", b"application/json"))
    answers: list[int] = []

    async def ask() -> None:
        answers.append((await call(gateway, http_scope(headers=headers), chat_request("demo"))).status)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.to_thread.run_sync(asked.wait)
        assert (await call(gateway, get("/health"))).status == 200
        assert answers == []
        answered.set()
    assert answers == [200]
