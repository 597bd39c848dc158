"""What can be told of an answer from the messages that pass."""

from __future__ import annotations

import pytest

from asgi_llmgw._types import Message
from asgi_llmgw.answer import PIECE, Answer, ClientDisconnected, is_event_stream
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


async def test_a_large_message_has_ended_with_its_last_piece() -> None:
    """F120"""
    pieces: list[tuple[int, bool, bool]] = []

    async def send(message: Message) -> None:
        pieces.append((len(message["body"]), message["more_body"], answer.finished))

    answer = Answer(send)
    await answer.send({"type": "http.response.body", "body": bytes(2 * PIECE + 1), "more_body": False})
    assert pieces == [(PIECE, True, False), (PIECE, True, False), (1, False, False)]
    assert answer.finished


async def test_it_tells_since_when_the_server_holds_a_message() -> None:
    seen: list[float | None] = []

    async def send(message: Message) -> None:
        seen.append(answer.since)

    answer = Answer(send)
    answer.clock = lambda: 5.0
    await answer.send(START)
    assert (seen, answer.since) == ([5.0], None)


async def test_nothing_is_handed_on_once_it_was_given_up() -> None:
    seen: list[Message] = []

    async def send(message: Message) -> None:
        seen.append(message)

    answer = Answer(send)
    await answer.send(START)
    answer.give_up()
    with pytest.raises(ClientDisconnected):
        await answer.send(LAST)
    assert len(seen) == 1 and not answer.finished
