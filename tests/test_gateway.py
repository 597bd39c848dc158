"""The gateway's life: it drains, it ends, and it changes its configuration while it runs."""

from __future__ import annotations

import anyio
import pytest

from asgi_llmgw._types import Message, Receive, Scope, Send
from asgi_llmgw.app import Gateway, build_app
from asgi_llmgw.components.drain import Drain
from asgi_llmgw.components.health import Readiness
from asgi_llmgw.config import Config, parse_config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.gateway import NOT_TRIO, Stack
from asgi_llmgw.json import as_list, as_object, dumps
from asgi_llmgw.shared import Shared
from asgi_llmgw.testing import (
    FakeResponse,
    FakeUpstream,
    RecordingSend,
    ScriptedReceive,
    call,
    http_scope,
    sse_response,
)
from tests.samples import DONE, chat_answer, chat_chunk, chat_request

pytestmark = pytest.mark.anyio


def configured(**sections: object) -> Config:
    document: dict[str, object] = {
        "providers": {"openai": {"api_key": "upstream-key"}},
        "models": {"smart": {"targets": ["openai/gpt-4o"]}},
        **sections,
    }
    return parse_config(document, environ={})


def scope(key: str = "") -> Scope:
    authorization = [(b"authorization", f"Bearer {key}".encode())] if key else []
    return http_scope(headers=[(b"content-type", b"application/json"), *authorization])


class Running:
    """A stream whose vendor waits for `gate` after the first word."""

    def __init__(self, gateway: Gateway, upstream: FakeUpstream, gate: anyio.Event, *, key: str = "") -> None:
        upstream.answers.insert(0, sse_response(chat_chunk({"content": "Hel"}), gate, chat_chunk({}, "stop"), DONE))
        upstream.answers.append(FakeResponse([chat_answer("later")]))
        self.begun = anyio.Event()
        self.send = RecordingSend(lambda chunk: self.begun.set())
        self._gateway = gateway
        self._scope = scope(key)

    async def __call__(self) -> None:
        body = dumps(chat_request("smart", stream=True))
        await self._gateway(self._scope, ScriptedReceive(body), self.send)


async def test_a_draining_gateway_is_not_ready_and_takes_nothing_new() -> None:
    """F202: at once, and running streams go on."""
    upstream, gate = FakeUpstream([]), anyio.Event()
    gateway = build_app(configured(), upstream=upstream, access_log=None)
    running = Running(gateway, upstream, gate)
    async with anyio.create_task_group() as group:
        group.start_soon(running)
        await running.begun.wait()
        assert (gateway.in_flight, gateway.draining) == (1, False)
        gateway.drain()
        assert gateway.draining
        ready = await call(gateway, http_scope("GET", "/ready"))
        assert (ready.status, as_object(ready.json)["reasons"]) == (503, ["shutting down"])
        assert (await call(gateway, http_scope("GET", "/health"))).status == 200
        refused = await call(gateway, scope(), chat_request("smart"))
        assert (refused.status, refused.headers[b"connection"]) == (503, b"close")
        gate.set()
        await gateway.drained()
        assert running.send.finished and running.send.body.endswith(DONE)
    assert gateway.in_flight == 0


async def test_what_is_not_over_in_time_is_cut_off_and_counted() -> None:
    """F203."""
    lines: list[bytes] = []
    upstream = FakeUpstream([])
    gateway = build_app(configured(server={"drain_seconds": 0.01}), upstream=upstream, access_log=lines.append)
    running = Running(gateway, upstream, anyio.Event())
    async with anyio.create_task_group() as group:
        group.start_soon(running)
        await running.begun.wait()
        await gateway.aclose()
        assert gateway.in_flight == 0 and upstream.closed and not upstream.open_calls
    assert b"shutting_down" in running.send.body
    assert len(lines) == 1 and b'"code":"shutting_down"' in lines[0]


@pytest.mark.parametrize("how", ["finished", "cut off"])
async def test_what_was_set_aside_is_given_back_whatever_the_end(how: str) -> None:
    """F202, F203: no reservation outlives its request."""
    upstream, gate = FakeUpstream([]), anyio.Event()
    config = configured(
        server={"drain_seconds": 20 if how == "finished" else 0.01},
        keys=[{"name": "team", "key": "a-key", "concurrency": 1}],
    )
    gateway = build_app(config, upstream=upstream, access_log=None)
    running = Running(gateway, upstream, gate, key="a-key")
    async with anyio.create_task_group() as group:
        group.start_soon(running)
        await running.begun.wait()
        assert (await call(gateway, scope("a-key"), chat_request("smart"))).status == 429
        group.start_soon(gateway.drained)
        if how == "finished":
            gate.set()
    assert running.send.finished
    async with gateway.lifespan():
        assert (await call(gateway, scope("a-key"), chat_request("smart"))).status == 200


async def test_a_json_array_that_is_cut_off_is_still_an_array() -> None:
    """F202: Gemini's clients that do not ask for events read one."""
    upstream, begun = FakeUpstream([sse_response(chat_chunk({"content": "Hel"}), anyio.Event())]), anyio.Event()
    gateway = build_app(configured(server={"drain_seconds": 0.01}), upstream=upstream, access_log=None)
    send = RecordingSend(lambda chunk: begun.set())
    body = dumps({"contents": [{"parts": [{"text": "Hello"}]}]})
    path = http_scope(path="/v1beta/models/smart:streamGenerateContent")
    async with anyio.create_task_group() as group:
        group.start_soon(gateway, path, ScriptedReceive(body), send)
        await begun.wait()
        await gateway.drained()
    first, *_, last = as_list(send.json)
    assert "candidates" in as_object(first)
    assert "shutting down" in str(as_object(as_object(last)["error"])["message"])


