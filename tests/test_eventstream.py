"""Amazon's event stream, read."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.errors import InvalidUpstreamResponse
from asgi_llmgw.eventstream import EventStreamFramer, EventStreamMessage, HeaderValue
from tests.amazon import exception, header, message

HEADERS = (
    header("yes", b"", 0),
    header("no", b"", 1),
    header("byte", struct.pack("!b", -2), 2),
    header("short", struct.pack("!h", -300), 3),
    header("int", struct.pack("!i", 70_000), 4),
    header("long", struct.pack("!q", -(2**40)), 5),
    header("bytes", b"\0\xff", 6),
    header("text", "grün".encode()),
    header("time", struct.pack("!q", 1_700_000_000_000), 8),
    header("uuid", bytes(range(16)), 9),
)
VALUES: dict[str, HeaderValue] = {
    "yes": True,
    "no": False,
    "byte": -2,
    "short": -300,
    "int": 70_000,
    "long": -(2**40),
    "bytes": b"\0\xff",
    "text": "grün",
    "time": 1_700_000_000_000,
    "uuid": bytes(range(16)),
}
STREAM = message(b'{"a":1}', *HEADERS) + message() + exception("throttlingException", "slow") + message(b"x" * 3000)


def read(*chunks: bytes) -> list[EventStreamMessage]:
    framer = EventStreamFramer()
    found = [found for chunk in chunks for found in framer.feed(chunk)]
    framer.close()
    return found


def with_checksums(prelude: bytes, rest: bytes) -> bytes:
    whole = prelude + struct.pack("!I", zlib.crc32(prelude)) + rest
    return whole + struct.pack("!I", zlib.crc32(whole))


def test_every_kind_of_header_is_read() -> None:
    assert read(STREAM)[0] == EventStreamMessage(VALUES, b'{"a":1}')
    assert read(STREAM)[2].text(":exception-type") == "throttlingException"
    assert read(STREAM)[0].text("byte") == ""


def test_the_messages_of_amazons_own_tests_are_read() -> None:
    """https://github.com/awslabs/aws-c-event-stream: an empty message, and a payload without headers."""
    empty = bytes.fromhex("0000001000000000 05c248eb 7d98c8ff")
    payload = bytes.fromhex("0000001d00000000 fd528c5a") + b"{'foo':'bar'}" + bytes.fromhex("c3653936")
    assert read(empty, payload) == [EventStreamMessage({}, b""), EventStreamMessage({}, b"{'foo':'bar'}")]


@pytest.mark.parametrize("cut", range(len(STREAM) - 3000))
def test_a_stream_may_be_cut_anywhere(cut: int) -> None:
    """F4: inside a prelude too, whose first bytes alone make no length."""
    assert read(STREAM[:cut], STREAM[cut:]) == read(STREAM)


def test_a_stream_may_come_byte_by_byte() -> None:
    """F4"""
    assert read(*(STREAM[index : index + 1] for index in range(len(STREAM)))) == read(STREAM)


@pytest.mark.parametrize("position", range(len(message(b"payload", HEADERS[7]))))
def test_a_damaged_byte_is_noticed(position: int) -> None:
    """F4: both checksums are looked at, and no length is believed before its own."""
    data = bytearray(message(b"payload", HEADERS[7]))
    data[position] ^= 0x10
    with pytest.raises(InvalidUpstreamResponse):
        read(bytes(data))


def test_a_length_that_is_no_length_is_not_waited_for() -> None:
    """F4: four bytes of something else would be gigabytes."""
    with pytest.raises(InvalidUpstreamResponse, match="prelude is damaged"):
        EventStreamFramer().feed(b"HTTP/1.1 500")


def test_a_message_may_be_large_but_not_larger() -> None:
    assert len(EventStreamFramer(max_message=100).feed(message(b"x" * 84))) == 1
    with pytest.raises(InvalidUpstreamResponse, match="more than 100 bytes"):
        EventStreamFramer(max_message=100).feed(message(b"x" * 85)[:12])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(with_checksums(struct.pack("!II", 16, 1), b""), id="headers_longer_than_the_message"),
        pytest.param(with_checksums(struct.pack("!II", 3, 0), b""), id="shorter_than_a_prelude"),
        pytest.param(message(b"", b"\x05ab"), id="a_name_that_ends_late"),
        pytest.param(message(b"", header("a", b"", 10)), id="an_unknown_kind"),
        pytest.param(message(b"", header("a", b"\0", 3)), id="half_a_number"),
        pytest.param(message(b"", header("a", b"\xff")), id="no_text"),
        pytest.param(message(b"", b"\x01a\x07\x00\x09abc"), id="a_value_that_ends_late"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidUpstreamResponse):
        read(data)


def test_an_end_inside_a_message_is_noticed() -> None:
    with pytest.raises(InvalidUpstreamResponse, match="ended inside a message"):
        read(STREAM[:-1])


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_junk_raises_our_errors_alone(chunks: list[bytes]) -> None:
    try:
        read(*chunks)
    except InvalidUpstreamResponse:
        pass
