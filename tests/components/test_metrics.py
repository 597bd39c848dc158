"""MetricsMiddleware and MetricsApp, each alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import anyio
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import asgi_llmgw
from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import ClientDisconnected, send_response
from asgi_llmgw.components.metrics import MetricsApp, MetricsMiddleware
from asgi_llmgw.errors import ConfigError, ErrorKind, RequestError, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Operation, Outcome, Principal
from asgi_llmgw.ir import Usage
from asgi_llmgw.testing import FakeClock, RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio

Labels = dict[str, str]
CALLER: Labels = {"api_key": "team-a", "provider": "claude", "model": "smart"}


def chat() -> Exchange:
    """The record of a request that went all the way."""
    return Exchange(
        "req_1",
        started=100.0,
        operation="chat",
        endpoint="/v1/chat/completions",
        principal=Principal("team-a"),
        model="whatever the client wrote",
        route="smart",
        provider="claude",
    )


def answering(status: int = 200) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, status, b"{}")

    return app


def with_exchange(exchange: Exchange) -> Scope:
    return {**http_scope(), SCOPE_KEY: exchange}


async def counted(exchange: Exchange, app: ASGIApp | None = None) -> CollectorRegistry:
    metrics = MetricsMiddleware(app or answering(), clock=FakeClock(102.0))
    await call(metrics, with_exchange(exchange))
    return metrics.registry


async def test_counts_a_request_by_configured_names() -> None:
    """F216: the client's own name for the model is no label."""
    registry = await counted(chat())
    assert registry.get_sample_value("llm_requests_total", {**CALLER, "endpoint": "/v1/chat/completions"}) == 1
    assert registry.get_sample_value("llm_request_outcomes_total", {"outcome": "completed"}) == 1
    families = {sample.name for family in registry.collect() for sample in family.samples}
    assert "llm_errors_total" not in families


async def test_observes_the_duration_and_the_first_token() -> None:
    exchange = chat()
    exchange.first_token = 100.4
    registry = await counted(exchange)
    first = {"provider": "claude", "model": "smart"}
    assert registry.get_sample_value("llm_request_duration_seconds_sum", CALLER) == 2.0
    assert registry.get_sample_value("llm_time_to_first_token_seconds_sum", first) == pytest.approx(0.4)
    assert registry.get_sample_value("llm_time_to_first_token_seconds_bucket", {**first, "le": "0.3"}) == 0
    assert registry.get_sample_value("llm_time_to_first_token_seconds_bucket", {**first, "le": "0.5"}) == 1


async def test_counts_the_tokens_that_were_reported_and_no_others() -> None:
    exchange = chat()
    exchange.usage = Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4, cache_write_tokens=3)
    registry = await counted(exchange)
    found = {
        kind: registry.get_sample_value("llm_tokens_total", {**CALLER, "type": kind})
        for kind in ("input", "output", "cache_read", "cache_write", "reasoning")
    }
    assert found == {"input": 10, "output": 5, "cache_read": 4, "cache_write": 3, "reasoning": None}


async def test_counts_what_it_has_cost() -> None:
    exchange = chat()
    exchange.cost = 2106
    registry = await counted(exchange)
    assert registry.get_sample_value("llm_cost_usd_total", CALLER) == pytest.approx(0.002106)


async def test_counts_who_was_refused_for_which_limit_whatever_was_asked_for() -> None:
    exchange = chat()
    exchange.operation, exchange.limited = "count_tokens", "key_rpm"
    registry = await counted(exchange, answering(429))
    assert registry.get_sample_value("llm_limited_total", {"api_key": "team-a", "limit": "key_rpm"}) == 1


async def test_a_vendors_impossible_count_does_not_break_the_request() -> None:
    """F140"""
    exchange = chat()
    exchange.usage = Usage(input_tokens=-1, output_tokens=10**18)
    registry = await counted(exchange)
    assert registry.get_sample_value("llm_tokens_total", {**CALLER, "type": "input"}) is None
    assert registry.get_sample_value("llm_tokens_total", {**CALLER, "type": "output"}) is None


async def test_what_is_unknown_has_a_name_of_its_own() -> None:
    """F216: a request refused before it was routed."""
    exchange = Exchange("req_1", started=100.0, operation="chat", endpoint="/v1/chat/completions", model="x" * 1000)
    registry = await counted(exchange, answering(404))
    labels = {"api_key": "none", "provider": "none", "model": "other"}
    assert registry.get_sample_value("llm_requests_total", {**labels, "endpoint": "/v1/chat/completions"}) == 1
    assert registry.get_sample_value("llm_errors_total", {**labels, "error_type": "server_error"}) == 1


