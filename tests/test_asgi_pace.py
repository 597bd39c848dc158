"""Request bodies that come slowly; the clock of these tests runs by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from asgi_llmgw._types import Message
from asgi_llmgw.asgi import BODY_GRACE, BODY_RATE, BODY_TIMEOUT, ClientDisconnected, Replay, read_body
from asgi_llmgw.errors import RequestError
from asgi_llmgw.testing import ScriptedReceive
from tests.virtual_time import BACKEND

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


def now() -> float:
    return asyncio.get_running_loop().time()


def dripping(size: int, every: float, *, pieces: int = 100_000) -> Callable[[], Any]:
    """A `receive` that gives so many bytes at a time."""
    left = pieces

    async def receive() -> Message:
        nonlocal left
        await asyncio.sleep(every)
        left -= 1
        return {"type": "http.request", "body": b"x" * size, "more_body": left > 0}

    return receive


async def refused(receive: Callable[[], Any], **limits: float) -> float:
    """When the body is given up."""
    with pytest.raises(RequestError) as caught:
        await read_body(receive, **limits)  # type: ignore[arg-type]
    assert caught.value.status == 408
    return now()


async def test_a_byte_a_second_is_too_slow() -> None:
    """F121: seen as soon as the grace is over."""
    assert await refused(dripping(1, 1.0)) == BODY_GRACE


async def test_a_body_that_pauses_is_too_slow_once_its_average_is() -> None:
    """F121: 20 KiB at once are good for 20 seconds."""
    begun = False

    async def receive() -> Message:
        nonlocal begun
        if begun:
            await asyncio.sleep(60)
        begun = True
        return {"type": "http.request", "body": b"x" * 20 * BODY_RATE, "more_body": True}

    assert await refused(receive) == pytest.approx(20.0)


async def test_a_body_has_an_end_however_fast_it_comes() -> None:
    """F121."""
    assert await refused(dripping(100_000, 1.0)) == BODY_TIMEOUT


@pytest.mark.parametrize("rate", [BODY_RATE * 1.3, BODY_RATE * 10])
async def test_a_body_that_is_slow_but_not_too_slow_is_taken(rate: float) -> None:
    """F121."""
    body = await read_body(dripping(int(rate), 1.0, pieces=25))
    assert len(body) == 25 * int(rate)
    assert now() == 25.0


async def test_the_limits_can_be_set() -> None:
    """F121: no rate at all, and another time."""
    assert await refused(dripping(1, 1.0), min_rate=0, timeout=100.0) == 100.0


async def test_a_time_shorter_than_the_grace_is_kept() -> None:
    """F121."""
    assert await refused(dripping(1000, 1.0), timeout=3.0) == 3.0


async def test_a_body_costs_one_timer_however_many_pieces_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """F121, F046."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_at = loop.call_at

    def counted(when: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(call_at(when, *arguments, **options))
        return timers[-1]

    left = 20_000

    async def receive() -> Message:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b"x", "more_body": left > 0}

    monkeypatch.setattr(loop, "call_at", counted)
    assert len(await read_body(receive)) == 20_000
    assert len(timers) == 1
    assert timers[0].cancelled()


async def test_the_timer_ends_with_the_client() -> None:
    """F121, F004."""
    receive = ScriptedReceive(b"a", b"b")
    await receive()
    await receive()
    receive.disconnect()
    with pytest.raises(ClientDisconnected):
        await read_body(receive)
    assert now() == 0


async def test_a_body_that_is_here_already_is_not_waited_for() -> None:
    """The components below the first one get what it has read; they may each have a smaller limit."""
    gone = ScriptedReceive(b"")
    receive = Replay(b"abc", gone)
    assert await read_body(receive) == b"abc"
    assert gone.calls == 0
    assert (await receive())["type"] == "http.request"
    with pytest.raises(RequestError) as caught:
        await read_body(Replay(b"abc", gone), limit=2)
    assert caught.value.status == 413
