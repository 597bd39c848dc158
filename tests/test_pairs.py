"""The laws of the codecs, over every pair of an upstream's protocol and a client's, on every recorded answer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from itertools import pairwise
from types import UnionType

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.passthrough import PassThrough
from asgi_llmgw.protocols import PROTOCOLS, SERVED, codec
from asgi_llmgw.translate import translate_response
from tests.pairs import (
    ANSWERS,
    BROKEN_CALL,
    EVERY_PAIR,
    FAULTS,
    STREAMS,
    answers,
    context,
    encoded,
    events_of,
    folded,
    said,
    streams,
    translated,
    understood,
    value_of,
    whole,
)
from tests.strategies import responses, tellings
from tests.taps import UsageTap
from tests.wire import needs_wire

Report = Callable[[str, int], None]
QUICK = settings(
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
MANY_CHOICES = ("openai_chat", "gemini_generate")
"""The others tell the choice that begins first, which in a stream may be any."""


def some_cuts(stream: bytes, wanted: int) -> list[int]:
    """Evenly spaced places, and the first ones inside of a character."""
    inside = [at for at, byte in enumerate(stream[:20_000]) if byte & 0xC0 == 0x80]
    even = range(0, len(stream) + 1, max(1, len(stream) // wanted))
    return sorted({*even, len(stream), *inside[:4]})


@needs_wire
@EVERY_PAIR
def test_a_stream_is_translated_alike_wherever_it_is_cut(
    source: ir.Protocol, target: ir.Protocol, report: Report
) -> None:
    """Law 1 F142: whole, byte by byte if it is short, in many pieces, and in two at some places."""
    tried = 0
    for recorded in streams(source):
        raw = recorded.raw
        expected, translator = translated(source, target, raw)
        places = some_cuts(raw, 20)
        assert translated(source, target, *(raw[a:b] for a, b in pairwise(places)))[0] == expected, recorded.id
        ways: list[tuple[bytes, ...]] = [(raw[:at], raw[at:]) for at in places[:: 1 if len(raw) < 20_000 else 6]]
        if len(raw) < 12_000:
            ways.append(tuple(raw[at : at + 1] for at in range(len(raw))))
        for way in ways:
            out, again = translated(source, target, *way)
            assert out == expected, (recorded.id, len(way[0]))
            assert again.usage == translator.usage, recorded.id
        tried += len(ways) + 1
    assert tried >= 12 * STREAMS[source]
    report(f"ways to cut streams of {source}", tried)


@needs_wire
@EVERY_PAIR
def test_a_translated_stream_says_what_the_translated_answer_says(
    source: ir.Protocol, target: ir.Protocol, report: Report
) -> None:
    """Law 2: all of it, ids, usage and times included. An error in the stream is an error to the client."""
    agreed = 0
    for recorded in streams(source):
        out, translator = translated(source, target, recorded.raw)
        told = folded(events_of(target, out))
        if isinstance(recorded.answer, UpstreamError):
            assert recorded.id in FAULTS[source], recorded.id
            assert isinstance(told, UpstreamError) and told.message == recorded.answer.message, recorded.id
            continue
        assert isinstance(told, ir.ChatResponse), recorded.id
        assert translator.ended and translator.fault is None, recorded.id
        agree(told, whole(target, recorded.answer), recorded.id)
        agreed += 1
    assert agreed >= STREAMS[source] - len(FAULTS[source])
    report(f"streams of {source} that agree with their answer", agreed)


@needs_wire
@EVERY_PAIR
def test_a_whole_answer_told_as_a_stream_says_the_same(
    source: ir.Protocol, target: ir.Protocol, report: Report
) -> None:
    """Laws 2 5: every recorded answer that came whole, unfolded on its way to the client."""
    agreed = 0
    for recorded in answers(source):
        if isinstance(recorded.answer, ir.ChatResponse):
            assert ir.accumulate(ir.explode(recorded.answer)) == recorded.answer, recorded.id
            told = folded(events_of(target, encoded(target, list(ir.explode(recorded.answer)))))
            assert isinstance(told, ir.ChatResponse), recorded.id
            agree(told, whole(target, recorded.answer), recorded.id)
            agreed += 1
    assert agreed >= ANSWERS[source] - 1
    report(f"answers of {source} told as streams", agreed)


def agree(streamed: ir.ChatResponse, at_once: ir.ChatResponse, name: str) -> None:
    """They are one answer."""
    if name != BROKEN_CALL:
        assert said(streamed) == said(at_once), name
    # a stream does not say at its start that it will hold the old form of a call
    rest = [msgspec.structs.replace(answer, choices=(), legacy_functions=False) for answer in (streamed, at_once)]
    assert rest[0] == rest[1], name


@needs_wire
@EVERY_PAIR
def test_what_a_user_reads_arrives_and_what_does_not_is_told(
    source: ir.Protocol, target: ir.Protocol, report: Report
) -> None:
    """Law 3: text, thoughts and calls of every answer; of the rest nothing is missing without a diagnostic."""
    arrived = 0
    for recorded in (*streams(source), *answers(source)):
        if isinstance(recorded.answer, UpstreamError):
            continue
        out = codec(target).encode_response(recorded.answer, context=context())
        again = understood(target, out.body)
        assert isinstance(again, ir.ChatResponse), recorded.id
        assert again.choices or not recorded.answer.choices, recorded.id
        lost = [item for item in out.diagnostics if item.severity != "info"]
        if len(again.choices) < len(recorded.answer.choices):
            assert lost, recorded.id
        for before, after in zip(recorded.answer.choices, again.choices, strict=False):
            assert words(after).startswith(words(before)) or lost, recorded.id
            assert thoughts(after) == thoughts(before), recorded.id
            assert calls(after) == calls(before) or recorded.id == BROKEN_CALL, recorded.id
            for kind in (ir.CitationPart, ir.MediaPart, ir.UnknownPart):
                assert number(after, kind) >= number(before, kind) or lost, (recorded.id, kind)
        arrived += 1
    assert arrived >= STREAMS[source] + ANSWERS[source] - len(FAULTS[source]) - 1
    report(f"answers of {source} that arrive", arrived)


def words(choice: ir.Choice) -> str:
    """Text and refusals, which some protocols cannot tell apart."""
    return "".join(part.text for part in choice.parts if isinstance(part, (ir.TextPart, ir.RefusalPart)))


def thoughts(choice: ir.Choice) -> str:
    """However they are cut: protocols differ in what separates two."""
    text = "".join(part.text for part in choice.parts if isinstance(part, ir.ReasoningPart))
    return "".join(text.split())


def calls(choice: ir.Choice) -> list[object]:
    """A custom call becomes one whose only argument is its input, where there are none."""
    found: list[object] = []
    for part in choice.parts:
        if isinstance(part, ir.ToolCallPart):
            value = value_of(part.arguments)
            found.append((part.name, {"input": value} if part.kind == "custom" else value))
    return found


def number(choice: ir.Choice, kind: type[ir.OutputPart] | UnionType) -> int:
    return sum(isinstance(part, kind) for part in choice.parts)


@needs_wire
@EVERY_PAIR
def test_a_stream_that_is_cut_anywhere_keeps_the_grammar_and_never_ends_in_success(
    source: ir.Protocol, target: ir.Protocol, report: Report
) -> None:
    """Law 4 F147 F148 F149 F164: the client's own reader finds an error at its end, and only there."""
    cut = 0
    for recorded in streams(source):
        _, translator = translated(source, target)
        out, read = b"", 0
        for end in some_cuts(recorded.raw, 12):
            out += translator.feed(recorded.raw[read:end])
            read = end
            fork = copy.deepcopy(translator)
            # `check_stream` is inside
            *before, last = events_of(target, out + fork.close())
            assert isinstance(last, ir.ResponseEnd if fork.fault is None else ir.StreamFault), (recorded.id, end)
            assert fork.fault is not None or fork.ended, (recorded.id, end)
            assert not any(isinstance(event, ir.StreamFault) for event in before)
            cut += 1
    assert cut >= 12 * STREAMS[source]
    report(f"cut streams of {source}", cut)


