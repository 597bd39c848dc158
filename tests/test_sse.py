"""Server-sent events on bytes, however they are cut."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder as OpenAIDecoder

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.passthrough import PassThrough
from asgi_llmgw.sse import Comment, ServerSentEvent, SSEDecoder, WholeFrames, each_frame

Event = ServerSentEvent


def decode(chunks: Iterable[bytes], *, max_event: int = 1 << 20) -> list[ServerSentEvent]:
    decoder = SSEDecoder(max_event=max_event)
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + list(decoder.close())


def whole(data: bytes) -> list[ServerSentEvent]:
    return decode([data])


def test_several_data_lines_are_one_event() -> None:
    """The first example of the standard."""
    assert whole(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [Event(b"YHOO\n+2\n10")]


def test_comments_ids_and_a_leading_space_are_as_in_the_standard() -> None:
    """F143: the second example of the standard."""
    text = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
    assert whole(text) == [Event(b"first event"), Event(b"second event"), Event(b" third event")]


def test_empty_data_fields_are_events() -> None:
    """F143: the third example of the standard; the last event is not closed, and delivered all the same."""
    assert whole(b"data\n\ndata\ndata\n\ndata:") == [Event(b""), Event(b"\n"), Event(b"")]


def test_a_space_after_the_colon_is_not_data() -> None:
    """F143: the fourth example of the standard."""
    assert whole(b"data:test\n\ndata: test\n\n") == [Event(b"test"), Event(b"test")]


def test_the_name_of_an_event_ends_with_it() -> None:
    assert whole(b"event: add\ndata: 1\n\ndata: 2\n\nevent: a\nevent: b\n\ndata: 3\nevent: c\n\n") == [
        Event(b"1", "add"),
        Event(b"2"),
        Event(b"3", "c"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b": ping", id="comment"),
        pytest.param(b":", id="empty comment"),
        pytest.param(b"id: 7", id="id"),
        pytest.param(b"retry: 1000", id="retry"),
        pytest.param(b"unknown: field", id="unknown"),
        pytest.param(b"dat: almost", id="almost data"),
        pytest.param(b" data: indented", id="indented"),
        pytest.param(b"data : spaced", id="spaced"),
        pytest.param(b"Data: upper case", id="upper case"),
        pytest.param(b"\xff\xfe", id="not text"),
    ],
)
def test_other_lines_change_nothing(line: bytes) -> None:
    """F143"""
    assert whole(b"data: a\n" + line + b"\ndata: b\n\n" + line + b"\n\ndata: c\n\n") == [Event(b"a\nb"), Event(b"c")]


def test_a_byte_order_mark_is_skipped_once() -> None:
    """F143"""
    assert whole(b"\xef\xbb\xbfdata: a\n\n") == [Event(b"a")]
    assert whole(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n") == []
    assert whole(b"\ndata: \xef\xbb\xbfa\n\n") == [Event(b"\xef\xbb\xbfa")]


SEPARATORS = {
    "U+2028": "\u2028",
    "U+2029": "\u2029",
    "U+0085": "\x85",
    "VT": "\v",
    "FF": "\f",
    "FS": "\x1c",
    "GS": "\x1d",
}


@pytest.mark.parametrize("separator", [pytest.param(text, id=name) for name, text in SEPARATORS.items()])
def test_what_only_looks_like_a_line_end_is_text(separator: str) -> None:
    """F144"""
    text = f'{{"a":"x{separator}y"}}'.encode()
    assert whole(b"data: " + text + b"\n\n") == [Event(text)]


MIXED = (
    '\ufeff: hello\r\n\r\nevent: a\rdata: 1\r\rdata: {"x":"é😀\u2028"}\ndata:2\r\n\n'
    "id\r\ndata\n\r\n\rdata: [DONE]\r\n\r\nevent: b\ndata: last"
).encode()
EXPECTED = [Event(b"1", "a"), Event('{"x":"é😀\u2028"}\n2'.encode()), Event(b""), Event(b"[DONE]"), Event(b"last", "b")]


@pytest.mark.parametrize("newline", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_all_three_line_ends_mean_the_same(newline: bytes) -> None:
    """F141"""
    text = b"event: a\ndata: 1\ndata: 2\n\n: c\n\ndata: 3\n\n\n\ndata: 4".replace(b"\n", newline)
    expected = [Event(b"1\n2", "a"), Event(b"3"), Event(b"4")]
    for cut in range(len(text) + 1):
        assert decode([text[:cut], text[cut:]]) == expected


def test_mixed_line_ends_cut_at_every_byte_give_the_same_events() -> None:
    """F141 F142"""
    assert whole(MIXED) == EXPECTED
    for cut in range(len(MIXED) + 1):
        assert decode([MIXED[:cut], b"", MIXED[cut:]]) == EXPECTED, cut


def test_byte_by_byte_gives_the_same_events() -> None:
    """F142"""
    assert decode(bytes([byte]) for byte in MIXED) == EXPECTED


@given(
    st.lists(st.sampled_from([b"data: a", b"data", b"event: e", b":c", b"", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf"]))
)
def test_any_text_is_the_same_in_one_piece_and_in_bytes(pieces: list[bytes]) -> None:
    """F141 F142"""
    text = b"".join(pieces)
    assert decode(bytes([byte]) for byte in text) == whole(text)


BLOCKS = (b"data: a", b"data: b\ndata: c", b"event: x\ndata: 1", b"event: x\ndata:2", b"event: y\ndata: 3")
ODD_BLOCKS = (
    b"event: x",
    b": c",
    b"",
    b"event: x\nid: 4\ndata: 4",
    b"\ndata: 5",
    b"data: \xff",
    b"event: \xff\ndata: 6",
)


@given(
    st.lists(st.tuples(st.sampled_from(BLOCKS * 2 + ODD_BLOCKS), st.sampled_from((b"\n", b"\n", b"\r\n", b"\r")))),
    st.lists(st.integers(0, 200)),
)
def test_events_are_the_same_in_pieces_and_in_bytes(blocks: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    """F141 F142: runs of events with one name, changes of name, and what comes between them."""
    text = b"".join((block + b"\n\n").replace(b"\n", newline) for block, newline in blocks)
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    assert decode(pieces) == decode(bytes([byte]) for byte in text)


@given(
    st.lists(
        st.sampled_from(["data: a", "data:b", "data", "event: e", "event", ": c", "id: 1", "x", "", "", "data: é"])
    )
)
def test_another_decoder_sees_the_same_events(lines: list[str]) -> None:
    other = OpenAIDecoder()
    theirs = [event for event in map(other.decode, [*lines, ""]) if event is not None and event.data]
    ours = [event for event in whole("\n".join([*lines, "", ""]).encode()) if event.data]
    assert [(event.data.decode(), event.event or None) for event in ours] == [(e.data, e.event or None) for e in theirs]


def test_an_event_is_told_with_the_byte_that_ends_it() -> None:
    decoder = SSEDecoder()
    assert list(decoder.feed(b"data: a\n")) == []
    assert list(decoder.feed(b"\n")) == [Event(b"a")]


def test_an_event_that_ends_in_cr_waits_for_no_more_than_one_byte() -> None:
    """F141: a CR at the end of a chunk may be half of a CRLF, so the next byte decides."""
    decoder = SSEDecoder()
    assert list(decoder.feed(b"data: a\r\r")) == []
    assert list(decoder.feed(b"d")) == [Event(b"a")]


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b"x" * 1024, id="endless line"),
        pytest.param(b"data: " + b"x" * 1000 + b"\n", id="endless data lines"),
        pytest.param(b"data\n", id="endless empty data lines"),
        pytest.param(b"data: a\r", id="endless CR lines"),
    ],
)
def test_an_endless_event_is_refused(chunk: bytes) -> None:
    """F145, F7: the limit is set by whoever makes the decoder."""
    decoder = SSEDecoder(max_event=64 * 1024)
    with pytest.raises(InvalidUpstreamResponse) as caught:
        for _ in range(64 * 1024 + 1):
            assert list(decoder.feed(chunk)) == []
    assert caught.value.failure == "invalid_response"


def test_one_event_over_the_limit_is_refused_in_a_single_chunk_too() -> None:
    """F145"""
    with pytest.raises(InvalidUpstreamResponse):
        decode([b"data: " + b"x" * 101 + b"\n\n"], max_event=100)


def test_the_limit_is_for_one_event_and_not_for_a_chunk_or_a_stream() -> None:
    """F145"""
    text = b"data: 0123456789\n\n"
    assert len(decode([text * 100, text * 100], max_event=50)) == 200


def test_one_byte_chunks_take_linear_time() -> None:
    """F142, F5: an event is handed on once, when it is whole, so nobody reads its JSON twice."""

    def seconds(size: int) -> float:
        text = b"data: " + b"x" * size + b"\n\n"
        started = time.perf_counter()
        assert len(decode((text[at : at + 1] for at in range(len(text))), max_event=1 << 24)) == 1
        return time.perf_counter() - started

    assert seconds(400_000) < 40 * max(seconds(40_000), 0.001)


def test_an_event_is_written_as_it_is_read() -> None:
    event = Event(b'{"a":1}', "message_start")
    assert event.encode() == b'event: message_start\ndata: {"a":1}\n\n'
    assert event.encode(b"\r\n") == b'event: message_start\r\ndata: {"a":1}\r\n\r\n'
    assert Event(b"[DONE]").encode() == b"data: [DONE]\n\n"


@given(st.binary().filter(lambda data: b"\r" not in data and b"\xe2\x80" not in data and b"\xc2\x85" not in data))
def test_what_is_written_is_read_again(data: bytes) -> None:
    for newline in (b"\n", b"\r\n", b"\r"):
        assert whole(Event(data, "a").encode(newline)) == [Event(data, "a")]


def test_line_separators_are_written_as_json_escapes() -> None:
    """F144"""
    event = Event('{"a":"x\u2028y\u2029z\x85\u2026ü"}'.encode())
    assert event.encode() == 'data: {"a":"x\\u2028y\\u2029z\\u0085\u2026ü"}\n\n'.encode()


def test_a_comment_is_no_event() -> None:
    assert Comment("keep-alive").encode() == b": keep-alive\n\n"
    assert whole(Comment("keep-alive").encode() + b"data: a\n\n") == [Event(b"a")]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_frames_go_on_whole_however_they_come(newline: bytes) -> None:
    """F141, F142: at every cut, and byte by byte."""
    frames = [b"data: 1" + newline * 2, b"event: e" + newline + b"data: 2" + newline * 2]
    stream = b"".join(frames) + b"data: 3"
    for pieces in (
        *((stream[:cut], stream[cut:]) for cut in range(len(stream))),
        tuple(bytes([byte]) for byte in stream),
    ):
        whole = WholeFrames()
        outs = [whole.feed(piece) for piece in pieces]
        assert b"".join(outs) == b"".join(frames)
        assert all(out.endswith(newline * 2) for out in outs if out)
        assert whole and whole.close() == b"data: 3" and not whole


@pytest.mark.timeout(30)
@pytest.mark.parametrize("protocol", ["openai_chat", "openai_responses"])
def test_a_large_frame_in_small_pieces_takes_little_time(protocol: ir.Protocol) -> None:
    """F145: a picture inside an event; work that grows with the square would take minutes."""
    passing, piece, count = PassThrough(protocol), b"x" * 200, 30_000
    assert passing.forward(b'data: {"type":"') == b""
    assert {passing.forward(piece) for _ in range(count)} == {b""}
    out = passing.forward(b'"}\n\n')
    assert len(out) == count * len(piece) + len(b'data: {"type":"' + b'"}\n\n')


def test_frames_are_told_apart_by_their_blank_lines() -> None:
    frames = [b"data: 1\n\n", b"data: 2\r\n\r\n", b"data: 3\ndata: 4\n\n", b": 5"]
    assert [*each_frame(b"".join(frames))] == frames
    assert [*each_frame(b"".join(frames[:-1]))] == frames[:-1]


def test_a_frame_without_an_end_is_not_held_for_ever() -> None:
    whole = WholeFrames(max_event=10)
    with pytest.raises(InvalidUpstreamResponse):
        whole.feed(b"data: 12345")
    assert not whole


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"data: 1"], id="data"),
        pytest.param([b"event: a", b"data: 1"], id="a name"),
        pytest.param([b"event: ", b"data: 1"], id="an empty name"),
        pytest.param([b"event:  \xff", b"data:  1"], id="a name that is no text"),
        pytest.param([b"event:a", b"data:1"], id="no blanks"),
        pytest.param([b"\xef\xbb\xbfdata: 1"], id="a byte order mark"),
        pytest.param([b"data: 1", b"event: a"], id="a name behind"),
        pytest.param([b"data: 1", b"data: 2"], id="two lines"),
        pytest.param([b"data: "], id="nothing"),
        pytest.param([b": comment"], id="a comment"),
        pytest.param([b"event: a"], id="no data"),
        pytest.param([b"data: 1", b"", b"data: 2"], id="two events"),
    ],
)
def test_one_frame_is_read_as_a_chunk_is(lines: list[bytes], newline: bytes) -> None:
    frame = newline.join([*lines, b"", b""])
    after = newline.join([b"data: 3", b"", b""])
    by_chunk, by_frame = SSEDecoder(), SSEDecoder()
    told = [by_chunk.feed(chunk) for chunk in (frame, frame, after)]
    assert [by_frame.feed_frame(chunk, newline * 2) for chunk in (frame, frame, after)] == told


def test_a_byte_order_mark_before_the_first_frame_is_no_part_of_it() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"\xef") == decoder.feed(b"\xbb") == []
    assert decoder.feed_frame(b"\xbfdata: 1\n\n", b"\n\n") == [ServerSentEvent(b"1")]


def test_a_frame_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidUpstreamResponse):
        SSEDecoder(max_event=8).feed_frame(b"data: 123456789\n\n", b"\n\n")
