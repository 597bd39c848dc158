"""Answers over HTTP/1.1, fed without a socket: however the bytes are cut, and whatever they are."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.upstream.common import broken
from asgi_llmgw.upstream.http1_answer import HIGH_WATER, Answer
from tests.faultup import CHUNKED, OK, chunk, response

ANSWERS = {
    "whole": OK,
    "chunked": CHUNKED + chunk(b"data: 1\n\n") + b"9;x=y\r\ndata: 2\n\n\r\n" + b"0\r\nx-sum: 1\r\n\r\n",
    "hints": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK,
    "nothing": b"HTTP/1.1 204 No Content\r\nx:\r\nX-Y:  z \r\n\r\n",
    "closed": response(headers=[b"connection: close"]),
    "open": b"HTTP/1.1 200 OK\r\n\r\nto the end",
    "old": b"HTTP/1.0 404 Not Found\r\ncontent-length: 1\r\n\r\n-",
}
FRAMED = [name for name in ANSWERS if name != "open"]
PARTS = [*ANSWERS.values(), b"HTTP/1.1 ", b"200 OK", b"\r\n", b"\r\n\r\n", b"content-length: 3", b"x: y"]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def an_answer(loop: asyncio.AbstractEventLoop, *, head_only: bool = False) -> Answer:
    return Answer(loop, head_only=head_only, taken=lambda: None)


def told(loop: asyncio.AbstractEventLoop, *pieces: bytes) -> tuple[object, ...]:
    """All there is to know of an answer that came in these pieces."""
    answer = an_answer(loop)
    for piece in pieces:
        answer.feed(piece)
    if not answer.complete:
        answer.end(None)
    body = loop.run_until_complete(answer.aread(limit=1000))
    return answer.status, answer.headers, body, answer.complete, answer.reusable, answer.error


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_the_same_however_it_is_cut(loop: asyncio.AbstractEventLoop, name: str) -> None:
    """F142."""
    whole = ANSWERS[name]
    expected = told(loop, whole)
    assert expected[3] and expected[5] is None
    assert told(loop, *(bytes([byte]) for byte in whole)) == expected
    for cut in range(1, len(whole)):
        assert told(loop, whole[:cut], whole[cut:]) == expected


@pytest.mark.parametrize("name", FRAMED)
def test_an_answer_that_is_cut_off_is_never_taken_for_whole(loop: asyncio.AbstractEventLoop, name: str) -> None:
    """F128."""
    whole = ANSWERS[name]
    for cut in range(len(whole)):
        answer = an_answer(loop)
        answer.feed(whole[:cut])
        answer.end(None)
        assert not answer.complete and not answer.reusable
        assert answer.error is not None and answer.error.failure == "unreachable"
        assert answer.unheard is (cut == 0)


@given(pieces=st.lists(st.binary(max_size=50) | st.sampled_from(PARTS), max_size=8), head_only=st.booleans())
def test_junk_raises_nothing_but_our_errors(
    loop: asyncio.AbstractEventLoop, pieces: list[bytes], head_only: bool
) -> None:
    answer = an_answer(loop, head_only=head_only)
    for piece in pieces:
        try:
            answer.feed(piece)
        except UpstreamError as error:
            assert not answer.complete
            answer.fail(error)
    answer.end(None)
    assert answer.complete or answer.error is not None
    assert answer.complete or not answer.reusable
    assert not (head_only and (answer.reusable or answer.readable))


@pytest.mark.parametrize("name", FRAMED)
@pytest.mark.parametrize("after", [*ANSWERS, "junk"])
def test_nothing_of_what_follows_an_answer_gets_into_it(loop: asyncio.AbstractEventLoop, name: str, after: str) -> None:
    """F134."""
    *expected, _, _ = told(loop, ANSWERS[name])
    *found, reusable, error = told(loop, ANSWERS[name] + ANSWERS.get(after, b"\0"))
    assert found == expected and not reusable and error is None


def test_what_came_is_still_read_after_an_error(loop: asyncio.AbstractEventLoop) -> None:
    answer = an_answer(loop)
    answer.feed(CHUNKED + chunk(b"a"))
    answer.fail(broken())
    answer.feed(chunk(b"b"))
    parts = answer.aiter_raw()
    assert loop.run_until_complete(anext(parts)) == b"a"
    with pytest.raises(UpstreamError):
        loop.run_until_complete(anext(parts))


def test_it_is_told_when_the_reader_has_taken_what_was_too_much(loop: asyncio.AbstractEventLoop) -> None:
    taken: list[str] = []
    answer = Answer(loop, head_only=False, taken=lambda: taken.append("taken"))
    parts = answer.aiter_raw()
    for size, times in ((10, 0), (HIGH_WATER + 1, 1), (10, 1)):
        answer.feed((b"" if answer.status else CHUNKED) + chunk(b"x" * size))
        assert answer.overflows is (size > HIGH_WATER)
        assert len(loop.run_until_complete(anext(parts))) == size
        assert not answer.overflows and len(taken) == times


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_leaves_nothing_to_the_garbage_collector(loop: asyncio.AbstractEventLoop, name: str) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            told(loop, ANSWERS[name])
        assert gc.collect() < 10
    finally:
        gc.enable()