@pytest.mark.parametrize("operation", [None, "health", "ready", "metrics", "models", "model"])
async def test_only_requests_to_a_model_count(operation: Operation | None) -> None:
    exchange = chat()
    exchange.operation = operation
    registry = await counted(exchange)
    assert not any(sample.name == "llm_requests_total" for family in registry.collect() for sample in family.samples)


@pytest.mark.parametrize(
    ("outcome", "failure", "error_type"),
    [
        pytest.param("rejected", RequestError("no", kind="model_not_found"), "model_not_found", id="rejected"),
        pytest.param(
            "upstream_error",
            UpstreamError("no", failure="timeout", kind="upstream_timeout"),
            "upstream_timeout",
            id="upstream_error",
        ),
        pytest.param(None, UpstreamError("no", failure="unreachable"), "upstream_unavailable", id="cut_stream"),
        pytest.param("client_disconnected", None, "client_disconnected", id="client_disconnected"),
        pytest.param(
            "client_disconnected", RequestError("no"), "client_disconnected", id="client_disconnected_and_failed"
        ),
    ],
)
async def test_errors_have_a_closed_vocabulary(
    outcome: Outcome | None, failure: RequestError | UpstreamError | None, error_type: str
) -> None:
    exchange = chat()
    exchange.outcome = outcome
    exchange.failure = failure
    registry = await counted(exchange)
    assert error_type in (*get_args(ErrorKind), "client_disconnected")
    assert registry.get_sample_value("llm_errors_total", {**CALLER, "error_type": error_type}) == 1


async def test_a_failover_that_worked_is_no_error() -> None:
    exchange = chat()
    exchange.failure = UpstreamError("the first target failed", failure="overloaded")
    exchange.outcome = "completed"
    registry = await counted(exchange)
    assert registry.get_sample_value("llm_request_outcomes_total", {"outcome": "completed"}) == 1
    assert not any(sample.name == "llm_errors_total" for family in registry.collect() for sample in family.samples)


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        pytest.param(RequestError("no", kind="conflict"), "conflict", id="ours"),
        pytest.param(ValueError("a bug"), "server_error", id="a_bug"),
        pytest.param(ClientDisconnected(), "client_disconnected", id="client_left"),
    ],
)
async def test_an_exception_passes_through_and_is_counted(error: Exception, error_type: str) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    metrics = MetricsMiddleware(failing)
    with pytest.raises(type(error)):
        await metrics(with_exchange(chat()), ScriptedReceive(), RecordingSend())
    assert metrics.registry.get_sample_value("llm_errors_total", {**CALLER, "error_type": error_type}) == 1


async def test_a_cancelled_request_is_counted_too() -> None:
    started = anyio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        started.set()
        await anyio.sleep_forever()

    metrics = MetricsMiddleware(waits)
    async with anyio.create_task_group() as group:
        group.start_soon(metrics, with_exchange(chat()), ScriptedReceive(), RecordingSend())
        await started.wait()
        assert metrics.registry.get_sample_value("llm_streams_in_flight") == 1
        group.cancel_scope.cancel()
    assert metrics.registry.get_sample_value("llm_streams_in_flight") == 0
    labels = {**CALLER, "error_type": "client_disconnected"}
    assert metrics.registry.get_sample_value("llm_errors_total", labels) == 1


