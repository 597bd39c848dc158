"""A client that does not read, in front of the whole stack; the clock of these tests runs by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from asgi_llmgw._types import ASGIApp, Message, Receive, Scope, Send
from asgi_llmgw.answer import PIECE, Answer
from asgi_llmgw.asgi import ABANDONED_AFTER, while_connected
from asgi_llmgw.components.context import ContextMiddleware
from asgi_llmgw.components.dispatch import DispatchApp
from asgi_llmgw.components.proxy import ProxyApp
from asgi_llmgw.components.translator import TranslatorMiddleware
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Target
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import dumps
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.stall import SEND_STALL, StallGuard
from asgi_llmgw.testing import FakeUpstream, ScriptedReceive, http_scope, sse_response
from tests.samples import CHAT_ROLE, DONE, chat_chunk, chat_request, messages_stream
from tests.virtual_time import BACKEND

pytestmark = pytest.mark.anyio

WORDS = 40


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


def now() -> float:
    return asyncio.get_running_loop().time()


class Reservations:
    """A middleware as those that count what is in use: it takes, and gives back in a `finally`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.held = 0
        self.given_back: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.held += 1
        try:
            await self._app(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.held -= 1
            self.given_back = now()


class House:
    """Context, reservations, dispatch, translation and one vendor, with a `send` of the test's own."""

    def __init__(self, *, other_protocol: bool = False, **settings: Any) -> None:
        words = [f"w{number} " for number in range(WORDS)]
        chunks = messages_stream(*words) if other_protocol else [CHAT_ROLE, *map(_said, words), _said("", "stop"), DONE]
        self.upstream = FakeUpstream([sse_response(*chunks)])
        protocol: Protocol = "anthropic_messages" if other_protocol else "openai_chat"
        vendor = Provider(name="vendor", base_url="https://v.example/v1", protocols=(protocol,), api_keys=("k",))
        proxy = ProxyApp(vendor, upstream=self.upstream)
        self.reservations = Reservations(
            DispatchApp(providers={"vendor": TranslatorMiddleware(proxy, over=vendor.protocols)})
        )
        self.log: list[bytes] = []
        self.app = ContextMiddleware(self.reservations, access_log=self.log.append, **settings)
        self.exchange = Exchange("r", client_protocol="openai_chat", targets=(Target("vendor", "m"),), stream=True)

    async def serve(self, send: Send) -> None:
        scope = {**http_scope(), SCOPE_KEY: self.exchange}
        await self.app(scope, ScriptedReceive(dumps(chat_request(stream=True))), send)


def _said(text: str, finish: str | None = None) -> bytes:
    return chat_chunk({"content": text}, finish)


class SlowReader:
    """A server's `send` that takes each message after so many seconds; None is never.

    Args:
        hold: how it waits; what a server does with a cancellation is its own affair.
    """

    def __init__(self, seconds: Callable[[int], float | None], *, shield: str = "") -> None:
        self.taken: list[Message] = []
        self._seconds = seconds
        self._shield = shield

    async def __call__(self, message: Message) -> None:
        seconds = self._seconds(len(self.taken))
        waiting = asyncio.sleep(1e9 if seconds is None else seconds)
        match self._shield:
            case "anyio":
                with anyio.CancelScope(shield=True):
                    await waiting
            case "deaf":
                await _deaf(asyncio.ensure_future(waiting))
            case _:
                await waiting
        self.taken.append(message)


async def _deaf(waiting: asyncio.Future[None]) -> None:
    while not waiting.done():
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("other_protocol", [False, True], ids=["same", "translated"])
async def test_a_client_that_takes_nothing_for_30_seconds_is_given_up(
    other_protocol: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """F117: both sides are let go of, and the log says why."""
    house = House(other_protocol=other_protocol)
    reader = SlowReader(lambda taken: 0.5 if taken < 4 else None)
    before = asyncio.all_tasks()
    with caplog.at_level(logging.WARNING, "asgi_llmgw"):
        await house.serve(reader)
    assert len(reader.taken) == 4
    assert SEND_STALL <= now() <= 2 * SEND_STALL
    assert (house.upstream.open_calls, house.reservations.held) == (0, 0)
    assert house.exchange.outcome == "client_disconnected"
    assert b'"outcome":"client_disconnected"' in house.log[0]
    assert "took nothing" in caplog.text
    assert asyncio.all_tasks() == before


async def test_a_client_that_does_not_even_take_the_head_is_given_up() -> None:
    """F117."""
    house = House()
    reader = SlowReader(lambda taken: None)
    await house.serve(reader)
    assert reader.taken == []
    assert (house.upstream.open_calls, house.reservations.held) == (0, 0)


@pytest.mark.parametrize("shield", ["anyio", "deaf"])
async def test_all_is_given_back_although_the_send_cannot_be_cancelled(shield: str) -> None:
    """F119, L1: hypercorn's trio worker shields its `send`; whoever holds something is not its hostage."""
    house = House()
    reader = SlowReader(lambda taken: 0 if taken < 3 else None, shield=shield)
    before = asyncio.all_tasks()
    await house.serve(reader)
    assert house.upstream.open_calls == 0
    assert house.reservations.held == 0
    assert house.reservations.given_back is not None
    assert house.reservations.given_back <= SEND_STALL + ABANDONED_AFTER + 0.1
    assert house.exchange.outcome == "client_disconnected"
    left = asyncio.all_tasks() - before
    # a native cancellation goes through anyio's shield; nothing goes through a deaf server's
    assert len(left) == (2 if shield == "deaf" else 0)
    for task in left:
        task.cancel()


async def test_a_client_that_leaves_while_a_send_hangs_is_let_go_of_as_well() -> None:
    """F119, F110: here the server tells of it in the meantime."""
    closed: list[float] = []

    async def let_go() -> None:
        closed.append(now())

    receive = ScriptedReceive()
    await receive()
    asyncio.get_running_loop().call_later(5, receive.disconnect)
    never = asyncio.get_running_loop().create_future()
    await while_connected(receive, _deaf(never), left=lambda: 0.0, let_go=let_go)
    assert closed == [5 + ABANDONED_AFTER]
    never.set_result(None)


@pytest.mark.parametrize("seconds", [1.0, 20.0, 29.9])
async def test_a_slow_reader_is_kept_as_long_as_it_goes_on(seconds: float) -> None:
    """F120."""
    house = House()
    reader = SlowReader(lambda taken: seconds)
    await house.serve(reader)
    assert house.exchange.outcome == "completed"
    assert reader.taken[-1]["more_body"] is False
    assert now() >= seconds * WORDS


async def test_a_pause_of_the_vendors_is_not_held_against_the_client() -> None:
    """F117, F161: the time runs while a `send` waits, and at no other."""
    taken: list[Message] = []

    async def send(message: Message) -> None:
        taken.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await asyncio.sleep(10 * SEND_STALL)
            await send({"type": "http.response.body", "body": b".", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    await ContextMiddleware(app)(http_scope(), ScriptedReceive(), send)
    assert len(taken) == 5


async def test_a_large_piece_is_many_small_ones_for_a_slow_reader() -> None:
    """F120: it goes on, although all of it takes minutes."""
    body = bytes(range(256)) * 1024 * 4
    reader = SlowReader(lambda taken: SEND_STALL * 0.9)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    await ContextMiddleware(app)(http_scope(), ScriptedReceive(), reader)
    pieces = [message["body"] for message in reader.taken[1:]]
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= PIECE
    assert [message["more_body"] for message in reader.taken[1:]] == [True] * (len(pieces) - 1) + [False]


async def test_patience_may_be_endless() -> None:
    """F117: `send_stall_seconds = 0`."""
    house = House(send_stall=0)
    reader = SlowReader(lambda taken: 100_000.0)
    await house.serve(reader)
    assert house.exchange.outcome == "completed"


async def test_an_error_is_given_up_like_an_answer() -> None:
    """F117: nothing waits for ever, whatever is being told."""
    reader = SlowReader(lambda taken: None)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a bug")

    await ContextMiddleware(app)(http_scope(), ScriptedReceive(), reader)
    assert SEND_STALL <= now() < SEND_STALL + 1


async def test_an_answer_costs_one_timer_however_many_messages_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """F117: no task and no timer for a chunk."""
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    call_at = loop.call_at

    def counted(when: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *arguments, **options)

    monkeypatch.setattr(loop, "call_at", counted)
    before = asyncio.all_tasks()

    async def send(message: Message) -> None:
        return None

    answer = Answer(send)
    with StallGuard(answer, SEND_STALL) as guard:
        guard.start()
        for _ in range(10_000):
            await answer.send({"type": "http.response.body", "body": b".", "more_body": True})
    assert len(timers) == 1
    assert asyncio.all_tasks() == before
