"""Limits: what is set aside, what is settled, and who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import anyio
import pytest

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import send_response
from asgi_llmgw.components.limits import LimitsMiddleware
from asgi_llmgw.errors import ConfigError, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Operation, Principal, Target
from asgi_llmgw.ir import Usage
from asgi_llmgw.json import as_str, dumps
from asgi_llmgw.pricing import Price, PriceTable
from asgi_llmgw.store.base import Limit, Measure, Reservation
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.testing import FakeClock, RecordingSend, ScriptedReceive, call, http_scope
from tests.limited import ALICE, BOB, Away, Vendor, error_of, left, limit, limits, scope_of, table
from tests.samples import chat_request

pytestmark = pytest.mark.anyio


async def test_without_a_limit_a_request_passes_straight_through() -> None:
    """The inner app gets the very same `send`, and the store is not asked."""
    seen: list[Send] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(send)
        await send_response(send, 200, b"{}")

    send = RecordingSend()
    app = limits(inner, limit("requests", 1, owner="somebody-else"))
    await app(scope_of(), ScriptedReceive(), send)
    assert seen == [send]


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_scopes_pass(kind: str) -> None:
    seen: list[str] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await limits(inner, limit("requests", 1))({"type": kind}, ScriptedReceive(), RecordingSend())
    assert seen == [kind]


def test_a_number_must_be_positive() -> None:
    with pytest.raises(ConfigError):
        LimitsMiddleware(Vendor(), store=MemoryStore(), limits=table(), lease_seconds=0)
    with pytest.raises(ConfigError):
        LimitsMiddleware(Vendor(), store=MemoryStore(), limits=table(), default_output_tokens=0)


async def test_the_request_after_the_last_one_is_refused_and_reaches_nobody() -> None:
    vendor = Vendor()
    app = limits(vendor, limit("requests", 2))
    statuses = [(await call(app, scope_of(), chat_request())).status for _ in range(3)]
    assert (statuses, vendor.calls) == ([200, 200, 429], 2)


async def test_64_at_once_find_exactly_as_many_places_as_there_are() -> None:
    """L4 F189"""
    vendor = Vendor()
    vendor.go = asyncio.Event()
    app = limits(vendor, limit("requests", 20))
    answers: list[int] = []

    async def ask() -> None:
        answers.append((await call(app, scope_of(), chat_request())).status)

    async with anyio.create_task_group() as group:
        for _ in range(64):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        vendor.go.set()
    assert (answers.count(200), answers.count(429), vendor.calls) == (20, 44, 20)


async def test_200_at_once_spend_no_more_than_the_budget() -> None:
    """L4 F189: each may cost 10 240 and a little for its input, and does."""
    usage = Usage(input_tokens=9, output_tokens=1024)
    vendor = Vendor(usage)
    vendor.go = asyncio.Event()
    store = MemoryStore(clock=FakeClock())
    budget = limit("cost", 10 * 10_260, "month")
    app = limits(vendor, budget, store=store)

    async def ask() -> None:
        await call(app, scope_of(), chat_request())

    async with anyio.create_task_group() as group:
        for _ in range(200):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        vendor.go.set()
    assert vendor.calls == 10
    assert await left(store, budget) == 10 * (10_260 - 10_249)


async def test_concurrency_is_given_back_at_the_end_of_each_request() -> None:
    vendor = Vendor()
    vendor.go = asyncio.Event()
    app = limits(vendor, limit("slots", 2))
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(call, app, scope_of(), chat_request())
        await anyio.wait_all_tasks_blocked()
        refused = await call(app, scope_of(), chat_request())
        vendor.go.set()
    assert refused.status == 429
    assert as_str(error_of(refused)["message"]) == (
        "The limit of key team-a: 2 requests at the same time is reached; try again in 1 second."
    )
    assert (await call(app, scope_of(), chat_request())).status == 200
    assert vendor.most == 2


async def test_what_concurrency_refuses_uses_up_nothing_else() -> None:
    """L2"""
    vendor = Vendor()
    vendor.go = asyncio.Event()
    store = MemoryStore(clock=FakeClock())
    rpm = limit("requests", 100)
    app = limits(vendor, rpm, limit("slots", 1), store=store)
    async with anyio.create_task_group() as group:
        group.start_soon(call, app, scope_of(), chat_request())
        await anyio.wait_all_tasks_blocked()
        for _ in range(10):
            assert (await call(app, scope_of(), chat_request())).status == 429
        vendor.go.set()
    assert await left(store, rpm) == 99


async def test_the_place_is_free_before_the_client_hears_of_the_end() -> None:
    """L10: a client that asks one thing after the other never meets its own last request."""
    store = MemoryStore(clock=FakeClock())
    slot = limit("slots", 1)
    app = limits(Vendor(), slot, store=store)
    free: list[int] = []

    class Watching(RecordingSend):
        async def __call__(self, message: object) -> None:
            await super().__call__(message)  # type: ignore[arg-type]
            if self.finished:
                free.append(await left(store, slot))

    await app(scope_of(), ScriptedReceive(dumps(chat_request())), Watching())
    assert free == [1]


async def test_tokens_are_settled_at_what_was_used() -> None:
    store = MemoryStore(clock=FakeClock())
    tpm = limit("tokens", 2000)
    app = limits(Vendor(), tpm, store=store)
    for _ in range(20):
        assert (await call(app, scope_of(), chat_request())).status == 200
    assert await left(store, tpm) == 2000 - 20 * 11


async def test_the_cost_is_settled_and_told_to_the_exchange() -> None:
    store = MemoryStore(clock=FakeClock())
    budget = limit("cost", 1_000_000, "month")
    exchange = Exchange("req_1")
    await call(limits(Vendor(), budget, store=store), scope_of(exchange=exchange), chat_request())
    assert exchange.cost == 8 * 1 + 3 * 10
    assert await left(store, budget) == 1_000_000 - 38


async def test_the_dearest_target_is_what_is_set_aside() -> None:
    """F189"""
    dear = PriceTable({"openai/*": Price(input=1.0, output=10.0), "dear/*": Price(input=1.0, output=1000.0)})
    vendor = Vendor()
    exchange = Exchange("req_1")
    scope = scope_of(exchange=exchange)
    exchange.targets = (Target("openai", "gpt-4o"), Target("dear", "one"))
    app = limits(vendor, limit("cost", 500_000, "month"), prices=dear)
    assert (await call(app, scope, chat_request(max_tokens=600))).status == 429
    assert vendor.calls == 0


async def test_a_request_that_never_fits_is_not_worth_another_try() -> None:
    app = limits(Vendor(), limit("tokens", 500))
    answer = await call(app, scope_of(), chat_request(max_tokens=600))
    assert (answer.status, answer.headers[b"x-should-retry"]) == (429, b"false")
    assert b"retry-after" not in answer.headers
    assert "more than the limit of key team-a: 500 tokens per minute allows" in str(error_of(answer)["message"])
    assert (await call(app, scope_of(), chat_request(max_tokens=300))).status == 200


async def test_what_the_upstream_refused_costs_a_request_and_nothing_else() -> None:
    store = MemoryStore(clock=FakeClock())
    rpm, tpm, slots = limit("requests", 10), limit("tokens", 5000), limit("slots", 1)
    failure = UpstreamError("no", failure="overloaded", kind="overloaded")
    app = limits(Vendor(failure=failure), rpm, tpm, slots, store=store)
    assert (await call(app, scope_of(), chat_request())).status == 503
    assert [await left(store, one) for one in (rpm, tpm, slots)] == [9, 5000, 1]


async def test_an_app_that_raises_gives_its_place_back() -> None:
    """L1"""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    store = MemoryStore(clock=FakeClock())
    slots, tpm = limit("slots", 1), limit("tokens", 5000)
    app = limits(broken, slots, tpm, store=store)
    with pytest.raises(RuntimeError):
        await app(scope_of(), ScriptedReceive(dumps(chat_request())), RecordingSend())
    assert [await left(store, one) for one in (slots, tpm)] == [1, 5000]


async def test_a_cancelled_request_is_settled_with_what_was_streamed() -> None:
    """L1 L8 L9 F109: the settlement waits for the store although everything around it is cancelled."""
    streaming = asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[SCOPE_KEY]
        exchange.provider, exchange.upstream_model, exchange.text_length = "openai", "gpt-4o", 300
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        streaming.set()
        await asyncio.Event().wait()

    class Slow(MemoryStore):
        async def settle(self, reservation: Reservation, actual: Mapping[Measure, int], /) -> None:
            await anyio.lowlevel.checkpoint()
            await super().settle(reservation, actual)

    store = Slow(clock=FakeClock())
    slots, tpm = limit("slots", 1), limit("tokens", 5000)
    app = limits(stream, slots, tpm, store=store)
    async with anyio.create_task_group() as group:
        group.start_soon(app, scope_of(), ScriptedReceive(dumps(chat_request())), RecordingSend())
        await streaming.wait()
        group.cancel_scope.cancel()
    assert await left(store, slots) == 1
    assert 4850 < await left(store, tpm) < 4900


async def test_a_client_that_is_gone_before_its_body_is_whole_uses_nothing() -> None:
    vendor = Vendor()
    store = MemoryStore(clock=FakeClock())
    receive = ScriptedReceive(b'{"model"', b"")
    receive._messages[-1]["more_body"] = True
    receive.disconnect()
    exchange = Exchange("req_1")
    rpm, tpm = limit("requests", 1), limit("tokens", 5000)
    await limits(vendor, rpm, tpm, store=store)(scope_of(exchange=exchange), receive, RecordingSend())
    assert (exchange.outcome, vendor.calls) == ("client_disconnected", 0)
    assert await left(store, rpm) == 1


async def test_a_count_of_tokens_is_a_request_and_no_tokens() -> None:
    """L5"""
    store = MemoryStore(clock=FakeClock())
    rpm, tpm = limit("requests", 1), limit("tokens", 50)
    app = limits(Vendor(), rpm, tpm, limit("cost", 1, "day"), store=store)
    assert (await call(app, scope_of(operation="count_tokens"), chat_request())).status == 200
    assert (await call(app, scope_of(operation="count_tokens"), chat_request())).status == 429
    assert await left(store, tpm) == 50


async def test_a_count_of_tokens_under_a_limit_of_tokens_alone_meets_none() -> None:
    """The store is away, and is not asked."""
    app = limits(Vendor(), limit("tokens", 50), store=Away())
    assert (await call(app, scope_of(operation="count_tokens"), chat_request())).status == 200


@pytest.mark.parametrize("operation", ["chat", "compact", "count_tokens", "stored_response"])
async def test_every_operation_goes_through_the_same_door(operation: Operation) -> None:
    """L1 L5"""
    app = limits(Vendor(), limit("requests", 1))
    statuses = [(await call(app, scope_of(operation=operation), chat_request())).status for _ in range(2)]
    assert statuses == [200, 429]


async def test_a_key_has_its_own_limits_and_its_tenants() -> None:
    """L5: none of them makes another one void."""
    tenant = Limit("tenant", "acme", "requests", 3, "minute")
    app = limits(Vendor(), limit("requests", 2), tenant)
    statuses = [(await call(app, scope_of(who), chat_request())).status for who in (ALICE, ALICE, ALICE, BOB, BOB)]
    assert statuses == [200, 200, 429, 200, 429]


async def test_a_model_has_limits_for_everybody() -> None:
    app = limits(Vendor(), Limit("model", "smart", "requests", 1, "minute"))
    statuses = [(await call(app, scope_of(who), chat_request())).status for who in (ALICE, BOB, None)]
    assert statuses == [200, 429, 429]
    assert (await call(app, scope_of(route="other"), chat_request())).status == 200


async def test_the_clients_own_request_id_saves_it_nothing() -> None:
    """L6: what counts once by an id counts by one that no client chooses."""
    app = limits(Vendor(), limit("requests", 1))
    statuses = [(await call(app, scope_of(exchange=Exchange("mine")), chat_request())).status for _ in range(2)]
    assert statuses == [200, 429]


async def test_a_model_without_a_price_is_refused_under_a_budget() -> None:
    """Money that nobody can count is not spent."""
    vendor = Vendor()
    budget = limit("cost", 1_000_000, "month")
    app = limits(vendor, budget, prices=PriceTable(packaged=False))
    answer = await call(app, scope_of(), chat_request("my-own"))
    assert (answer.status, vendor.calls) == (403, 0)
    assert error_of(answer)["code"] == "model_without_price"
    allowed = limits(vendor, budget, prices=PriceTable(packaged=False), unpriced="allow")
    exchange = Exchange("req_1")
    assert (await call(allowed, scope_of(exchange=exchange), chat_request("my-own"))).status == 200
    assert exchange.cost is None


async def test_a_body_that_cannot_be_read_is_refused_before_anything_is_taken() -> None:
    store = MemoryStore(clock=FakeClock())
    rpm = limit("requests", 5)
    answer = await call(limits(Vendor(), rpm, limit("tokens", 5000), store=store), scope_of(), b"[1")
    assert answer.status == 400
    assert await left(store, rpm) == 5


async def test_it_works_around_any_app_that_knows_no_exchange() -> None:
    """Alone, without a router: the model's name in the body tells the price."""
    prices = PriceTable({"mine": Price(input=1.0, output=10.0)}, packaged=False)

    async def plain(scope: Scope, receive: Receive, send: Send) -> None:
        await send_response(send, 200, b"x" * 300)

    store = MemoryStore(clock=FakeClock())
    budget = Limit("key", "host", "cost", 1_000_000, "day")
    app = LimitsMiddleware(plain, store=store, limits=table(budget), prices=prices)
    exchange = Exchange("req_1", principal=Principal("host"))
    await call(app, {**http_scope(), SCOPE_KEY: exchange}, chat_request("mine"))
    assert exchange.cost is not None and 1000 < exchange.cost < 1020
