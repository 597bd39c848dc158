"""A request that is cancelled at any moment at all leaves no place taken, and is settled once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import read_body
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Usage
from asgi_llmgw.json import dumps
from asgi_llmgw.store.base import Claim, Denied, Measure, Reservation
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.testing import FakeClock, RecordingSend, ScriptedReceive
from tests.cancelling import How, run, settled
from tests.limited import left, limit, limits, scope_of
from tests.samples import chat_request

pytestmark = pytest.mark.anyio


class Slow(MemoryStore):
    """A store that takes its time before and after what it does."""

    def __init__(self) -> None:
        super().__init__(clock=FakeClock())
        self.settlements: dict[str, list[Mapping[Measure, int]]] = {}

    async def reserve(self, claims: Sequence[Claim], /, *, request_id: str, lease: float) -> Reservation | Denied:
        await asyncio.sleep(0)
        found = await super().reserve(claims, request_id=request_id, lease=lease)
        await asyncio.sleep(0)
        return found

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int], /) -> None:
        await asyncio.sleep(0)
        await super().settle(reservation, actual)
        self.settlements.setdefault(reservation.id, []).append(actual)
        await asyncio.sleep(0)


async def vendor(scope: Scope, receive: Receive, send: Send) -> None:
    exchange: Exchange = scope[SCOPE_KEY]
    await read_body(receive)
    exchange.provider, exchange.upstream_model = "openai", "gpt-4o"
    await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    exchange.first_token, exchange.text_length = 1.0, 30
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    exchange.usage, exchange.finish_reason = Usage(input_tokens=8, output_tokens=3), "stop"
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def cancelled(at: int, how: How) -> tuple[int, Slow]:
    """One request, cancelled there; how many suspensions it had, and the store after it."""
    store = Slow()
    app = limits(vendor, limit("slots", 1), limit("tokens", 5000, "month"), store=store)

    async def scenario() -> None:
        await app(scope_of(), ScriptedReceive(dumps(chat_request())), RecordingSend())

    before: set[asyncio.Task[Any]] = asyncio.all_tasks()
    steps = await run(scenario, at=at, how=how)
    assert await settled(before) == set()
    return steps, store


@pytest.mark.parametrize("how", ["once", "twice"])
async def test_no_moment_is_a_bad_one(how: How) -> None:
    """L1 L6 L9 F191: cancelled as servers do, at each await, also while the store is asked."""
    steps, _ = await cancelled(0, how)
    assert steps >= 8
    used = set()
    for at in range(1, steps + 1):
        _, store = await cancelled(at, how)
        assert await left(store, limit("slots", 1)) == 1, at
        assert len(store.settlements) <= 1, at
        assert all(actual == told[0] for told in store.settlements.values() for actual in told), at
        used.add(5000 - await left(store, limit("tokens", 5000, "month")))
    # nothing before the vendor was asked, its prompt and what was streamed before the end, all of it afterwards
    assert {0, 11} < used and all(amount < 60 for amount in used)
