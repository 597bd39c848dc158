"""A limited vendor, and what its limits are made of."""

from __future__ import annotations

import asyncio

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import read_body, send_response
from asgi_llmgw.components.limits import LimitsMiddleware, Unpriced
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Operation, Principal, Target
from asgi_llmgw.ir import Protocol, Usage
from asgi_llmgw.json import JSONObject, as_object
from asgi_llmgw.limiting.table import LimitTable
from asgi_llmgw.pricing import Price, PriceTable
from asgi_llmgw.render import send_error
from asgi_llmgw.store.base import Claim, Limit, Measure, Period, Reservation, StoreUnavailable
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.testing import Answer, FakeClock, http_scope

PRICES = PriceTable({"openai/*": Price(input=1.0, output=10.0)}, packaged=False)
ALICE = Principal("team-a", tenant="acme")
BOB = Principal("team-b", tenant="acme")


def limit(measure: Measure, ceiling: int, period: Period | None = "minute", owner: str = "team-a") -> Limit:
    return Limit("key", owner, measure, ceiling, None if measure == "slots" else period)


def table(*limits: Limit) -> LimitTable:
    """A table with each limit where its scope says."""
    found: dict[str, dict[str, tuple[Limit, ...]]] = {"key": {}, "tenant": {}, "model": {}}
    for one in limits:
        owners = found[one.scope]
        owners[one.owner] = (*owners.get(one.owner, ()), one)
    return LimitTable(keys=found["key"], tenants=found["tenant"], models=found["model"])


class Vendor:
    """Answers, and says what it used. It waits for `go` in the middle."""

    def __init__(self, usage: Usage | None = None, *, failure: UpstreamError | None = None) -> None:
        self.usage = usage or Usage(input_tokens=8, output_tokens=3)
        self.failure = failure
        self.go: asyncio.Event | None = None
        self.calls = 0
        self.running = 0
        self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[SCOPE_KEY]
        await read_body(receive)
        exchange.provider, exchange.upstream_model = "openai", "gpt-4o"
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.go is not None:
                await self.go.wait()
            if self.failure is not None:
                exchange.fail(self.failure)
                await send_error(send, self.failure, exchange.client_protocol, request_id="req_1")
                return
            exchange.usage, exchange.finish_reason = self.usage, "stop"
        finally:
            self.running -= 1
        await send_response(send, 200, b'{"answer": true}')


def scope_of(
    principal: Principal | None = ALICE,
    *,
    protocol: Protocol = "openai_chat",
    operation: Operation = "chat",
    route: str | None = "smart",
    exchange: Exchange | None = None,
) -> Scope:
    made = exchange or Exchange("req_1")
    made.principal, made.client_protocol, made.operation, made.route = principal, protocol, operation, route
    made.targets = (Target("openai", "gpt-4o"),)
    return {**http_scope(), SCOPE_KEY: made}


def limits(
    app: ASGIApp,
    *limits: Limit,
    store: MemoryStore | None = None,
    prices: PriceTable = PRICES,
    unpriced: Unpriced = "refuse",
) -> LimitsMiddleware:
    clock = FakeClock()
    store = store if store is not None else MemoryStore(clock=clock)
    return LimitsMiddleware(app, store=store, limits=table(*limits), prices=prices, unpriced=unpriced, clock=clock)


async def left(store: MemoryStore, limit: Limit) -> int:
    """What is left of a limit."""
    found = await store.reserve([Claim(limit, 0)], request_id=f"probe {limit}", lease=0.001)
    return found.standings[0].remaining


def error_of(answer: Answer) -> JSONObject:
    return as_object(as_object(answer.json).get("error"))


class Away(MemoryStore):
    """A store that cannot be asked."""

    async def reserve(self, *arguments: object, **more: object) -> Reservation:
        raise StoreUnavailable("away")
