"""Any crowd of requests, however each ends: the books are right at the end, and no ceiling was passed on the way."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import anyio
import pytest

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import read_body, send_response
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.ir import Usage
from asgi_llmgw.json import dumps
from asgi_llmgw.render import send_error
from asgi_llmgw.store.base import Claim, Denied, Limit, Measure, Reservation
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.testing import FakeClock, RecordingSend, ScriptedReceive
from tests.limited import ALICE, BOB, left, limit, limits, scope_of
from tests.samples import chat_request

pytestmark = pytest.mark.anyio

ENDINGS = ("answered", "streamed", "left", "cut", "refused", "raised", "cancelled")
CONCURRENCY = 7


class Book(MemoryStore):
    """A store that writes down what it did, and checks each admission."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self.admitted: dict[str, Reservation] = {}
        self.settled: dict[str, Mapping[Measure, int]] = {}
        self.denied = 0

    async def reserve(self, claims: Sequence[Claim], /, *, request_id: str, lease: float) -> Reservation | Denied:
        found = await super().reserve(claims, request_id=request_id, lease=lease)
        if isinstance(found, Denied):
            self.denied += 1
            return found
        assert all(standing.remaining >= 0 for standing in found.standings)
        self.admitted[request_id] = found
        owner = claims[0].limit.owner
        running = [one for name, one in self.admitted.items() if name not in self.settled]
        assert len([one for one in running if one.claims[0].limit.owner == owner]) <= CONCURRENCY
        return found

    async def settle(self, reservation: Reservation, actual: Mapping[Measure, int], /) -> None:
        assert reservation.id not in self.settled, "settled twice"
        await anyio.lowlevel.checkpoint()
        self.settled[reservation.id] = actual
        await super().settle(reservation, actual)


class Crowd:
    """A vendor whose answers end in every way there is, and what it would bill for them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.billed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[SCOPE_KEY]
        await read_body(receive)
        exchange.provider, exchange.upstream_model = "openai", "gpt-4o"
        for _ in range(self._random.randrange(5)):
            await anyio.lowlevel.checkpoint()
        await self._end(exchange, send, self._random.choice(ENDINGS))

    async def _end(self, exchange: Exchange, send: Send, ending: str) -> None:
        usage = Usage(input_tokens=self._random.randrange(50), output_tokens=self._random.randrange(50))
        total = usage.total_tokens or 0
        match ending:
            case "answered":
                exchange.usage, exchange.finish_reason = usage, "stop"
                self.billed += total
                await send_response(send, 200, b"{}")
            case "refused":
                failure = UpstreamError("no", failure="overloaded", kind="overloaded")
                exchange.fail(failure)
                await send_error(send, failure, "openai_chat", request_id="req_1")
            case "raised":
                exchange.fail(UpstreamError("no", failure="transient"))
                raise RuntimeError("broken")
            case _:
                await self._stream(exchange, send, ending, usage)

    async def _stream(self, exchange: Exchange, send: Send, ending: str, usage: Usage) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        exchange.first_token, exchange.text_length = 1.0, 30
        # it has told its input, and that there is at least one token of output
        exchange.usage = Usage(input_tokens=usage.input_tokens, output_tokens=1)
        if ending == "streamed":
            exchange.usage, exchange.finish_reason = usage, "stop"
        self.billed += (usage.total_tokens or 0) if ending == "streamed" else (usage.input_tokens or 0) + 10
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        if ending == "cancelled":
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.sleep_forever()
            exchange.outcome = "client_disconnected"
            return
        if ending == "left":
            exchange.outcome = "client_disconnected"
            return
        if ending == "cut":
            exchange.fail(UpstreamError("cut", failure="unreachable"))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.mark.parametrize("seed", range(20))
async def test_the_books_are_right_however_requests_end(seed: int) -> None:
    """L1 L2 L4 L6 F189 F191: settled once each, what was used and no more, no place left taken."""
    vendor, store = Crowd(seed), Book(FakeClock())
    slots, rpm = limit("slots", CONCURRENCY), limit("requests", 150)
    tokens = Limit("tenant", "acme", "tokens", 10_000, "month")
    app = limits(vendor, slots, rpm, limit("slots", CONCURRENCY, owner="team-b"), tokens, store=store)

    async def ask(number: int) -> None:
        for _ in range(number % 11):
            await anyio.lowlevel.checkpoint()
        scope = scope_of(ALICE if number % 3 else BOB)
        try:
            await app(scope, ScriptedReceive(dumps(chat_request(max_tokens=500))), RecordingSend())
        except RuntimeError as error:
            assert str(error) == "broken"

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(ask, number)
    assert store.admitted.keys() == store.settled.keys()
    assert len(store.admitted) + store.denied == 200 and store.denied > 0
    of_alice = [one for one in store.admitted.values() if one.claims[0].limit.owner == "team-a"]
    assert await left(store, slots) == CONCURRENCY
    assert await left(store, tokens) == 10_000 - vendor.billed
    assert await left(store, rpm) == 150 - len(of_alice)
