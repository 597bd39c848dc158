"""The laws every codec keeps, on what other vendors answered, written as Amazon would have."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest
from botocore.exceptions import EventStreamError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest, UpstreamError
from asgi_llmgw.json import JSONValue, dumps, loads_object
from asgi_llmgw.protocols import PROTOCOLS, SERVED, Profile, upstream_codec, whole_frames
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from asgi_llmgw.translate import translate_response
from tests.pairs import FOLDERS, answers, events_of, folded, said, streams, translated, understood, value_of
from tests.pairs import whole as understood_by
from tests.protocols.bedrock_converse import written
from tests.protocols.bedrock_converse.shapes import check_request, read_answer, read_stream
from tests.strategies import JSON, OBJECT, plain_requests, plain_responses
from tests.taps import UsageTap
from tests.test_laws import mutations
from tests.wire import needs_wire

Report = Callable[[str, int], None]
CONVERSE = upstream_codec("bedrock_converse")
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def recorded() -> list[tuple[str, ir.ChatResponse]]:
    """Every recorded answer of every vendor, as far as Converse can say it."""
    return [
        (found.id, found.answer)
        for protocol in FOLDERS
        for found in (*streams(protocol), *answers(protocol))
        if isinstance(found.answer, ir.ChatResponse) and found.answer.choices
    ]


def events(*chunks: bytes) -> list[ir.StreamEvent]:
    """What a stream of Amazon's bytes tells, in an order that the grammar allows."""
    whole, frames, decoder = whole_frames("bedrock_converse"), SSEDecoder(), CONVERSE.stream_decoder()
    told: list[ir.StreamEvent] = []
    for chunk in (*map(whole.feed, chunks), whole.close()):
        told += [event for frame in frames.feed(chunk) for event in decoder.feed(frame)]
    told += [event for frame in frames.close() for event in decoder.feed(frame)]
    return list(ir.check_stream([*told, *decoder.close()]))


def plainly(answer: ir.ChatResponse) -> ir.ChatResponse:
    """Without the vendor's own words for the same things."""
    choices = tuple(
        msgspec.structs.replace(choice, finish=ir.FinishReason(choice.finish.kind)) for choice in answer.choices
    )
    usage = answer.usage and msgspec.structs.replace(answer.usage, raw=None)
    return msgspec.structs.replace(answer, choices=choices, usage=usage)


@needs_wire
def test_an_answer_written_as_amazon_would_is_read_as_what_it_says(report: Report) -> None:
    """Law 3: text, thoughts with their state, calls and pictures of every recorded answer, whole and streamed."""
    for name, answer in recorded():
        expected = said(written.said_here(answer))
        read = CONVERSE.decode_response(written.whole(answer))
        assert said(plainly(read)) == expected, name
        assert said(plainly(ir.accumulate(events(*written.stream(answer))))) == expected, name
        if answer.usage is not None and read.usage is not None:
            assert read.usage.input_tokens == answer.usage.input_tokens, name
    assert len(recorded()) >= 250
    report("answers of other vendors written as Amazon would", len(recorded()))


@needs_wire
def test_a_stream_says_what_the_whole_answer_says() -> None:
    """Law 2: ids, usage and finish included."""
    for name, answer in recorded():
        streamed = ir.accumulate(events(*written.stream(answer)))
        at_once = CONVERSE.decode_response(written.whole(answer))
        assert said(streamed) == said(at_once), name
        assert streamed.usage == at_once.usage, name
        assert ir.accumulate(ir.check_stream(ir.explode(at_once))) == at_once, name


@needs_wire
def test_what_we_read_is_what_amazons_own_client_reads() -> None:
    """botocore takes the same bytes, and finds the same words, calls and counts in them."""
    for name, answer in recorded():
        ours = CONVERSE.decode_response(written.whole(answer))
        theirs = read_answer(written.whole(answer))
        content = theirs["output"]["message"]["content"]
        assert _heard(content) == _ours(ours), name
        assert theirs["stopReason"] == ours.choices[0].finish.raw
        if ours.usage is not None:
            assert theirs["usage"]["outputTokens"] == ours.usage.output_tokens
        assert _heard(_folded(read_stream(*written.stream(answer)))) == _ours(ours), name


def _heard(content: list[dict[str, Any]]) -> list[object]:
    calls: list[object] = [
        (call["toolUseId"], call["name"], call["input"]) for block in content if (call := block.get("toolUse"))
    ]
    thoughts = (block["reasoningContent"]["reasoningText"] for block in content if "reasoningContent" in block)
    told = "".join(thought["text"] + thought.get("signature", "") for thought in thoughts)
    return ["".join(block.get("text", "") for block in content), told, *calls]


