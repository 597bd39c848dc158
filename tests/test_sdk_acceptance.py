"""Whatever a vendor answered, a client of any protocol reads it with its own vendor's newest SDK."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.protocols import SERVED, codec
from asgi_llmgw.translate import StreamTranslator, translate_response
from tests.pairs import (
    ANSWERS,
    BROKEN_CALL,
    EVERY_PAIR,
    FAULTS,
    STREAMS,
    answers,
    context,
    frames_of,
    streams,
    value_of,
)
from tests.readers import Heard, SDKError, hear_answer, hear_stream
from tests.strategies import plain_responses, tellings
from tests.wire import needs_wire

Report = Callable[[str, int], None]
QUICK = settings(
    max_examples=40,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@needs_wire
@EVERY_PAIR
def test_every_recorded_stream_is_heard_as_it_was_told(
    source: ir.Protocol, target: ir.Protocol, report: Report
) -> None:
    """Traps 5 to 14, T16 T17 T18 T20: the SDK's sum of the stream is the answer, or the SDK raises its error."""
    heard = 0
    for recorded in streams(source):
        translator = StreamTranslator(source=source, target=target, context=context())
        out = translator.feed(recorded.raw) + translator.close()
        if isinstance(recorded.answer, UpstreamError):
            with pytest.raises(SDKError, match=r"."):
                hear_stream(target, out)
            continue
        try:
            told = hear_stream(target, out)
        except Exception as error:
            raise AssertionError(f"{recorded.id}: {error}") from error
        at_once = hear_answer(target, codec(target).encode_response(recorded.answer, context=context()).body)
        if recorded.id != BROKEN_CALL:
            assert told == at_once, recorded.id
            assert is_all_of(recorded.answer, told), recorded.id
        heard += 1
    assert heard >= STREAMS[source] - len(FAULTS[source])
    report(f"streams the SDK of {target} adds up", heard)


@needs_wire
@EVERY_PAIR
def test_every_recorded_answer_is_heard_as_it_was_told(
    source: ir.Protocol, target: ir.Protocol, report: Report
) -> None:
    """Law 4: the SDK's own types take every answer, strictly."""
    heard = 0
    for recorded in answers(source):
        if isinstance(recorded.answer, UpstreamError):
            continue
        result = translate_response(recorded.raw, source=source, target=target, model="m", context=context())
        try:
            told = hear_answer(target, result.body)
        except Exception as error:
            raise AssertionError(f"{recorded.id}: {error}") from error
        assert is_all_of(recorded.answer, told), recorded.id
        heard += 1
    assert heard >= ANSWERS[source] - 1
    report(f"answers the SDK of {target} reads", heard)


def is_all_of(answer: ir.ChatResponse, told: Heard) -> bool:
    """Text and calls of the first choice; what a vendor says of a block stands for its text where there is none."""
    parts = answer.choices[0].parts if answer.choices else ()
    text = "".join(part.text for part in parts if isinstance(part, (ir.TextPart, ir.RefusalPart)))
    calls = [
        (part.name, part.arguments if part.kind == "custom" else value_of(part.arguments))
        for part in parts
        if isinstance(part, ir.ToolCallPart)
    ]
    wrapped = [(name, {"input": value}) for name, value in calls]
    if not told.text.startswith(text):
        return False
    return list(told.calls) in (calls, wrapped)


@pytest.mark.parametrize("target", SERVED)
@given(data=st.data(), response=plain_responses())
@QUICK
def test_however_an_answer_is_told_the_sdk_hears_the_same(
    target: ir.Protocol, data: st.DataObject, response: ir.ChatResponse
) -> None:
    """Laws 4 8: calls side by side, in every order."""
    encoder, newline = codec(target).stream_encoder(context()), codec(target).frame_newline
    frames = [frame for event in data.draw(tellings(response)) for frame in encoder.feed(event)] + [*encoder.close()]
    told = hear_stream(target, b"".join(frame.encode(newline) for frame in frames))
    at_once = hear_answer(target, codec(target).encode_response(response, context=context()).body)
    assert told == at_once
    assert is_all_of(response, told)


@needs_wire
@EVERY_PAIR
def test_a_stream_that_breaks_is_an_error_to_the_sdk(source: ir.Protocol, target: ir.Protocol, report: Report) -> None:
    """F149 F15: never a shorter answer. Cut after a third and after two."""
    broken = 0
    for recorded in streams(source):
        for end in (len(recorded.raw) // 3, len(recorded.raw) * 2 // 3):
            translator = StreamTranslator(source=source, target=target, context=context())
            out = translator.feed(recorded.raw[:end])
            out += translator.close(UpstreamError("Reset.", failure="unreachable"))
            if translator.ended:
                continue
            with pytest.raises(SDKError):
                hear_stream(target, out)
            broken += 1
    assert broken >= 1.5 * STREAMS[source]
    report(f"broken streams for the SDK of {target}", broken)


@needs_wire
@pytest.mark.parametrize("target", SERVED)
def test_every_frame_is_one_event_on_lines_of_its_own(target: ir.Protocol) -> None:
    """Trap 5, T25: no reader's separator inside of a line; `event:` where the protocol has it, and only there."""
    named = target in ("openai_responses", "anthropic_messages")
    for source in SERVED:
        for recorded in streams(source):
            translator = StreamTranslator(source=source, target=target, context=context())
            out = translator.feed(recorded.raw) + translator.close()
            lines = out.decode().splitlines()
            kinds = {line.split(" ")[0] for line in lines if line}
            assert kinds <= {"data:", "event:"} if named else kinds <= {"data:", ":"}, recorded.id
            assert target != "gemini_generate" or kinds <= {"data:"}
            assert sum(line.startswith("data:") for line in lines) == len(frames_of(out)), recorded.id