@needs_wire
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_between_two_of_a_kind_every_byte_is_passed_on(protocol: ir.Protocol, report: Report) -> None:
    """Law 6: in whatever pieces, and the tap knows the same as if it had been alone."""
    passed = 0
    for recorded in streams(protocol):
        passing, tap = PassThrough(protocol), UsageTap(protocol)
        places = some_cuts(recorded.raw, 24)
        out = b"".join([passing.forward(recorded.raw[a:b]) for a, b in pairwise(places)]) + passing.end()
        tap.feed(recorded.raw)
        tap.close()
        assert out == recorded.raw, recorded.id
        assert (passing.usage, passing.finish_reason) == (tap.usage, tap.finish_reason), recorded.id
        passed += 1
    for recorded in answers(protocol):
        if isinstance(recorded.answer, ir.ChatResponse):
            result = translate_response(recorded.raw, source=protocol, target=protocol)
            assert result.body is recorded.raw and result.diagnostics == (), recorded.id
            passed += 1
    assert passed >= STREAMS[protocol] + ANSWERS[protocol] - 1
    report(f"answers of {protocol} passed through", passed)


@pytest.mark.parametrize("target", SERVED)
@given(data=st.data())
@QUICK
def test_however_any_answer_is_told_its_stream_says_what_the_whole_answer_says(
    target: ir.Protocol, data: st.DataObject
) -> None:
    """Laws 2 8: everything the representation can hold, of every vendor, its parts interleaved at will."""
    response = data.draw(responses(most_choices=5 if target in MANY_CHOICES else 1))
    if target == "openai_chat":
        response = one_of_a_kind(response)
    events = data.draw(tellings(response))
    streamed = folded(events_of(target, encoded(target, events)))
    at_once = understood(target, codec(target).encode_response(response, context=context()).body)
    if isinstance(streamed, UpstreamError) or isinstance(at_once, UpstreamError):
        assert type(streamed) is type(at_once)
        return
    for kind in (ir.TextPart, ir.RefusalPart):
        assert [text(choice, kind) for choice in streamed.choices] == [text(choice, kind) for choice in at_once.choices]
    assert [thoughts(choice) for choice in streamed.choices] == [thoughts(choice) for choice in at_once.choices]
    assert names(streamed.choices) == names(at_once.choices)
    assert [choice.finish.kind for choice in streamed.choices] == [choice.finish.kind for choice in at_once.choices]