def _ours(answer: ir.ChatResponse) -> list[object]:
    parts = answer.choices[0].parts
    calls = [(part.id, part.name, value_of(part.arguments)) for part in parts if isinstance(part, ir.ToolCallPart)]
    thoughts = [part for part in parts if isinstance(part, ir.ReasoningPart)]
    told = "".join(part.text + (part.opaque.payload if part.opaque else "") for part in thoughts)
    return ["".join(part.text for part in parts if isinstance(part, ir.TextPart)), told, *calls]


def _folded(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content that the events of botocore's add up to."""
    found: dict[int, dict[str, Any]] = {}
    for event in told:
        if start := event.get("contentBlockStart"):
            found[start["contentBlockIndex"]] = {name: {**value} for name, value in start["start"].items()}
        elif delta := event.get("contentBlockDelta"):
            block = found.setdefault(delta["contentBlockIndex"], {})
            match delta["delta"]:
                case {"text": text}:
                    block["text"] = block.get("text", "") + text
                case {"toolUse": call}:
                    block["toolUse"]["input"] = block["toolUse"].get("input", "") + call["input"]
                case {"reasoningContent": thought}:
                    whole = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
                    for name, piece in thought.items():
                        whole[name] = whole.get(name, "") + piece
                case _:
                    pass
    for block in found.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = value_of(block["toolUse"]["input"])
    return list(found.values())


@needs_wire
def test_a_stream_is_the_same_wherever_it_is_cut() -> None:
    """Law 1 F142: every two-way cut of short ones, byte by byte, and in pieces of several sizes."""
    for name, answer in recorded():
        raw = b"".join(written.stream(answer, size=200))
        expected = events(raw)
        for size in (1, 5, 64, 1000):
            if len(raw) // size < 4000:
                assert events(*(raw[at : at + size] for at in range(0, len(raw), size))) == expected, name
    short = b"".join(written.stream(min((answer for _, answer in recorded()), key=lambda a: len(written.whole(a)))))
    for cut in range(len(short)):
        assert events(short[:cut], short[cut:]) == events(short), cut


@needs_wire
@pytest.mark.parametrize("target", SERVED)
def test_every_client_is_told_the_same_streamed_and_whole(target: ir.Protocol, report: Report) -> None:
    """Laws 1 2, to the client's own reader, from Amazon's own bytes cut anywhere."""
    for name, answer in recorded():
        raw = b"".join(written.stream(answer, size=60))
        out, translator = translated("bedrock_converse", target, raw)
        assert translator.ended and translator.fault is None, name
        third = len(raw) // 3
        assert translated("bedrock_converse", target, raw[:third], raw[third : third + 1], raw[third + 1 :])[0] == out
        told = folded(events_of(target, out))
        assert isinstance(told, ir.ChatResponse), name
        assert said(told) == said(understood_by(target, CONVERSE.decode_response(written.whole(answer)))), name
    report(f"streams of Converse as {target}", len(recorded()))


@needs_wire
@pytest.mark.parametrize("target", SERVED)
def test_a_stream_that_is_cut_off_never_ends_in_success(target: ir.Protocol) -> None:
    """Law 4 F147 F148 F149: wherever the bytes end before the answer has stopped, the client is told of an error."""
    for name, answer in recorded()[::7]:
        messages = written.stream(answer, size=40)
        stopped = sum(map(len, messages[: len(messages) - (1 if b"metadata" in messages[-1] else 0)]))
        raw = b"".join(messages)
        for end in sorted({*range(0, stopped, max(1, stopped // 23)), stopped - 1}):
            out, translator = translated("bedrock_converse", target, raw[:end])
            assert translator.fault is not None and translator.fault.failure == "invalid_response", (name, end)
            assert isinstance(folded(events_of(target, out)), UpstreamError), (name, end)
        out, translator = translated("bedrock_converse", target, raw[:stopped])
        assert translator.fault is None and isinstance(folded(events_of(target, out)), ir.ChatResponse), name


@given(data=st.data(), response=plain_responses())
@QUICK
def test_blocks_may_come_in_any_order(data: st.DataObject, response: ir.ChatResponse) -> None:
    """Law 8"""
    turns = data.draw(st.lists(st.integers(0, 9), max_size=40))
    raw = b"".join(written.interleaved(response, turns))
    assert said(ir.accumulate(events(raw))) == said(CONVERSE.decode_response(written.whole(response)))


@given(request=plain_requests())
@QUICK
def test_a_plain_request_is_taken_and_nothing_of_it_is_lost(request: ir.ChatRequest) -> None:
    """Law 3: nothing a user would notice, and the path tells model and stream."""
    encoded = CONVERSE.encode_request(request, profile=Profile())
    assert [item for item in encoded.diagnostics if item.severity != "info"] == []
    head = CONVERSE.peek(encoded.path, encoded.body)
    assert (head.model, head.stream) == (request.model, request.stream)
    check_request(encoded)


@given(body=st.binary(max_size=200) | OBJECT.map(dumps) | JSON.map(dumps), path=st.text(max_size=30))
@QUICK
def test_junk_raises_only_our_errors(body: bytes, path: str) -> None:
    """Law 7 F130"""
    for place in (path, f"/model/{path}/converse", "/model/m/converse-stream"):
        try:
            CONVERSE.peek(place, body)
            CONVERSE.with_model(place, body, path)
        except InvalidRequest as error:
            assert error.message
    junk_in(body)


def junk_in(body: bytes) -> None:
    """Feed it to everything that reads; only our errors may come out."""
    assert understood_by_us(body) is not None
    for status in (200, 400, 401, 403, 404, 408, 424, 429, 500, 503, 999):
        assert len(dumps(CONVERSE.decode_error(status, body).message)) < 8_000


def understood_by_us(body: bytes) -> ir.ChatResponse | UpstreamError:
    try:
        return CONVERSE.decode_response(body)
    except UpstreamError as error:
        return error


NAMES = st.sampled_from(
    ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]
)


@given(frames=st.lists(st.tuples(NAMES | st.text(max_size=5), st.binary(max_size=60) | JSON.map(dumps)), max_size=6))
@QUICK
def test_junk_in_a_stream_ends_it_in_order(frames: list[tuple[str, bytes]]) -> None:
    """Law 7 F162 F163 F164"""
    decoder = CONVERSE.stream_decoder()
    told = [event for name, data in frames for event in decoder.feed(ServerSentEvent(data, name))]
    told += decoder.close()
    assert list(ir.check_stream(told)) == told


@given(chunks=st.lists(st.binary(max_size=60), max_size=5))
@QUICK
def test_bytes_that_are_no_messages_are_a_fault(chunks: list[bytes]) -> None:
    """Law 7 F143: as Amazon's or as text, cut anywhere."""
    for first in (b"\0", b""):
        tap = UsageTap("bedrock_converse")
        for chunk in [first, *chunks]:
            tap.feed(chunk)
        tap.close()
        assert tap.fault is not None or tap.ended


@needs_wire
@given(data=st.data())
@QUICK
def test_bodies_and_streams_with_something_exchanged_raise_only_our_errors(data: st.DataObject) -> None:
    """Laws 4 7 F050 F140 F147 F151: members lost, repeated and changed; frames lost, repeated and swapped."""
    _, answer = data.draw(st.sampled_from(recorded()[::5]))
    junk_in(dumps(data.draw(mutations(loads_object(written.whole(answer))))))
    frames = SSEDecoder().feed(whole_frames("bedrock_converse").feed(b"".join(written.stream(answer, size=400))))
    at, other = (data.draw(st.integers(0, len(frames) - 1)) for _ in range(2))
    match data.draw(st.sampled_from(["lose", "repeat", "swap", "change"])):
        case "lose":
            del frames[at]
        case "repeat":
            frames.insert(other, frames[at])
        case "swap":
            frames[at], frames[other] = frames[other], frames[at]
        case _:
            changed: JSONValue = data.draw(mutations(loads_object(frames[at].data)))
            frames[at] = ServerSentEvent(dumps(changed), frames[at].event)
    decoder = CONVERSE.stream_decoder()
    told = [event for frame in frames for event in decoder.feed(frame)] + list(decoder.close())
    assert list(ir.check_stream(told)) == told


@needs_wire
@pytest.mark.parametrize("target", SERVED)
def test_a_whole_answer_reaches_every_client(target: ir.Protocol) -> None:
    for name, answer in recorded():
        body = written.whole(answer)
        out = translate_response(body, source="bedrock_converse", target=target)
        assert isinstance(understood(target, out.body), ir.ChatResponse), name


def test_an_exception_that_we_read_is_one_to_amazons_own_client() -> None:
    failing = [
        written.event("messageStart", {"role": "assistant"}),
        written.exception("throttlingException", {"message": "Too many requests"}),
    ]
    with pytest.raises(EventStreamError, match="Too many requests"):
        read_stream(*failing)
    last = events(*failing)[-1]
    assert isinstance(last, ir.StreamFault) and last.error.failure == "rate_limit"


def test_no_client_speaks_it() -> None:
    assert "bedrock_converse" not in SERVED
    assert "bedrock_converse" not in PROTOCOLS
