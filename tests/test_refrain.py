from __future__ import annotations

import pytest

from asgi_llmgw.ir import Protocol
from asgi_llmgw.passthrough import PassThrough
from asgi_llmgw.refrain import Refrain, first_frame
from asgi_llmgw.translate import UsageTap
from tests.samples import chat_stream, messages_stream

FRAME = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'


def taught(text: str = "Hello") -> Refrain:
    refrain = Refrain()
    refrain.learn(FRAME % text.encode(), text)
    return refrain


def test_frames_that_differ_in_their_text_alone_are_counted() -> None:
    chunk = FRAME % b" world" + FRAME % b"" + FRAME % b"!"
    assert taught().again(chunk) == (len(chunk), 7)


def test_characters_are_counted_and_not_bytes() -> None:
    chunk = FRAME % "né🦊".encode() + FRAME % b'\\n\\"\\\\n'
    assert taught().again(chunk) == (len(chunk), 3 + 4)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(FRAME.replace(b"null", b'"stop"') % b"x", id="another end"),
        pytest.param(FRAME.replace(b'"index"', b'"error":{},"index"') % b"x", id="another beginning"),
        pytest.param(FRAME % b'x","refusal":"no', id="a member more"),
        pytest.param(FRAME % b"\\ud800", id="an escape that needs a closer look"),
        pytest.param(FRAME % b"\\x", id="not JSON"),
        pytest.param(FRAME % b"a\nb", id="a line end"),
        pytest.param(FRAME % b"cut", id="not whole yet"),
        pytest.param(b": comment\n\n", id="a comment"),
    ],
)
def test_any_other_frame_is_left_to_the_parser(other: bytes) -> None:
    if b"cut" in other:
        other = other[:-1]
    same = FRAME % b"same"
    assert taught().again(same + other) == (len(same), 4)
    assert taught().again(other) == (0, 0)


def test_bytes_that_are_no_text_are_left_to_the_parser() -> None:
    assert taught().again(FRAME % b"\xff") == (0, 0)


def test_random_letters_at_the_end_may_differ() -> None:
    padded = FRAME.replace(b"}]}", b'}],"obfuscation":"%b"}')
    refrain = Refrain()
    refrain.learn(padded % (b"Hello", b"xY1"), "Hello")
    chunk = padded % (b"you", b"Z") + padded % (b"there", b"")
    assert refrain.again(chunk) == (len(chunk), 8)
    assert refrain.again(padded % (b"you", b"no letters!")) == (0, 0)


@pytest.mark.parametrize("text", ["a", "content"])
def test_a_text_that_stands_in_two_places_is_not_learnt(text: str) -> None:
    refrain = taught(text)
    assert refrain.again(FRAME % b"b") == (0, 0)


def test_a_stream_of_unlike_frames_is_given_up() -> None:
    refrain = Refrain()
    for _ in range(20):
        refrain.lost()
    assert not refrain.learns


def test_the_first_frame_ends_with_its_blank_line() -> None:
    assert first_frame(b"data: 1\r\n\r\ndata: 2\n\n") == len(b"data: 1\r\n\r\n")
    assert first_frame(b"data: 1\ndata: 2\n") == len(b"data: 1\ndata: 2\n")


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
@pytest.mark.parametrize("protocol", ["openai_chat", "anthropic_messages"])
def test_a_stream_on_its_way_tells_the_same_as_one_that_is_read_in_full(protocol: Protocol, size: int) -> None:
    """What is skipped tells nothing that the parser would have told."""
    text = "one two three, né \\n four " * 20
    stream = b"".join(
        chat_stream(*text.split(), usage=True) if protocol == "openai_chat" else messages_stream(*text.split())
    )
    passing, tap = PassThrough(protocol), UsageTap(protocol)
    out = b""
    for start in range(0, len(stream), size):
        out += passing.forward(stream[start : start + size])
        tap.feed(stream[start : start + size])
    out += passing.end()
    tap.close()
    assert out == stream
    assert (passing.text_length, passing.usage, passing.finish_reason) == (
        tap.text_length,
        tap.usage,
        tap.finish_reason,
    )
    assert passing.fault is None and tap.fault is None and passing.text_length > 0