def text(choice: ir.Choice, kind: type[ir.TextPart | ir.RefusalPart]) -> str:
    return "".join(part.text for part in choice.parts if isinstance(part, kind))


def one_of_a_kind(response: ir.ChatResponse) -> ir.ChatResponse:
    """A choice of a completion has one text, one refusal, one thought and one call of an id: two would be a mixture."""
    choices = []
    for choice in response.choices:
        firsts = {_kind(part): part for part in reversed(choice.parts)}
        parts = tuple(part for part in choice.parts if _kind(part) is None or part is firsts[_kind(part)])
        choices.append(msgspec.structs.replace(choice, parts=parts))
    return msgspec.structs.replace(response, choices=tuple(choices))


def _kind(part: ir.OutputPart) -> object:
    """What there is one of; None for what there may be any number of."""
    if isinstance(part, ir.ToolCallPart):
        return part.id or None
    return type(part) if isinstance(part, (ir.TextPart, ir.RefusalPart, ir.ReasoningPart)) else None


def names(choices: Iterable[ir.Choice]) -> list[list[str]]:
    return [[part.name for part in choice.parts if isinstance(part, ir.ToolCallPart)] for choice in choices]


@pytest.mark.parametrize("target", SERVED)
@given(data=st.data(), response=responses())
@QUICK
def test_what_a_client_cannot_be_told_of_any_answer_is_a_diagnostic(
    target: ir.Protocol, data: st.DataObject, response: ir.ChatResponse
) -> None:
    """Law 3: choices, pictures, sources and things of another vendor's that are missing, missing in a stream too."""
    encoder = codec(target).stream_encoder(context())
    for event in data.draw(tellings(response)):
        for _ in encoder.feed(event):
            pass
    for _ in encoder.close():
        pass
    out = codec(target).encode_response(response, context=context())
    again = understood(target, out.body)
    if isinstance(again, UpstreamError):
        return
    kinds = (ir.CitationPart, ir.MediaPart | ir.UnknownPart, ir.ToolCallPart)
    before, after = (
        [sum(number(choice, kind) for choice in answer.choices) for kind in kinds] for answer in (response, again)
    )
    if any(there < here for here, there in zip(before, after, strict=True)):
        assert out.diagnostics
        assert encoder.diagnostics


@pytest.mark.parametrize("target", ["anthropic_messages", "gemini_generate"])
def test_a_custom_call_that_becomes_a_function_call_is_told_about(target: ir.Protocol) -> None:
    """Law 3: whole and streamed, in the same words."""
    call = ir.ToolCallPart("call_1", "grep", "a.*b", kind="custom")
    answer = ir.ChatResponse((ir.Choice((call,), ir.FinishReason("tool_calls")),), id="r", model="m")
    out = codec(target).encode_response(answer, context=context())
    encoder = codec(target).stream_encoder(context())
    for event in ir.explode(answer):
        list(encoder.feed(event))
    told = [item for item in out.diagnostics if item.code == "approximated"]
    assert told
    assert [item for item in encoder.diagnostics if item.code == "approximated"] == told
