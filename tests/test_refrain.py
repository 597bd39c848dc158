from __future__ import annotations

import inspect
import re

import pytest

from asgi_llmgw import refrain
from asgi_llmgw.refrain import Refrain

FRAME = b'data: {"id":"a","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
NUMBERED = b'data: {"type":"d","sequence_number":%d,"delta":"%b","obfuscation":"%b"}\n\n'


def taught(text: str = "Hello", frame: bytes = FRAME) -> Refrain:
    refrain = Refrain()
    refrain.learn(frame.replace(b"%b", text.encode(), 1), text)
    return refrain


def heard(refrain: Refrain, frames: bytes) -> tuple[int, list[str]]:
    """How many bytes come again, and their texts."""
    taken, texts, _ = refrain.again(frames)
    return taken, texts


def test_frames_that_differ_in_their_text_alone_are_heard_again() -> None:
    chunk = FRAME % b" world" + FRAME % b"" + FRAME % b"!"
    assert heard(taught(), chunk) == (len(chunk), [" world", "", "!"])
    assert heard(taught(), FRAME % b" world") == (len(FRAME % b" world"), [" world"])


def test_what_is_passed_on_keeps_the_texts_as_they_are_written() -> None:
    asked: list[bytes] = []

    def without_end(frames: bytes) -> bytes:
        asked.append(frames)
        return frames.replace(b',"finish_reason":null', b"")

    refrain = Refrain(without_end)
    refrain.learn(FRAME % b"Hello", "Hello")
    for chunk in (FRAME % b"\\u00e9", FRAME % b"\\u00e9" + FRAME % b"" + FRAME % b"!"):
        assert refrain.again(chunk)[2] == chunk.replace(b',"finish_reason":null', b"")
    before, after = asked
    assert before + b"Hello" + after == FRAME % b"Hello"


def test_what_is_passed_on_of_frames_that_differ_unread_is_told_too() -> None:
    refrain = Refrain(lambda frames: frames.replace(b'"type":"d",', b""))
    refrain.learn(NUMBERED % (7, b"Hello", b"xY1"), "Hello")
    chunk = NUMBERED % (8, b"you", b"") + NUMBERED % (9, b"there", b"")
    assert refrain.again(chunk) == (len(chunk), ["you", "there"], chunk.replace(b'"type":"d",', b""))


def test_texts_are_read_and_not_taken_as_they_are_written() -> None:
    chunk = FRAME % "né🦊".encode() + FRAME % b'\\n\\"\\\\n' + FRAME % b"\\u00e9"
    assert heard(taught(), chunk) == (len(chunk), ["né🦊", '\n"\\n', "é"])
    assert heard(taught(), FRAME % b"\\ud83e\\udd8a") == (len(FRAME % b"\\ud83e\\udd8a"), ["🦊"])


def test_a_text_longer_than_its_frame_is_heard_too() -> None:
    frame = FRAME % (b"long " * 1000)
    assert heard(taught(), frame) == (len(frame), ["long " * 1000])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(FRAME.replace(b"null", b'"stop"') % b"x", id="another end"),
        pytest.param(FRAME.replace(b'"index"', b'"error":{},"index"') % b"x", id="another beginning"),
        pytest.param(FRAME % b'x","refusal":"no', id="a member more"),
        pytest.param(FRAME % b'x","no', id="a string more"),
        pytest.param(FRAME.replace(b'"%b"', b'"'), id="half a string"),
        pytest.param(FRAME % b"\\ud800", id="half a character"),
        pytest.param(FRAME % b"\\x", id="not JSON"),
        pytest.param(FRAME % b"a\nb", id="a line end"),
        pytest.param((FRAME % b"cut")[:-1], id="not whole yet"),
        pytest.param(b": comment\n\n", id="a comment"),
    ],
)
def test_any_other_frame_is_left_to_the_parser(other: bytes) -> None:
    same = FRAME % b"same"
    assert heard(taught(), same + other) == (len(same), ["same"])
    assert heard(taught(), other) == (0, [])


def test_bytes_that_are_no_text_are_left_to_the_parser() -> None:
    assert heard(taught(), FRAME % b"\xff") == (0, [])
    assert heard(taught(), FRAME % b"a" + FRAME % b"\xff") == (0, [])


def test_numbers_and_random_letters_may_differ() -> None:
    refrain = Refrain()
    refrain.learn(NUMBERED % (7, b"Hello", b"xY1"), "Hello")
    chunk = NUMBERED % (9, b"you", b"Z") + NUMBERED % (10, b"there", b"")
    assert heard(refrain, chunk) == (len(chunk), ["you", "there"])
    assert heard(refrain, NUMBERED % (11, b"!", b"")) == (len(NUMBERED % (11, b"!", b"")), ["!"])
    assert heard(refrain, NUMBERED % (7, b"you", b"no letters!")) == (0, [])
    assert heard(refrain, (NUMBERED % (7, b"you", b"")).replace(b"7", b"07")) == (0, [])


def test_blanks_before_the_last_brace_may_differ() -> None:
    close, wide = FRAME.replace(b"]}", b"]}}"), FRAME.replace(b"]}", b"]}   }")
    chunk = close % b"a" + wide % b"b"
    assert heard(taught(frame=close), chunk) == heard(taught(frame=wide), chunk) == (len(chunk), ["a", "b"])


def test_arguments_are_learnt_although_they_are_written_with_escapes() -> None:
    refrain = Refrain()
    refrain.learn(FRAME % b'{\\"a\\":', '{"a":')
    assert heard(refrain, FRAME % b"1}") == (len(FRAME % b"1}"), ["1}"])


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        pytest.param(FRAME % b"a", "a", id="in two places"),
        pytest.param(FRAME % b"content", "content", id="the name of a member"),
        pytest.param(FRAME % b"x", "y", id="not there"),
        pytest.param(FRAME.replace(b"{", b'{"b":"\\u0061",', 1) % b"x", "x", id="escapes elsewhere"),
        pytest.param(FRAME.replace(b"{", b'{"b":"\xc3\xa9",', 1) % b"x", "x", id="not ASCII elsewhere"),
        pytest.param(FRAME.replace(b"{", b'{"content":"","b":[],', 1) % b"x", "x", id="the member twice"),
        pytest.param(b'data: {"delta":["x"]}\n\n', "x", id="no member"),
    ],
)
def test_a_text_whose_place_is_not_certain_is_not_learnt(frame: bytes, text: str) -> None:
    refrain = Refrain()
    refrain.learn(frame, text)
    assert heard(refrain, frame) == (0, [])


def test_a_stream_of_unlike_frames_is_given_up() -> None:
    refrain = Refrain()
    for _ in range(20):
        assert refrain.learns
        refrain.lost()
    for _ in range(8):
        assert refrain.learns
        refrain.missed()
    assert not refrain.learns


def test_a_stream_whose_frames_come_again_is_not_given_up() -> None:
    refrain = Refrain()
    for _ in range(20):
        refrain.learn(FRAME % b"Hello", "Hello")
        assert refrain.again(FRAME % b"you")[0]
    for _ in range(20):
        for _ in range(3):
            refrain.missed()
        refrain.learn(FRAME % b"Hello", "Hello")
        assert refrain.again(FRAME % b"one" + FRAME % b"two" + FRAME % b"three" + FRAME % b"four")[0]
    assert refrain.learns


def test_no_group_is_repeated_possessively() -> None:
    """Debian's Python 3.11.2 forgets the groups in it; where these tests run it may be mended."""
    assert re.search(r"\)[*+?]\+", inspect.getsource(refrain)) is None
