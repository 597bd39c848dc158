"""What operators see of the vendors' health: the status endpoint, the log and the metrics."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry

from asgi_llmgw.components.context import ContextMiddleware
from asgi_llmgw.components.metrics import MetricsMiddleware, TargetStates
from asgi_llmgw.components.status import StatusApp
from asgi_llmgw.errors import FailureClass, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Target, Tried
from asgi_llmgw.json import as_list, as_object, loads_object
from asgi_llmgw.routing.health import BreakerPolicy, Health
from asgi_llmgw.testing import FakeClock, RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio

BIG, SMALL = Target("openai", "gpt-4o"), Target("openai", "gpt-4o-mini")


def ward() -> tuple[Health, FakeClock]:
    clock = FakeClock(50.0)
    return Health(BreakerPolicy(failures=1, jitter=0), clock=clock, rng=random.Random(1)), clock


def fail(health: Health, target: Target, failure: FailureClass, *, key: int = 0, retry_after: float = 30.0) -> None:
    ticket = health.begin(health.lane(target, key))
    assert ticket is not None
    health.fail(ticket, UpstreamError("x", failure=failure, retry_after=retry_after))


async def test_lists_every_lane_that_was_used() -> None:
    health, clock = ward()
    fail(health, BIG, "rate_limit")
    ticket = health.begin(health.lane(SMALL, 1))
    assert ticket is not None
    health.answers(ticket, 0.4126)
    clock.advance(10)
    answer = await call(StatusApp(health), http_scope("GET", "/status"))
    assert answer.status == 200
    assert as_object(answer.json) == {
        "targets": [
            {
                "provider": "openai",
                "model": "gpt-4o",
                "key": 0,
                "state": "cooling",
                "in_flight": 0,
                "latency_ms": 5000.0,
                "retry_after_seconds": 20.0,
            },
            {
                "provider": "openai",
                "model": "gpt-4o-mini",
                "key": 1,
                "state": "closed",
                "in_flight": 1,
                "latency_ms": 412.6,
                "retry_after_seconds": None,
            },
        ]
    }


@pytest.mark.parametrize(
    ("failure", "state"),
    [("transient", "cooling"), ("rate_limit", "cooling"), ("model_access", "missing"), ("credential", "benched")],
)
async def test_says_why_a_lane_rests(failure: FailureClass, state: str) -> None:
    health, _ = ward()
    fail(health, BIG, failure)
    answer = await call(StatusApp(health), http_scope("GET", "/status"))
    entry = as_object(as_list(as_object(answer.json)["targets"])[0])
    assert entry["state"] == state and entry["retry_after_seconds"] is not None


async def test_a_head_has_no_body() -> None:
    send = RecordingSend()
    await StatusApp(ward()[0])(http_scope("HEAD", "/status"), ScriptedReceive(), send)
    assert send.status == 200 and send.body == b"" and send.headers[b"content-length"] != b"0"


async def test_serves_http_alone() -> None:
    with pytest.raises(ValueError, match="websocket"):
        await StatusApp(ward()[0])({"type": "websocket"}, ScriptedReceive(), RecordingSend())


def tried_twice() -> Exchange:
    tried = [Tried("openai", "gpt-4o", 1, "rate_limit"), Tried("claude", "sonnet\ud800", 0)]
    return Exchange("req_1", operation="chat", tried=tried, attempts=2)


async def answered(exchange: Exchange) -> dict[str, object]:
    """The log line of a request with this record."""
    lines: list[bytes] = []
    app = ContextMiddleware(StatusApp(ward()[0]), access_log=lines.append)
    await call(app, {**http_scope("GET", "/status"), SCOPE_KEY: exchange})
    return dict(loads_object(lines[0]))


async def test_the_log_lists_the_attempts_where_there_was_more_than_one() -> None:
    assert (await answered(tried_twice()))["tried"] == [
        {"provider": "openai", "model": "gpt-4o", "key": 1, "failure": "rate_limit"},
        {"provider": "claude", "model": "sonnet?", "key": 0, "failure": None},
    ]


async def test_the_log_of_a_single_attempt_stays_short() -> None:
    exchange = tried_twice()
    exchange.tried.pop()
    assert "tried" not in await answered(exchange)


async def test_every_attempt_is_counted() -> None:
    metrics = MetricsMiddleware(StatusApp(ward()[0]))
    await call(metrics, {**http_scope("GET", "/status"), SCOPE_KEY: tried_twice()})
    value = metrics.registry.get_sample_value
    assert value("llm_attempts_total", {"provider": "openai", "result": "rate_limit"}) == 1
    assert value("llm_attempts_total", {"provider": "claude", "result": "ok"}) == 1


def test_the_states_of_targets_are_told_by_configured_names_alone() -> None:
    """F216: models that clients have named add no series."""
    health, _ = ward()
    registry = CollectorRegistry()
    states = TargetStates(registry)
    assert [sample for family in registry.collect() for sample in family.samples] == []
    states.show(health, [BIG, Target("openai", "*")])
    fail(health, BIG, "credential")
    fail(health, BIG, "rate_limit", key=1)
    for number in range(50):
        health.lane(Target("openai", f"made-up-{number}"), 1)
    samples = [sample for family in registry.collect() for sample in family.samples]
    found = {(sample.labels["model"], sample.labels["key"], sample.labels["state"]): sample.value for sample in samples}
    assert found == {("gpt-4o", "0", "benched"): 1, ("gpt-4o", "1", "cooling"): 1, ("other", "1", "closed"): 50}
