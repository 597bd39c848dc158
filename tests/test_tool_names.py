from __future__ import annotations

from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    Choice,
    CustomTool,
    FinishReason,
    Message,
    PartEnd,
    PartStart,
    TextPart,
    Tool,
    ToolCallPart,
    accumulate,
    check_stream,
    explode,
)
from asgi_llmgw.protocols import codec
from asgi_llmgw.tool_names import ToolNames

TOOLS = (Tool("weather.now"), Tool("plain"), CustomTool("shell"))
REQUEST = ChatRequest("m", (Message("user", (TextPart("hi"),)),), tools=TOOLS)
ANTHROPIC = codec("anthropic_messages")


def answer(*parts: ToolCallPart) -> ChatResponse:
    return ChatResponse((Choice((TextPart("Hm."), *parts), FinishReason("tool_calls")),), id="r")


WIRE = answer(
    ToolCallPart("1", ANTHROPIC.tool_name("weather.now"), "{}"),
    ToolCallPart("2", "plain", '{"a":1}'),
    ToolCallPart("3", "shell", '{"input":"ls -l"}'),
    ToolCallPart("4", "shell", "not json"),
)
CLIENT = answer(
    ToolCallPart("1", "weather.now", "{}"),
    ToolCallPart("2", "plain", '{"a":1}'),
    ToolCallPart("3", "shell", "ls -l", kind="custom"),
    ToolCallPart("4", "shell", "not json", kind="custom"),
)


def names() -> ToolNames:
    found = ToolNames.of(REQUEST, ANTHROPIC)
    assert found is not None
    return found


def test_names_and_free_texts_come_back_in_whole_answers() -> None:
    assert ANTHROPIC.tool_name("weather.now") != "weather.now"
    assert names().response(WIRE) == CLIENT


def test_names_and_free_texts_come_back_in_streams() -> None:
    undo = names()
    events = [told for event in explode(WIRE) for told in undo.event(event)]
    assert accumulate(check_stream(events)) == CLIENT


def test_an_empty_free_text_is_an_empty_text() -> None:
    undo = names()
    start = PartStart(0, ToolCallPart("3", "shell", '{"input":""}'))
    assert list(undo.event(start)) == [PartStart(0, ToolCallPart("3", "shell", "", kind="custom"))]
    assert list(undo.event(PartEnd(0))) == [PartEnd(0)]


def test_the_old_form_of_calls_is_kept_for_those_who_used_it() -> None:
    request = ChatRequest("m", REQUEST.messages, tools=(Tool("plain"),), legacy_functions=True)
    undo = ToolNames.of(request, ANTHROPIC)
    assert undo is not None
    assert undo.response(WIRE).legacy_functions
    assert accumulate(told for event in explode(WIRE) for told in undo.event(event)).legacy_functions


def test_there_is_nothing_to_undo_for_plain_tools() -> None:
    assert ToolNames.of(ChatRequest("m", REQUEST.messages, tools=(Tool("plain"),)), ANTHROPIC) is None
