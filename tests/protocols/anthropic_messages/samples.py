"""What the tests of this protocol share: short ways to build requests and to read what became of them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

import msgspec

from asgi_llmgw import ir
from asgi_llmgw.ir import (
    Base64Source,
    CacheMark,
    ChatRequest,
    CustomTool,
    Diagnostic,
    Extension,
    FileSource,
    MediaPart,
    Message,
    Opaque,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    Sampling,
    ServerTool,
    StreamEvent,
    TextPart,
    TextSource,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UnknownPart,
    UrlSource,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, as_str, dumps, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.sse import SSEDecoder

OWN: ir.Protocol = "anthropic_messages"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
PDF = base64.b64encode(b"%PDF-1.7\n").decode()


def user(*texts: str) -> Message:
    return Message("user", tuple(TextPart(text) for text in texts))


def assistant(*parts: str | ir.Part) -> Message:
    return Message("assistant", tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def system(text: str) -> Message:
    return Message("system", (TextPart(text),))


def call(id: str, name: str = "look", arguments: str = "{}") -> ToolCallPart:
    return ToolCallPart(id, name, arguments)


def result(id: str, text: str = "seen", **more: bool | None) -> Message:
    return Message("tool", (ToolResultPart(id, (TextPart(text),), is_error=more.get("is_error")),))


def chat(*messages: Message, **fields: object) -> ChatRequest:
    return msgspec.structs.replace(ChatRequest("claude", messages or (user("Hi"),)), **fields)


def encode(request: ChatRequest, **profile: object) -> tuple[JSONObject, tuple[Diagnostic, ...]]:
    encoded = CODEC.encode_request(request, profile=msgspec.structs.replace(Profile(), **profile))
    assert encoded.path == "/v1/messages"
    return loads_object(encoded.body), encoded.diagnostics


def body_of(request: ChatRequest, **profile: object) -> JSONObject:
    return encode(request, **profile)[0]


def notes_of(request: ChatRequest, **profile: object) -> set[tuple[str, str]]:
    return {(note.path, note.code) for note in encode(request, **profile)[1]}


def turns(body: JSONObject) -> list[tuple[JSONValue, list[JSONObject]]]:
    return [
        (as_object(message).get("role"), [as_object(block) for block in as_list(as_object(message).get("content"))])
        for message in as_list(body.get("messages"))
    ]


def shape(body: JSONObject) -> list[str]:
    """The conversation in short: `user: text tool_result`."""
    return [f"{role}: {' '.join(as_str(block['type']) or '' for block in blocks)}" for role, blocks in turns(body)]


def frames(*events: JSONObject) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), dumps(event)) for event in events)


def decode_stream(*chunks: bytes) -> list[StreamEvent]:
    reader, decoder = SSEDecoder(), CODEC.stream_decoder()
    events: list[StreamEvent] = []
    for chunk in chunks:
        for frame in reader.feed(chunk):
            events += decoder.feed(frame)
    for frame in reader.close():
        events += decoder.feed(frame)
    return [*events, *decoder.close()]


def start(**usage: JSONValue) -> JSONObject:
    message: JSONObject = {"id": "msg_1", "model": "claude", "content": [], "usage": usage}
    return {"type": "message_start", "message": message}


def opened(block: JSONObject, index: int = 0) -> JSONObject:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int = 0, **fields: JSONValue) -> JSONObject:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def closed(index: int = 0) -> JSONObject:
    return {"type": "content_block_stop", "index": index}


def ending(reason: str | None, usage: JSONObject | None = None, **more: JSONValue) -> JSONObject:
    return {"type": "message_delta", "delta": {"stop_reason": reason, **more}, "usage": usage or {"output_tokens": 5}}


STOP: JSONObject = {"type": "message_stop"}


def texts(events: Iterable[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, ir.TextDelta))


_PARTS: Sequence[ir.Part] = (
    TextPart("Look.", cache=CacheMark("1h")),
    MediaPart("image", Base64Source(PNG), "image/png", detail="low"),
    MediaPart("image", UrlSource("https://example.com/a.png")),
    MediaPart("image", FileSource("file_1", OWN)),
    MediaPart("document", Base64Source(PDF), "application/pdf", filename="a.pdf", cite=True),
    MediaPart("document", TextSource("plain"), "text/plain", title="T", context="C"),
    MediaPart("document", UrlSource("https://example.com/a.pdf"), "application/pdf"),
    UnknownPart(
        OWN, {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]}
    ),
)
_SCHEMA: JSONObject = {"type": "object", "properties": {"q": {"type": "string", "minLength": 1}}, "required": ["q"]}
_HISTORY = (
    system("Be brief."),
    Message("user", tuple(_PARTS)),
    assistant(
        ReasoningPart("Hm.", Opaque(OWN, "signature", "c2ln")),
        ReasoningPart("", Opaque(OWN, "redacted", "ZGF0YQ==")),
        RefusalPart("Not that."),
        call("toolu_1", "look", '{"q":"x"}'),
        ToolCallPart("a|b", "patch.it", "*** Begin", kind="custom"),
    ),
    Message("tool", (ToolResultPart("a|b", tuple(p for p in _PARTS if isinstance(p, MediaPart)), is_error=False),)),
    result("toolu_1", is_error=True),
    Message("developer", (TextPart("Be kind."),)),
    user("Go on."),
    assistant("So "),
)

REQUESTS: dict[str, ChatRequest] = {
    "plain": chat(),
    "streamed": chat(stream=True, max_output_tokens=7),
    "history": chat(*_HISTORY, tools=(Tool("look", "Looks.", _SCHEMA), CustomTool("patch.it", "Patches."))),
    "sampling": chat(sampling=Sampling(temperature=0.5, top_p=0.9, top_k=5, stop=("END", " "), seed=1)),
    "strict tool": chat(
        tools=(
            Tool("f", None, {"type": "object", "properties": {}, "additionalProperties": False}, strict=True),
            Tool("g", cache=CacheMark("5m")),
        ),
        tool_choice=ToolChoice("required", ("f",)),
        parallel_tool_calls=False,
    ),
    "any tool": chat(tools=(Tool("f"), Tool("g")), tool_choice=ToolChoice("required")),
    "no tool": chat(tools=(Tool("f"),), tool_choice=ToolChoice("none")),
    "server tool": chat(
        tools=(ServerTool(OWN, "web_search_20250305", {"type": "web_search_20250305", "name": "web_search"}),)
    ),
    "schema": chat(response_format=ResponseFormat("json_schema", _SCHEMA)),
    "json": chat(response_format=ResponseFormat("json_object")),
    "thinking": chat(reasoning=Reasoning("high", visible=False)),
    "identity": chat(end_user="u-1", service_tier="default", cache=CacheMark(), metadata={"a": "b"}),
    "own fields": chat(extensions=(Extension(OWN, "container", "c_1"), Extension(OWN, "inference_geo", "eu"))),
    "starts with assistant": chat(assistant("Hello."), user("Hi.")),
    "system alone": chat(system("Say hello.")),
}
