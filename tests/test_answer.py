"""What can be told of an answer from the messages that pass."""

from __future__ import annotations

import pytest

from asgi_llmgw._types import Message
from asgi_llmgw.answer import Answer, ClientDisconnected, is_event_stream
from asgi_llmgw.exchange import Exchange

pytestmark = pytest.mark.anyio
START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
LAST: Message = {"type": "http.response.body", "body": b"x", "more_body": False}


@pytest.mark.parametrize(
    ("headers", "streams"),
    [
        ([(b"content-type", b"text/event-stream; charset=utf-8")], True),
        ([(b"x-more", b"1"), (b"content-type", b"text/event-stream")], True),
        ([(b"content-type", b"application/json")], False),
        ([(b"accept", b"text/event-stream")], False),
        ([], False),
    ],
)
def test_an_event_stream_says_so_in_its_type(headers: list[tuple[bytes, bytes]], streams: bool) -> None:
    assert is_event_stream(headers) is streams


async def test_it_knows_how_far_it_has_got() -> None:
    seen: list[tuple[int | None, bool, bool]] = []

    async def send(message: Message) -> None:
        seen.append((answer.status, answer.ending, answer.finished))

    told: list[Answer] = []
    answer = Answer(send)
    answer.on_start = told.append
    assert (answer.status, answer.streaming) == (None, False)
    await answer.send(START)
    assert (answer.status, answer.streaming, told) == (200, True, [answer])
    await answer.send({"type": "http.response.body", "body": b"x", "more_body": True})
    assert not answer.ending
    await answer.send(LAST)
    assert answer.finished
    assert seen == [(200, False, False), (200, False, False), (200, True, False)]


async def test_a_client_that_has_gone_is_told_apart_from_an_error() -> None:
    """Servers of ASGI 2.4 raise an OSError from `send`."""

    async def send(message: Message) -> None:
        raise ConnectionResetError

    answer = Answer(send)
    with pytest.raises(ClientDisconnected):
        await answer.send(LAST)
    assert answer.ending and not answer.finished


async def test_one_watch_is_enough_for_all_components() -> None:
    async def send(message: Message) -> None:
        """Takes everything."""

    exchange = Exchange("r")
    outer, watched = exchange.watched(send)
    assert watched == outer.send
    inner, handed_on = exchange.watched(watched)
    assert inner is outer and handed_on is watched
