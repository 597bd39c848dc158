"""What agents that speak Responses send, on its way to every vendor and back."""

from __future__ import annotations

import pytest

from asgi_llmgw.ir import (
    ChoiceEnd,
    FinishReason,
    PartEnd,
    PartStart,
    Protocol,
    ResponseEnd,
    ResponseStart,
    ToolCallPart,
    ToolInputDelta,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_object, dumps, loads_object
from asgi_llmgw.protocols import Profile, StreamContext, codec
from asgi_llmgw.translate import StreamTranslator, Translated, translate_request
from tests.protocols.openai_responses.samples import PATH, call, frames_of, message, output

OTHERS: tuple[Protocol, ...] = ("openai_chat", "anthropic_messages", "gemini_generate")
TOOLS: list[JSONValue] = [
    {"type": "function", "name": "shell", "description": "Runs it.", "parameters": {"type": "object"}, "strict": False},
    {
        "type": "custom",
        "name": "apply_patch",
        "description": "Patches.",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
    },
    {"type": "namespace", "name": "mail", "tools": [{"type": "function", "name": "send", "strict": False}]},
    {"type": "tool_search", "execution": "client"},
]
AGENT: JSONObject = {
    "model": "alias",
    "instructions": "You are an agent.",
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "client_metadata": {"a": "b"},
    "prompt_cache_key": "thread",
    "reasoning": {"effort": "medium", "summary": "auto"},
    "text": {"verbosity": "low"},
    "parallel_tool_calls": False,
    "tool_choice": "auto",
    "tools": TOOLS,
    "input": [
        message("developer", {"type": "input_text", "text": "Be careful."}),
        message("user", {"type": "input_text", "text": "Fix it."}),
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "state"},
        call("call_1", "shell", '{"command":"ls"}'),
        {"type": "custom_tool_call", "call_id": "call_2", "name": "apply_patch", "input": "*** Begin"},
        output("call_1", "a.py"),
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "ok"},
        call("call_3", "send", "{}", namespace="mail"),
        output("call_3", "sent"),
        message("user", {"type": "input_text", "text": "Go on."}),
    ],
}


def sent(target: Protocol, **changes: JSONValue) -> Translated:
    return translate_request(
        dumps({**AGENT, **changes}), source="openai_responses", target=target, path=PATH, model="m", profile=Profile()
    )


@pytest.mark.parametrize("target", OTHERS)
def test_a_turn_of_an_agent_reaches_every_vendor(target: Protocol) -> None:
    """C8, clients 12 and 13: flat names, wrapped patches, no foreign state."""
    out = sent(target)
    assert {item.severity for item in out.diagnostics} <= {"info", "warning"}
    assert b"mail__send" in out.body
    assert b"*** Begin" in out.body
    assert b"state" not in out.body
    head = codec(target).peek(out.path, out.body)
    assert (head.model, head.stream) == ("m", True)


@pytest.mark.parametrize("target", OTHERS)
def test_a_conversation_is_compacted_without_tools(target: Protocol) -> None:
    """clients 15: `tools: []` with calls in the history; no vendor but OpenAI takes the empty list."""
    out = loads_object(sent(target, tools=[], tool_choice=None).body)
    assert out.get("tools") != []


@pytest.mark.parametrize("target", OTHERS)
def test_tools_among_the_items_reach_every_vendor(target: Protocol) -> None:
    """clients 13: newer agents send no `tools`, but an item that holds them."""
    items: JSONValue = [
        {"type": "additional_tools", "tools": TOOLS},
        message("user", {"type": "input_text", "text": "Hi"}),
    ]
    assert b"mail__send" in sent(target, tools=None, input=items).body


@pytest.mark.parametrize("source", OTHERS)
def test_calls_come_back_under_the_names_the_agent_knows(source: Protocol) -> None:
    asked = sent(source)
    upstream = codec(source).stream_encoder(StreamContext())
    events = (
        ResponseStart("x", "m"),
        PartStart(0, ToolCallPart("call_4", "mail__send", "")),
        ToolInputDelta(0, '{"to":"me"}'),
        PartEnd(0),
        PartStart(1, ToolCallPart("call_5", "apply_patch", "")),
        ToolInputDelta(1, '{"input":"*** End"}'),
        PartEnd(1),
        ChoiceEnd(FinishReason("tool_calls")),
        ResponseEnd(),
    )
    newline = codec(source).frame_newline
    stream = b"".join(frame.encode(newline) for event in events for frame in upstream.feed(event))
    stream += b"".join(frame.encode(newline) for frame in upstream.close())
    translator = StreamTranslator(
        source=source, target="openai_responses", context=asked.stream_context, tool_names=asked.tool_names
    )
    frames = frames_of(translator.feed(stream) + translator.close())
    done = [as_object(loads_object(frame.data)["item"]) for frame in frames if frame.event.endswith("output_item.done")]
    assert [(item["type"], item["name"], item.get("namespace")) for item in done] == [
        ("function_call", "send", "mail"),
        ("custom_tool_call", "apply_patch", None),
    ]
    assert (done[0]["arguments"], done[1]["input"]) == ('{"to":"me"}', "*** End")
    assert as_object(loads_object(frames[-1].data)["response"])["model"] == "alias"