async def test_several_may_wait_for_the_end() -> None:
    upstream, gate = FakeUpstream([]), anyio.Event()
    gateway = build_app(configured(), upstream=upstream, access_log=None)
    running = Running(gateway, upstream, gate)
    async with anyio.create_task_group() as group:
        group.start_soon(running)
        await running.begun.wait()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(gateway.drained)
                waiting.start_soon(gateway.aclose)
                await anyio.lowlevel.checkpoint()
                gate.set()
    assert upstream.closed


async def test_new_requests_meet_the_new_configuration_and_running_ones_keep_theirs() -> None:
    """F229, F059, K1: a revoked key is refused at once; the stream it began goes on with the vendor's old key."""
    upstream, gate = FakeUpstream([]), anyio.Event()
    gateway = build_app(configured(keys=[{"name": "team", "key": "old-key"}]), upstream=upstream, access_log=None)
    running = Running(gateway, upstream, gate, key="old-key")
    async with anyio.create_task_group() as group:
        group.start_soon(running)
        await running.begun.wait()
        await gateway.reload(
            configured(
                keys=[{"name": "team", "key": "new-key"}],
                providers={"openai": {"api_key": "rotated"}},
                models={"clever": {"targets": ["openai/gpt-5"]}},
            )
        )
        assert (await call(gateway, scope("old-key"), chat_request("clever"))).status == 401
        assert (await call(gateway, scope("new-key"), chat_request("smart"))).status == 404
        assert (await call(gateway, scope("new-key"), chat_request("clever"))).status == 200
        assert dict(upstream.requests[-1].headers)[b"authorization"] == b"Bearer rotated"
        gate.set()
    assert running.send.finished and running.send.body.endswith(DONE)
    assert dict(upstream.requests[0].headers)[b"authorization"] == b"Bearer upstream-key"


async def test_metrics_are_counted_on() -> None:
    """K1: one registry, whatever is configured."""
    gateway = build_app(configured(), upstream=FakeUpstream([FakeResponse([chat_answer()])]), access_log=None)
    await call(gateway, scope(), chat_request("smart"))
    await gateway.reload(configured())
    await call(gateway, scope(), chat_request("smart"))
    metrics = (await call(gateway, http_scope("GET", "/metrics"))).body
    assert b'llm_request_outcomes_total{outcome="completed"} 2.0' in metrics


async def test_a_configuration_that_cannot_be_built_changes_nothing() -> None:
    upstream = FakeUpstream([FakeResponse([chat_answer()])])
    gateway = build_app(configured(), upstream=upstream, access_log=None)
    before = gateway.config
    same = {"name": "team", "key": "the-same"}
    bad = before.model_copy(update={"keys": configured(keys=[same]).keys * 2})
    with pytest.raises(ConfigError):
        await gateway.reload(bad)
    assert gateway.config is before
    assert (await call(gateway, scope(), chat_request("smart"))).status == 200


async def test_what_the_new_configuration_does_without_is_closed_after_its_last_request() -> None:
    """F229, K1: a transport outlives the vendor's place in the file as long as a request needs it."""
    closed: list[str] = []
    gates = {name: anyio.Event() for name in ("first", "second")}

    async def close(name: str) -> None:
        closed.append(name)

    def assemble(config: Config, shared: Shared) -> Stack:
        names = list(config.models)
        for name in names:
            shared.keep(name, None, lambda name=name: name, close=close)  # type: ignore[misc]

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await gates[names[0]].wait()

        return Stack(config, app, shared, lambda: Readiness(True))

    def named(*names: str) -> Config:
        return configured(models={name: {"targets": ["openai/gpt-4o"]} for name in names})

    async def nothing() -> None:
        closed.append("given")

    gateway = Gateway(named("first", "kept"), assemble=assemble, around=lambda app: app, drain=Drain(), given=nothing)
    async with anyio.create_task_group() as group:
        group.start_soon(gateway, http_scope(), ScriptedReceive(), RecordingSend())
        await anyio.wait_all_tasks_blocked()
        await gateway.reload(named("second", "kept"))
        group.start_soon(gateway, http_scope(), ScriptedReceive(), RecordingSend())
        await anyio.wait_all_tasks_blocked()
        await gateway.reload(named("kept"))
        assert closed == []
        gates["first"].set()
        await anyio.wait_all_tasks_blocked()
        assert closed == ["first"]
        gates["second"].set()
    assert closed == ["first", "second"]
    await gateway.aclose()
    assert closed == ["first", "second", "kept", "given"]


async def test_the_access_log_follows_the_configuration() -> None:
    lines: list[bytes] = []
    gateway = build_app(configured(server={"access_log": False}), upstream=FakeUpstream([]), access_log=lines.append)
    await call(gateway, http_scope("GET", "/health"))
    await gateway.reload(configured())
    await call(gateway, http_scope("GET", "/health"))
    assert len(lines) == 1


async def test_trio_is_refused_with_a_clear_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """F206."""
    gateway = build_app(configured(), access_log=None)
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        said.append(message)

    monkeypatch.setattr("asgi_llmgw.gateway._on_asyncio", lambda: False)
    await gateway({"type": "lifespan"}, receive, send)
    assert said == [{"type": "lifespan.startup.failed", "message": NOT_TRIO}]
    with pytest.raises(ConfigError, match="asyncio"):
        await gateway(scope(), ScriptedReceive(), RecordingSend())
