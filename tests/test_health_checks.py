"""Asking providers how they are."""

from __future__ import annotations

import asyncio
import time

import pytest

from asgi_llmgw import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.exchange import Target
from asgi_llmgw.health_checks import Check, HealthChecks
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import dumps
from asgi_llmgw.protocols import SERVED
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.routing.health import Health
from asgi_llmgw.testing import FakeClock, FakeResponse, FakeUpstream, call, http_scope
from tests.samples import CHAT_ERROR, chat_request
from tests.virtual_time import BACKEND

pytestmark = pytest.mark.anyio

TARGET = Target("mine", "m")
WELL = FakeResponse([b'{"data":[]}'])
DOWN = UpstreamError("No connection.", failure="unreachable")


@pytest.fixture
def anyio_backend() -> object:
    return BACKEND


def provider(protocol: Protocol = "openai_chat", keys: tuple[str, ...] = ("k",)) -> Provider:
    base = "https://a.example/v1" if protocol.startswith("openai") else "https://a.example"
    return Provider(name="mine", base_url=base, protocols=(protocol,), api_keys=keys)


async def seen(health: Health, upstream: FakeUpstream, *, seconds: float, asked: Provider | None = None) -> None:
    """Let checks run every ten seconds for a while."""
    checks = HealthChecks(health, [Check(asked or provider(), upstream, 10.0)])
    checks.start()
    checks.start()
    await asyncio.sleep(seconds)
    await checks.aclose()


def a_health() -> Health:
    loop = asyncio.get_running_loop()
    return Health(clock=loop.time)


async def test_a_provider_that_cannot_be_reached_rests_until_it_can() -> None:
    health, upstream = a_health(), FakeUpstream([DOWN, DOWN, WELL])
    await seen(health, upstream, seconds=15)
    assert health.state(health.lane(TARGET, 0)) == "down"
    await seen(health, upstream, seconds=5)
    assert health.state(health.lane(TARGET, 0)) == "closed"


async def test_an_open_breaker_may_be_tried_once_a_check_has_passed() -> None:
    health = a_health()
    lane = health.lane(TARGET, 0)
    for _ in range(5):
        ticket = health.begin(lane)
        assert ticket is not None
        health.fail(ticket, DOWN)
    assert health.state(lane) == "open"
    await seen(health, FakeUpstream([WELL]), seconds=1)
    assert health.state(lane) == "half_open"


async def test_each_key_is_asked_for_itself() -> None:
    health = a_health()
    refusal = FakeResponse([dumps(CHAT_ERROR)], status=401)
    upstream = FakeUpstream([refusal, WELL])
    await seen(health, upstream, seconds=1, asked=provider(keys=("bad", "good")))
    assert [health.state(health.lane(TARGET, number)) for number in range(2)] == ["benched", "closed"]
    assert [dict(request.headers)[b"authorization"] for request in upstream.requests] == [b"Bearer bad", b"Bearer good"]


async def test_too_many_checks_say_nothing_about_the_provider() -> None:
    health = a_health()
    await seen(health, FakeUpstream([FakeResponse([dumps(CHAT_ERROR)], status=429)]), seconds=30)
    assert health.state(health.lane(TARGET, 0)) == "closed"


async def test_a_check_that_fails_in_a_new_way_is_not_the_last_one() -> None:
    health, upstream = a_health(), FakeUpstream([ValueError("?"), DOWN])
    await seen(health, upstream, seconds=15)
    assert health.state(health.lane(TARGET, 0)) == "down"


@pytest.mark.parametrize("protocol", SERVED)
async def test_every_protocol_has_something_to_ask_for(protocol: Protocol) -> None:
    upstream = FakeUpstream([WELL])
    await seen(a_health(), upstream, seconds=25, asked=provider(protocol))
    assert {request.method for request in upstream.requests} == {"GET"}
    assert all("/models" in request.url for request in upstream.requests)
    assert 2 <= len(upstream.requests) <= 4


async def test_nothing_rests_any_longer_when_the_checks_have_stopped() -> None:
    clock = FakeClock(time.monotonic())
    health = Health(clock=clock)
    await seen(health, FakeUpstream([DOWN]), seconds=1)
    assert health.state(health.lane(TARGET, 0)) == "down"
    clock.advance(26)
    assert health.state(health.lane(TARGET, 0)) == "closed"


async def test_a_gateway_checks_what_it_is_told_to_check() -> None:
    """From the first request on, until it is closed; `/status` shows it."""
    upstream = FakeUpstream([DOWN])
    document: dict[str, object] = {
        "providers": {
            "mine": {
                "protocol": "openai_chat",
                "base_url": "https://a.example/v1",
                "api_key": "secret-of-mine",
                "health_check_seconds": 10,
                "models": ["m"],
            }
        }
    }
    gateway = build_app(parse_config(document, environ={}), upstream=upstream, access_log=None)
    before = asyncio.all_tasks()
    async with gateway.lifespan():
        await call(gateway, http_scope("GET", "/health"))
        await asyncio.sleep(25)
        assert {request.method for request in upstream.requests} == {"GET"} and len(upstream.requests) >= 2
        tested = await call(gateway, http_scope(), chat_request("m"))
        assert tested.status == 502, "nothing else is left, so that one request a second is let through"
        answer = await call(gateway, http_scope(), chat_request("m"))
        assert answer.status == 503
        assert int(answer.headers[b"retry-after"]) >= 1
    assert asyncio.all_tasks() == before
