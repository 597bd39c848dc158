"""What holds for every answer and every way to tell it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from asgi_llmgw.ir import (
    ChatResponse,
    Choice,
    OutputPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    accumulate,
    explode,
)
from asgi_llmgw.json import JSONObject, as_list, as_object, dumps
from asgi_llmgw.sse import ServerSentEvent
from tests.protocols.openai_responses.samples import counting, encode_answer, encode_stream, told
from tests.strategies import responses, tellings

EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def first_choice(response: ChatResponse) -> Choice | None:
    return response.choices[0] if response.choices else None


def words(parts: tuple[OutputPart, ...], kind: type[TextPart] | type[RefusalPart] | type[ReasoningPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, kind))


def calls(parts: tuple[OutputPart, ...]) -> list[tuple[str, str]]:
    found = [part for part in parts if isinstance(part, ToolCallPart)]
    return [(part.name, part.arguments or ("" if part.kind == "custom" else "{}")) for part in found]


def well_formed(events: list[JSONObject]) -> None:
    """Items come one after the other, each with one id from beginning to end, and are all in the output."""
    place, current, finished = -1, "", list[object]()
    for event in events:
        kind = str(event["type"])
        if kind == "response.output_item.added":
            place += 1
            current = str(as_object(event["item"])["id"])
        elif "output_index" in event:
            identity = event.get("item_id") or as_object(event["item"])["id"]
            assert (event["output_index"], identity) == (place, current), kind
        if kind == "response.output_item.done":
            finished.append(event["item"])
    if events[-1]["type"] != "response.failed":
        assert as_list(as_object(events[-1]["response"])["output"]) == finished
        assert len(finished) == place + 1


@given(data=st.data(), response=responses())
@settings(max_examples=25)  # the SDK takes its time
def test_however_an_answer_is_told_the_stream_is_well_formed_and_the_sdk_reads_it(
    data: st.DataObject, response: ChatResponse
) -> None:
    """T16 T17 T18, P1: parts of several choices, interleaved at will."""
    events = encode_stream(data.draw(tellings(response)))
    well_formed(events)
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        if event["type"] == "error":
            break
        state.handle_event(EVENT.validate_python(event))
    Response.model_validate(events[-1]["response"])


@given(data=st.data(), response=responses())
def test_however_an_answer_is_told_nothing_of_the_first_choice_is_lost(
    data: st.DataObject, response: ChatResponse
) -> None:
    """Laws 2 and 3: words, thoughts and calls of the first choice, in their order."""
    (*choices,) = response.choices
    alone = ChatResponse(tuple(choices[:1]), id=response.id, usage=response.usage)
    choice = first_choice(alone)
    if choice is None or choice.finish.kind in ("error", "content_filter"):
        return
    events = encode_stream(data.draw(tellings(alone)))
    frames = [ServerSentEvent(dumps(event), str(event["type"])) for event in events]
    (heard,) = accumulate(told(frames)).choices
    assert calls(heard.parts) == calls(choice.parts)
    assert words(heard.parts, TextPart) == words(choice.parts, TextPart)
    assert words(heard.parts, RefusalPart) == words(choice.parts, RefusalPart)
    assert words(heard.parts, ReasoningPart) == words(choice.parts, ReasoningPart)


@given(data=st.data(), response=responses())
def test_a_whole_answer_is_what_its_stream_says(data: st.DataObject, response: ChatResponse) -> None:
    """Law 2"""
    alone = ChatResponse(response.choices[:1], id="resp_1", created=5, usage=response.usage)
    ended = as_object(encode_stream(data.draw(tellings(alone)), counting())[-1]["response"])
    assert {**ended, "output": None} == {**encode_answer(alone), "output": None}


@given(data=st.data(), response=responses())
def test_a_stream_cut_anywhere_ends_as_a_failure(data: st.DataObject, response: ChatResponse) -> None:
    """T9"""
    events = list(explode(response))
    cut = encode_stream(events[: data.draw(st.integers(0, len(events) - 1))])
    well_formed(cut)
    assert [event["type"] for event in cut[-2:]] == ["error", "response.failed"]
