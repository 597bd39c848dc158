"""What a request has cost, whoever asks."""

from __future__ import annotations

import pytest

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import send_response
from asgi_llmgw.components.costs import CostsMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Tried
from asgi_llmgw.ir import Usage
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio


def vendor(usage: Usage | None, model: str = "gpt-4o", **fields: object) -> CostsMiddleware:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[SCOPE_KEY]
        exchange.provider, exchange.upstream_model, exchange.usage = "openai", model, usage
        for name, value in fields.items():
            setattr(exchange, name, value)
        await send_response(send, 200, b"{}")

    return CostsMiddleware(answer)


async def cost(app: CostsMiddleware) -> int | None:
    exchange = Exchange("req_1")
    await call(app, {**http_scope(), SCOPE_KEY: exchange})
    return exchange.cost


async def test_the_list_prices_are_known() -> None:
    assert await cost(vendor(Usage(input_tokens=1000, output_tokens=100))) == 3500


async def test_failed_attempts_cost_too() -> None:
    failed = Tried("anthropic", "claude-sonnet-4-5", 0, "transient", Usage(input_tokens=1000, output_tokens=0))
    app = vendor(Usage(input_tokens=1000, output_tokens=100), tried=[failed])
    assert await cost(app) == 3500 + 3000


async def test_what_nobody_reported_or_priced_has_no_cost() -> None:
    assert await cost(vendor(None)) is None
    assert await cost(vendor(Usage(input_tokens=1000, output_tokens=100), "my-own-model")) is None


async def test_what_is_known_already_stays() -> None:
    assert await cost(vendor(Usage(input_tokens=1000, output_tokens=100), cost=7)) == 7


async def test_a_request_that_fails_has_cost_what_was_reported() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[SCOPE_KEY]
        exchange.upstream_model, exchange.usage = "gpt-4o", Usage(input_tokens=1000, output_tokens=0)
        raise RuntimeError("broken")

    exchange = Exchange("req_1")
    with pytest.raises(RuntimeError):
        await call(CostsMiddleware(broken), {**http_scope(), SCOPE_KEY: exchange})
    assert exchange.cost == 2500


async def test_other_scopes_pass() -> None:
    seen: list[Scope] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    lifespan: Scope = {"type": "lifespan"}
    await CostsMiddleware(inner)(lifespan, ScriptedReceive(), RecordingSend())
    assert seen == [lifespan]
