"""The laws every codec keeps, on recorded traffic, on generated values and on junk."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest, UpstreamError
from asgi_llmgw.json import JSONValue, dumps, loads, loads_object, members
from asgi_llmgw.protocols import PROTOCOLS, SERVED, Profile, RequestHead, StreamContext, codec
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from asgi_llmgw.translate import StreamTranslator
from tests.strategies import JSON, OBJECT, plain_requests, plain_responses, tellings
from tests.taps import UsageTap
from tests.wire import Recording, needs_wire, recordings

FOLDERS: dict[ir.Protocol, tuple[str, ...]] = {
    "openai_chat": ("openai_chat", "openai_compat"),
    "openai_responses": ("openai_responses", "openai_compat_responses"),
    "anthropic_messages": ("anthropic_messages",),
    "gemini_generate": ("gemini_generate",),
}
PATHS: dict[ir.Protocol, str] = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
    "gemini_generate": "/v1beta/models/gemini-2.5-flash:generateContent",
}
CONTEXT = StreamContext(include_usage=True, clock=lambda: 1_700_000_000.0, new_id=lambda prefix: f"{prefix}1")
EVERY = pytest.mark.parametrize("protocol", PROTOCOLS)
EVERY_SERVED = pytest.mark.parametrize("protocol", SERVED)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _recorded(*, stream: bool) -> list[object]:
    return [
        pytest.param(protocol, recording, id=recording.id)
        for protocol, folders in FOLDERS.items()
        for recording in recordings(*folders)
        if (recording.stream if stream else recording.response) is not None
    ]


EVERY_STREAM = pytest.mark.parametrize(("protocol", "recording"), _recorded(stream=True))
EVERY_ANSWER = pytest.mark.parametrize(("protocol", "recording"), _recorded(stream=False))


def frames_of(*chunks: bytes) -> list[ServerSentEvent]:
    decoder = SSEDecoder()
    return [frame for chunk in chunks for frame in decoder.feed(chunk)] + list(decoder.close())


def events_of(protocol: ir.Protocol, frames: list[ServerSentEvent]) -> list[ir.StreamEvent]:
    decoder = codec(protocol).stream_decoder()
    return [event for frame in frames for event in decoder.feed(frame)] + list(decoder.close())


def told(events: list[ir.StreamEvent]) -> list[object]:
    """The events in a form that can be compared: two equal exceptions are not equal."""
    return [
        (event.error.message, event.error.kind, event.error.failure) if isinstance(event, ir.StreamFault) else event
        for event in events
    ]


def cuts(text: bytes, wanted: int) -> list[int]:
    """Evenly spaced, and all that fall inside a character of several bytes."""
    even = range(0, len(text) + 1, max(1, len(text) // wanted))
    inside = (at for at, byte in enumerate(text) if byte & 0xC0 == 0x80)
    return sorted({*even, *inside}) if len(text) < 64_000 else list(even)


@needs_wire
@EVERY_STREAM
def test_a_recorded_stream_has_the_same_frames_wherever_it_is_cut(protocol: ir.Protocol, recording: Recording) -> None:
    """Law 1 F141 F142: every two-way cut of streams under 16 kB, and some 200 of longer ones.

    After an event a decoder remembers nothing, so a cut is tried on the event it falls into and the one after.
    """
    text = recording.stream or b""
    newline = b"\r\n" if b"\r\n" in text else b"\n"
    events = [event + newline * 2 for event in text.split(newline * 2)]
    for event, after in pairwise(events):
        expected = frames_of(event, after)
        both = event + after
        for cut in range(len(event)) if len(text) < 16_384 else cuts(event, 1 + 200 // len(events)):
            assert frames_of(both[:cut], both[cut:]) == expected, cut


@needs_wire
@EVERY_STREAM
def test_a_recorded_stream_tells_the_same_whole_and_byte_by_byte(protocol: ir.Protocol, recording: Recording) -> None:
    """Law 1 F142"""
    stream = recording.stream or b""
    expected = told(events_of(protocol, frames_of(stream)))
    assert told(events_of(protocol, frames_of(*(stream[at : at + 1] for at in range(len(stream)))))) == expected
    for cut in cuts(stream, 4)[:20]:
        assert told(events_of(protocol, frames_of(stream[:cut], stream[cut:]))) == expected


@needs_wire
@EVERY_STREAM
def test_a_recorded_stream_keeps_the_grammar_wherever_it_ends(protocol: ir.Protocol, recording: Recording) -> None:
    """Law 4 F148 F149 F164: whole, and cut off at some two hundred places and inside every character."""
    stream = recording.stream or b""
    ends = cuts(stream, 200)
    frames, decoder, events, read = SSEDecoder(), codec(protocol).stream_decoder(), list[ir.StreamEvent](), 0
    for end in ends:
        for frame in frames.feed(stream[read:end]):
            events += decoder.feed(frame)
        read = end
        last, fork = copy.deepcopy((frames, decoder))
        rest = [event for frame in last.close() for event in fork.feed(frame)]
        whole = list(ir.check_stream([*events, *rest, *fork.close()]))
        assert isinstance(whole[-1], ir.StreamFault | ir.ResponseEnd)


@needs_wire
@EVERY_STREAM
def test_a_stream_that_ends_before_its_finish_is_a_fault(protocol: ir.Protocol, recording: Recording) -> None:
    """F149: never a made-up stop. All but the first frame is missing."""
    first, *rest = frames_of(recording.stream or b"")
    events = events_of(protocol, [first])
    if rest and not any(isinstance(event, ir.ChoiceEnd) for event in events[:-1]):
        assert isinstance(events[-1], ir.StreamFault)
        assert events[-1].error.failure == "invalid_response"


@needs_wire
@EVERY_ANSWER
def test_a_recorded_answer_told_as_a_stream_is_the_same_answer(protocol: ir.Protocol, recording: Recording) -> None:
    """Law 5"""
    try:
        answer = codec(protocol).decode_response(recording.response or b"")
    except UpstreamError as error:
        assert error.message
        return
    assert ir.accumulate(ir.check_stream(ir.explode(answer))) == answer


@needs_wire
@EVERY
def test_renaming_the_model_of_a_recorded_request_changes_nothing_else(
    protocol: ir.Protocol, report: Callable[[str, int], None]
) -> None:
    """Law 6: the model it has already keeps every byte, another one keeps the bytes of every other value.

    A request without a model, which names a stored prompt instead, is refused elsewhere.
    """
    subject, count = codec(protocol), 0
    for recording in recordings(protocol):
        if recording.request is not None and b'"prompt":{"id"' not in recording.request.replace(b" ", b""):
            head = subject.peek(recording.path, recording.request)
            assert subject.with_model(recording.path, recording.request, head.model).body == recording.request
            renamed = subject.with_model(recording.path, recording.request, "another/model")
            assert subject.peek(renamed.path, renamed.body) == RequestHead("another/model", head.stream)
            before, after = members(recording.request), members(renamed.body)
            assert [(name, bytes(raw)) for name, raw in before.items() if name != "model"] == [
                (name, bytes(raw)) for name, raw in after.items() if name != "model"
            ]
            count += 1
    least = {"openai_chat": 37, "openai_responses": 58, "anthropic_messages": 60, "gemini_generate": 59}
    assert count >= least[protocol]
    report(f"{protocol} requests renamed", count)


@EVERY_SERVED
@given(response=plain_responses())
@QUICK
def test_an_answer_survives_its_encoding(protocol: ir.Protocol, response: ir.ChatResponse) -> None:
    """Law 3"""
    encoded = codec(protocol).encode_response(response, context=CONTEXT)
    assert encoded.diagnostics == ()
    assert plain(codec(protocol).decode_response(encoded.body)) == plain(response)


@EVERY_SERVED
@given(data=st.data(), response=plain_responses())
@QUICK
def test_however_an_answer_is_told_its_stream_says_the_same(
    protocol: ir.Protocol, data: st.DataObject, response: ir.ChatResponse
) -> None:
    """Laws 2 3 8: parts interleaved at will, through the encoder and the decoder, agree with the whole answer."""
    encoder = codec(protocol).stream_encoder(CONTEXT)
    frames = [frame for event in data.draw(tellings(response)) for frame in encoder.feed(event)] + list(encoder.close())
    newline = codec(protocol).frame_newline
    again = frames_of(*(frame.encode(newline) for frame in frames))
    whole = ir.accumulate(ir.check_stream(events_of(protocol, again)))
    body = codec(protocol).encode_response(response, context=CONTEXT).body
    assert plain(whole) == plain(codec(protocol).decode_response(body))


def plain(response: ir.ChatResponse) -> ir.ChatResponse:
    """Without the vendor's own words for the same things. Text is one piece and first: not every wire has an order.

    Of the usage the two sums: Responses must tell a number for each share of them, known or not. Without the time,
    which Messages does not tell.
    """
    usage = response.usage and ir.Usage(response.usage.input_tokens, response.usage.output_tokens)
    choices = []
    for choice in response.choices:
        text = "".join(part.text for part in choice.parts if isinstance(part, ir.TextPart))
        rest = [part for part in choice.parts if not isinstance(part, ir.TextPart)]
        parts = (ir.TextPart(text), *rest)
        choices.append(msgspec.structs.replace(choice, parts=parts, finish=ir.FinishReason(choice.finish.kind)))
    return msgspec.structs.replace(response, choices=tuple(choices), usage=usage, created=None)


@EVERY_SERVED
@given(request=plain_requests())
@QUICK
def test_a_request_survives_its_encoding(protocol: ir.Protocol, request: ir.ChatRequest) -> None:
    """Law 3"""
    encoded = codec(protocol).encode_request(request, profile=Profile())
    assert encoded.diagnostics == ()
    again = codec(protocol).decode_request(encoded.path, encoded.body)
    expected = msgspec.structs.replace(request, include_usage=again.include_usage)
    assert again == expected


@EVERY
@given(request=plain_requests())
@QUICK
def test_a_plain_request_can_be_sent_to_every_vendor(protocol: ir.Protocol, request: ir.ChatRequest) -> None:
    """Law 3: nothing a user would notice is lost, and head and body agree."""
    encoded = codec(protocol).encode_request(request, profile=Profile())
    assert [item for item in encoded.diagnostics if item.severity != "info"] == []
    head = codec(protocol).peek(encoded.path, encoded.body)
    assert (head.model, head.stream) == (request.model, request.stream)
    loads_object(encoded.body)


@EVERY
@given(body=st.binary(max_size=200) | OBJECT.map(dumps) | JSON.map(dumps), path=st.text(max_size=30))
@QUICK
def test_junk_raises_only_our_errors(protocol: ir.Protocol, body: bytes, path: str) -> None:
    """Law 7 F130"""
    junk_in(protocol, path, body)
    junk_in(protocol, PATHS[protocol], body)


def junk_in(protocol: ir.Protocol, path: str, body: bytes) -> None:
    """Feed it to everything that reads; only our errors may come out, from the right side."""
    subject = codec(protocol)
    for read in (subject.peek, subject.decode_request):
        try:
            read(path, body)
        except InvalidRequest as error:
            assert error.message
    try:
        subject.with_model(path, body, "m")
    except InvalidRequest as error:
        assert error.message
    try:
        subject.decode_response(body)
    except UpstreamError as error:
        assert error.message
    for status in (200, 400, 401, 429, 500, 529, 999):
        assert len(dumps(subject.decode_error(status, body).message)) < 8_000


@EVERY
@given(
    frames=st.lists(st.binary(max_size=60) | JSON.map(dumps) | st.just(b"[DONE]"), max_size=5), name=st.text(max_size=5)
)
@QUICK
def test_junk_in_a_stream_ends_it_in_order(protocol: ir.Protocol, frames: list[bytes], name: str) -> None:
    """Law 7 F162 F163 F164"""
    events = events_of(protocol, [ServerSentEvent(frame, name) for frame in frames])
    assert list(ir.check_stream(events)) == events


@st.composite
def mutations(draw: st.DrawFn, value: JSONValue) -> JSONValue:
    """The value with one thing in it exchanged, dropped or repeated."""
    match value:
        case dict() if value and draw(st.booleans() | st.just(True)) is True:
            key = draw(st.sampled_from(sorted(value)))
            if not draw(st.integers(0, 5)):
                return {name: item for name, item in value.items() if name != key}
            return {**value, key: draw(mutations(value[key]))}
        case list() if value and draw(st.booleans() | st.just(True)) is True:
            at = draw(st.integers(0, len(value) - 1))
            if not draw(st.integers(0, 5)):
                return [*value, *value[at:]]
            return [*value[:at], draw(mutations(value[at])), *value[at + 1 :]]
        case _:
            return draw(JSON)


@cache
def samples(protocol: ir.Protocol) -> tuple[list[JSONValue], list[list[ServerSentEvent]], list[JSONValue]]:
    """Answers, the shorter streams, and requests."""
    found = recordings(*FOLDERS[protocol])
    answers = [loads(recording.response) for recording in found if recording.response]
    streams = [frames_of(recording.stream) for recording in found if recording.stream and len(recording.stream) < 8_000]
    return answers, streams, [loads(recording.request) for recording in found if recording.request]


@needs_wire
@EVERY
@given(data=st.data())
@QUICK
def test_recorded_bodies_with_something_exchanged_raise_only_our_errors(
    protocol: ir.Protocol, data: st.DataObject
) -> None:
    """Law 7 F050 F130 F140"""
    answers, _, requests = samples(protocol)
    for bodies in (answers, requests):
        junk_in(protocol, PATHS[protocol], dumps(data.draw(mutations(data.draw(st.sampled_from(bodies))))))


@needs_wire
@EVERY
@given(data=st.data())
@QUICK
def test_recorded_streams_with_something_exchanged_keep_the_grammar(protocol: ir.Protocol, data: st.DataObject) -> None:
    """Laws 4 7 F147 F151 F152 F154 F155 F156 F164: frames lost, repeated, swapped, and changed inside."""
    _, streams, _ = samples(protocol)
    frames = list(data.draw(st.sampled_from(streams)))
    at, other = (data.draw(st.integers(0, len(frames) - 1)) for _ in range(2))
    match data.draw(st.sampled_from(["lose", "repeat", "swap", "change"])):
        case "lose":
            del frames[at]
        case "repeat":
            frames.insert(other, frames[at])
        case "swap":
            frames[at], frames[other] = frames[other], frames[at]
        case _:
            if frames[at].data.startswith(b"{"):
                changed = data.draw(mutations(loads_object(frames[at].data)))
                frames[at] = ServerSentEvent(dumps(changed), frames[at].event)
    events = events_of(protocol, frames)
    assert list(ir.check_stream(events)) == events


@EVERY
@given(chunks=st.lists(st.binary(max_size=40) | st.sampled_from([b"data: {}\n\n", b"data: [DONE]\n\n"]), max_size=6))
@QUICK
def test_the_translator_and_the_tap_never_raise_for_what_an_upstream_sent(
    protocol: ir.Protocol, chunks: list[bytes]
) -> None:
    """Law 7"""
    translator, tap = StreamTranslator(source=protocol, target="openai_chat"), UsageTap(protocol)
    out = b""
    for chunk in chunks:
        out += translator.feed(chunk)
        tap.feed(chunk)
    out += translator.close()
    tap.close()
    assert (translator.fault is None) == (tap.fault is None)
    assert out.endswith(b"data: [DONE]\n\n") is (translator.fault is None)


@EVERY
def test_a_stream_has_one_fault_however_much_follows_it(protocol: ir.Protocol) -> None:
    """F145: what comes after a fault is thrown away; the client is told once, and the first fault stays."""
    translator, tap = StreamTranslator(source=protocol, target="openai_chat"), UsageTap(protocol)
    out = translator.feed(b"data: {broken\n\n")
    tap.feed(b"data: {broken\n\n")
    first, seen = translator.fault, tap.fault
    for _ in range(17):
        out += translator.feed(b"x" * (1 << 20))
        tap.feed(b"x" * (1 << 20))
    out += translator.close()
    tap.close()
    assert first is not None and translator.fault is first
    assert seen is not None and tap.fault is seen
    assert out.count(b'"error"') == 1


@needs_wire
@pytest.mark.parametrize(
    ("protocol", "terminator"),
    [
        ("openai_chat", b"data: [DONE]\n\n"),
        ("anthropic_messages", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    ],
)
def test_what_follows_a_whole_stream_does_not_break_it(protocol: ir.Protocol, terminator: bytes) -> None:
    """F145 F149 F151"""
    stream = next(recording.stream for recording in recordings(protocol) if recording.stream)
    translator, tap = StreamTranslator(source=protocol, target="openai_chat"), UsageTap(protocol)
    out = b""
    for chunk in (stream, terminator, *(b"x" * (1 << 20),) * 17):
        out += translator.feed(chunk)
        tap.feed(chunk)
    out += translator.close()
    tap.close()
    assert (translator.fault, tap.fault) == (None, None)
    assert (translator.ended, tap.ended) == (True, True)
    assert out.endswith(b"data: [DONE]\n\n") and out.count(b"[DONE]") == 1
