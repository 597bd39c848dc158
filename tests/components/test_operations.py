"""OperationsApp alone."""

from __future__ import annotations

from typing import cast

import pytest

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import send_response
from asgi_llmgw.components.operations import OperationsApp
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Operation
from asgi_llmgw.json import as_object
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio


def saying(text: bytes) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert isinstance(scope[SCOPE_KEY], Exchange)
        await send_response(send, 200, text)

    return app


@pytest.mark.parametrize("operation", ["chat", "models"])
async def test_each_operation_has_its_app(operation: Operation) -> None:
    app = OperationsApp({"chat": saying(b"chat"), "models": saying(b"models")})
    answer = await call(app, {**http_scope(), SCOPE_KEY: Exchange("req_1", operation=operation)})
    assert answer.body == operation.encode()


@pytest.mark.parametrize("operation", [None, "metrics"])
async def test_an_operation_without_an_app_is_not_found(operation: Operation | None) -> None:
    exchange = Exchange("req_1", operation=operation)
    answer = await call(OperationsApp({"chat": saying(b"")}), {**http_scope(), SCOPE_KEY: exchange})
    assert answer.status == 404
    assert as_object(as_object(answer.json)["error"])["code"] == "unknown_url"
    assert exchange.outcome == "rejected"


async def test_works_without_a_record() -> None:
    answer = await call(OperationsApp({"chat": saying(b"")}))
    assert answer.status == 404


def test_an_operation_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="'dance'"):
        OperationsApp({cast(Operation, "dance"): saying(b"")})


async def test_only_http_is_served() -> None:
    """F020"""
    with pytest.raises(ValueError, match="websocket"):
        await OperationsApp({})({"type": "websocket"}, ScriptedReceive(), RecordingSend())
