"""A process that serves until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator

import pytest

from asgi_llmgw._types import Message
from asgi_llmgw.app import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.worker import Worker

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a worker changes of its process is put back."""
    handlers, threshold = {number: signal.getsignal(number) for number in HANDLED}, gc.get_threshold()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    gc.set_threshold(*threshold)
    gc.unfreeze()


async def serve_and_stop() -> list[str]:
    """One lifespan from its beginning to its end; the return is what was said."""
    worker = Worker(build_app(parse_config({}, environ={}), access_log=None))
    events = iter(("lifespan.startup", "lifespan.shutdown"))
    said: list[str] = []

    async def receive() -> Message:
        return {"type": next(events)}

    async def send(message: Message) -> None:
        said.append(message["type"])

    await worker({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return said


@pytest.mark.parametrize("number", HANDLED)
def test_a_signal_that_comes_after_the_end_changes_nothing(number: signal.Signals) -> None:
    assert asyncio.run(serve_and_stop()) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert callable(signal.getsignal(number))
    signal.raise_signal(number)