async def test_a_whole_answer_is_no_stream() -> None:
    seen: list[float | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        seen.append(metrics.registry.get_sample_value("llm_streams_in_flight"))
        await send({"type": "http.response.body"})

    metrics = MetricsMiddleware(app)
    await call(metrics, with_exchange(chat()))
    assert seen == [0]


async def test_callers_beyond_the_limit_share_one_label() -> None:
    """F216"""
    metrics = MetricsMiddleware(answering(), max_api_keys=10)
    for number in range(1000):
        exchange = chat()
        exchange.principal = Principal(f"tenant-{number}")
        await call(metrics, with_exchange(exchange))
    labels = {**CALLER, "api_key": "other", "endpoint": "/v1/chat/completions"}
    assert metrics.registry.get_sample_value("llm_requests_total", labels) == 990
    assert sum(len(list(family.samples)) for family in metrics.registry.collect()) < 2000


@pytest.mark.parametrize("name", ['a"b', "a\nb", "a}b{", "a\\", "\ud800", "ключ"])
async def test_any_name_makes_a_text_that_can_be_read(name: str) -> None:
    """F217"""
    exchange = chat()
    exchange.principal = Principal(name)
    exchange.route = name
    registry = await counted(exchange)
    answer = await call(MetricsApp(registry), http_scope("GET", "/metrics"))
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    readable = name.encode("utf-8", "replace").decode()
    assert families["llm_requests"].samples[0].labels["model"] == readable


async def test_two_gateways_in_one_process_do_not_mix() -> None:
    """F208"""
    one, two = MetricsMiddleware(answering()), MetricsMiddleware(answering())
    await call(one, with_exchange(chat()))
    labels = {**CALLER, "endpoint": "/v1/chat/completions"}
    assert one.registry.get_sample_value("llm_requests_total", labels) == 1
    assert two.registry.get_sample_value("llm_requests_total", labels) is None


async def test_a_registry_of_the_hosts_own_is_used() -> None:
    registry = CollectorRegistry()
    metrics = MetricsMiddleware(answering(), registry=registry)
    assert metrics.registry is registry
    await call(metrics, with_exchange(chat()))
    assert registry.get_sample_value("llm_request_outcomes_total", {"outcome": "completed"}) == 1


async def test_makes_a_record_where_there_is_none_and_leaves_the_scope_alone() -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope[SCOPE_KEY])
        await send_response(send, 200, b"")

    scope = http_scope()
    before = dict(scope)
    await call(MetricsMiddleware(app), scope)
    assert isinstance(seen[0], Exchange)
    assert scope == before


async def test_lifespan_passes_straight_through() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope: Scope = {"type": "lifespan"}
    await MetricsMiddleware(app)(scope, ScriptedReceive(), RecordingSend())
    assert seen[0] is scope


def test_a_limit_that_lets_nobody_through_is_refused() -> None:
    with pytest.raises(ConfigError):
        MetricsMiddleware(answering(), max_api_keys=0)


async def test_the_exposition_is_text_that_no_cache_keeps() -> None:
    registry = await counted(chat())
    answer = await call(MetricsApp(registry), http_scope("GET", "/metrics"))
    assert answer.status == 200
    assert answer.headers[b"content-type"].startswith(b"text/plain; version=")
    assert answer.headers[b"cache-control"] == b"private, no-store"
    assert b'llm_requests_total{api_key="team-a"' in answer.body


async def test_a_head_of_the_exposition_has_no_body() -> None:
    """F108"""
    answer = await call(MetricsApp(CollectorRegistry()), http_scope("HEAD", "/metrics"))
    assert answer.status == 200
    assert answer.body == b""


async def test_metrics_are_read_only() -> None:
    answer = await call(MetricsApp(CollectorRegistry()), http_scope("POST", "/metrics"))
    assert answer.status == 405
    assert answer.headers[b"allow"] == b"GET, HEAD"


WORKER = """
import anyio
from asgi_llmgw.asgi import ClientDisconnected, send_response
from asgi_llmgw.components.metrics import MetricsApp, MetricsMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.testing import call, http_scope

async def app(scope, receive, send):
    await send_response(send, 200, b"")

async def main():
    metrics = MetricsMiddleware(app)
    exchange = Exchange("req_1", operation="chat", endpoint="/v1/chat/completions", route="smart", provider="p")
    await call(metrics, {**http_scope(), SCOPE_KEY: exchange})
    answer = await call(MetricsApp(metrics.registry), http_scope("GET", "/metrics"))
    print(answer.body.decode())

anyio.run(main)
"""


def test_workers_are_shown_together(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(asgi_llmgw.__file__).parents[1]),
    }
    for workers in (1, 2):
        shown = subprocess.run(
            [sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True, check=True
        ).stdout
        families = {family.name: family for family in text_string_to_metric_families(shown)}
        assert families["llm_requests"].samples[0].value == workers


async def test_looking_twice_counts_nothing_twice() -> None:
    registry = CollectorRegistry()
    app = MetricsMiddleware(answering(), registry=registry)
    labels = {**CALLER, "endpoint": "/v1/chat/completions"}
    for number in (1, 2, 3):
        await call(app, with_exchange(chat()))
        for _ in range(2):
            assert registry.get_sample_value("llm_requests_total", labels) == number


async def test_one_metric_can_be_looked_at_alone() -> None:
    registry = await counted(chat())
    alone = registry.restricted_registry(["llm_requests_total"])
    assert [
        sample.value for family in alone.collect() for sample in family.samples if "created" not in sample.name
    ] == [1]
