"""What we serve, read by the vendor's own SDK: every recorded answer of other vendors, and answers told at will."""

from __future__ import annotations

from collections.abc import Callable

import anthropic
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, loads_object
from asgi_llmgw.protocols import codec
from asgi_llmgw.protocols.anthropic_messages import CODEC
from tests.strategies import plain_responses, responses, tellings
from tests.wire import Recording, needs_wire, recordings

from .serving import CONTEXT, check, frames_of, same, sdk_answer, sdk_stream, told

FOLDERS: dict[str, ir.Protocol] = {
    "openai_chat": "openai_chat",
    "openai_compat": "openai_chat",
    "gemini_generate": "gemini_generate",
    "anthropic_messages": "anthropic_messages",
}
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# several answers in one file, and a block that makes the SDK take another model for the one that answered
ODD = {"programmatic-tool-calling-1", "spliced-message-start", "anthropic-fallback"}


def _recorded(*, stream: bool) -> list[object]:
    return [
        pytest.param(protocol, recording, id=recording.id)
        for folder, protocol in FOLDERS.items()
        for recording in recordings(folder)
        if (recording.stream if stream else recording.response) is not None
        and recording.status < 300
        and recording.folder.name not in ODD
    ]


@needs_wire
@pytest.mark.parametrize(("protocol", "recording"), _recorded(stream=True))
def test_a_recorded_stream_is_accepted_and_agrees_with_the_whole_answer(
    protocol: ir.Protocol, recording: Recording, report: Callable[[str, int], None]
) -> None:
    """Laws 2 4, trap 6, trap 7"""
    assert recording.stream is not None
    decoder = codec(protocol).stream_decoder()
    events = [event for frame in frames_of(recording.stream) for event in decoder.feed(frame)] + [*decoder.close()]
    raw = told(events)
    check(raw)
    if isinstance(events[-1], ir.StreamFault):
        with pytest.raises(anthropic.APIStatusError):
            sdk_stream(raw)
        return
    body = CODEC.encode_response(ir.accumulate(events), context=CONTEXT).body
    assert same(sdk_stream(raw)) == same(sdk_answer(body))
    report("streams served as anthropic_messages", 1)


@needs_wire
@pytest.mark.parametrize(("protocol", "recording"), _recorded(stream=False))
def test_a_recorded_answer_is_accepted_and_agrees_with_its_stream(
    protocol: ir.Protocol, recording: Recording, report: Callable[[str, int], None]
) -> None:
    """Laws 2 3"""
    assert recording.response is not None
    try:
        answer = codec(protocol).decode_response(recording.response)
    except UpstreamError as error:
        assert error.message
        return
    body = CODEC.encode_response(answer, context=CONTEXT).body
    raw = told(ir.explode(answer))
    check(raw)
    assert same(sdk_stream(raw)) == same(sdk_answer(body))
    report("answers served as anthropic_messages", 1)


@needs_wire
@pytest.mark.parametrize("recording", recordings("anthropic_messages"), ids=lambda r: r.folder.name)
def test_an_answer_of_the_vendors_own_comes_out_as_it_went_in(recording: Recording) -> None:
    """Law 3: ids, thinking with its signatures, citations and blocks that only the vendor knows."""
    if recording.response is None or recording.status >= 300:
        return
    answer = CODEC.decode_response(recording.response)
    again = loads_object(CODEC.encode_response(answer, context=msgspec.structs.replace(CONTEXT, model=None)).body)
    before = loads_object(recording.response)
    for name in ("id", "model", "role", "type", "stop_reason", "stop_sequence"):
        assert again[name] == before.get(name), name
    assert essence(again["content"]) == essence(before["content"])
    for name in ("input_tokens", "output_tokens", "cache_read_input_tokens"):
        assert as_object(again["usage"])[name] == as_object(before["usage"]).get(name)


def essence(content: JSONValue) -> list[JSONObject]:
    """The blocks without members that say nothing, and without empty texts, which are not told."""
    return [
        {key: value for key, value in as_object(block).items() if key != "caller" and value not in ("", None, [])}
        for block in as_list(content)
        if as_object(block).get("text") != ""
    ]


@given(data=st.data(), response=plain_responses())
@QUICK
def test_however_an_answer_is_told_the_sdk_adds_up_the_same(data: st.DataObject, response: ir.ChatResponse) -> None:
    """Laws 4 8, P0 P1"""
    raw = told(data.draw(tellings(response)))
    check(raw)
    body = CODEC.encode_response(response, context=CONTEXT).body
    assert same(sdk_stream(raw)) == same(sdk_answer(body))


@given(data=st.data(), response=responses())
@settings(parent=QUICK, max_examples=50)
def test_whatever_an_answer_holds_its_stream_keeps_to_the_grammar(
    data: st.DataObject, response: ir.ChatResponse
) -> None:
    """Laws 4 8: every kind of part, several choices, state of any vendor."""
    check(told(data.draw(tellings(response))))
    sdk_answer(CODEC.encode_response(response, context=CONTEXT).body)


@given(response=responses().filter(lambda response: bool(response.choices)))
@settings(parent=QUICK, max_examples=50)
def test_whatever_an_answer_holds_stream_and_whole_answer_agree(response: ir.ChatResponse) -> None:
    """Law 2: blocks only we could have made up are left out, for the SDK has no types for them."""
    choice = response.choices[0]
    parts = tuple(part for part in choice.parts if not isinstance(part, (ir.UnknownPart, ir.CitationPart)))
    response = msgspec.structs.replace(response, choices=(msgspec.structs.replace(choice, parts=parts),))
    try:
        streamed = sdk_stream(told(ir.explode(response)))
    except ValueError:
        # a call that begins as an object and goes on as something else is told as it comes
        assert any(isinstance(part, ir.ToolCallPart) and part.arguments.lstrip().startswith("{") for part in parts)
        return
    assert same(streamed) == same(sdk_answer(CODEC.encode_response(response, context=CONTEXT).body))


@given(data=st.data(), response=plain_responses())
@QUICK
def test_a_stream_that_is_cut_anywhere_ends_in_an_error(data: st.DataObject, response: ir.ChatResponse) -> None:
    """T9 F149"""
    events = list(ir.explode(response))
    raw = told(events[: data.draw(st.integers(0, len(events) - 1))])
    check(raw)
    assert frames_of(raw)[-1].event == "error"
    with pytest.raises(anthropic.APIStatusError):
        sdk_stream(raw)
