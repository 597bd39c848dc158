"""HealthApp and ReadyApp alone."""

from __future__ import annotations

import pytest

from asgi_llmgw._types import ASGIApp
from asgi_llmgw.components.health import HealthApp, Readiness, ReadyApp
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio

READY = ReadyApp(lambda: Readiness(True))
NOT_READY = ReadyApp(lambda: Readiness(False, ("no provider is configured", "shutting down")))


@pytest.mark.parametrize(
    ("app", "status", "document"),
    [
        pytest.param(HealthApp(), 200, {"status": "ok"}, id="alive"),
        pytest.param(READY, 200, {"status": "ready"}, id="ready"),
        pytest.param(
            NOT_READY,
            503,
            {"status": "not_ready", "reasons": ["no provider is configured", "shutting down"]},
            id="not_ready",
        ),
    ],
)
async def test_tells_how_it_is(app: ASGIApp, status: int, document: object) -> None:
    answer = await call(app, http_scope("GET"))
    assert answer.status == status
    assert answer.json == document
    assert answer.headers[b"content-type"] == b"application/json"
    assert b"no-store" in answer.headers[b"cache-control"]


@pytest.mark.parametrize(("app", "status"), [(HealthApp(), 200), (READY, 200), (NOT_READY, 503)])
async def test_a_head_has_the_length_and_no_body(app: ASGIApp, status: int) -> None:
    """F108"""
    whole = await call(app, http_scope("GET"))
    answer = await call(app, http_scope("HEAD"))
    assert answer.status == status
    assert answer.body == b""
    assert answer.headers[b"content-length"] == str(len(whole.body)).encode()


async def test_readiness_is_asked_each_time() -> None:
    states = [Readiness(False), Readiness(True)]
    app = ReadyApp(lambda: states.pop(0))
    assert [(await call(app, http_scope("GET"))).status for _ in range(2)] == [503, 200]


async def test_nothing_is_read_from_the_client() -> None:
    receive = ScriptedReceive(b"x" * 1000)
    await HealthApp()(http_scope("GET"), receive, RecordingSend())
    assert receive.calls == 0


@pytest.mark.parametrize("app", [HealthApp(), READY])
async def test_only_http_is_served(app: ASGIApp) -> None:
    """F020"""
    with pytest.raises(ValueError, match="websocket"):
        await app({"type": "websocket"}, ScriptedReceive(), RecordingSend())
