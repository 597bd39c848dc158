"""What the tests of requests share: short ways to ask, and the vendor's own types to judge the answer by."""

from __future__ import annotations

from google.genai import types

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols.base import EncodedRequest, Profile
from asgi_llmgw.protocols.gemini_generate import CODEC

OURS: ir.Protocol = "gemini_generate"
PLAIN = Profile()
THREE = Profile(tool_call_ids=True, thought_signatures=True, thinking_level=True, function_response_media=True)
SUBSET = Profile(json_schema=False)
HELLO = ir.Message("user", (ir.TextPart("hello"),))

_TOP: dict[str, type[types.GenerationConfig | types.Content | types.ToolConfig]] = {
    "systemInstruction": types.Content,
    "toolConfig": types.ToolConfig,
    "generationConfig": types.GenerationConfig,
}


def encode(*messages: ir.Message, profile: Profile = PLAIN, **fields: object) -> EncodedRequest:
    """The request as it goes out; `fields` are those of `ChatRequest`."""
    request = ir.ChatRequest(**{"model": "gemini-2.5-flash", "messages": messages or (HELLO,), **fields})  # type: ignore[arg-type]
    return CODEC.encode_request(request, profile=profile)


def body(*messages: ir.Message, profile: Profile = PLAIN, **fields: object) -> JSONObject:
    """Its body, which the vendor's own types understand."""
    sent = loads_object(encode(*messages, profile=profile, **fields).body)
    check_types(sent)
    return sent


def contents(*messages: ir.Message, profile: Profile = PLAIN) -> list[tuple[JSONValue, list[JSONValue]]]:
    """Its contents as pairs of role and parts."""
    sent = as_list(body(*messages, profile=profile)["contents"])
    return [(as_object(content)["role"], as_list(as_object(content)["parts"])) for content in sent]


def losses(encoded: EncodedRequest) -> list[tuple[str, str, str]]:
    return [(d.path, d.code, d.severity) for d in encoded.diagnostics]


def check_types(sent: JSONObject) -> None:
    """google-genai's types forbid fields they do not know."""
    assert as_list(sent["contents"])
    for content in as_list(sent["contents"]):
        assert as_list(as_object(content)["parts"])
        types.Content.model_validate_json(dumps(content))
    for tool in as_list(sent.get("tools")):
        types.Tool.model_validate_json(dumps(tool))
    for name, kind in _TOP.items():
        if name in sent:
            kind.model_validate_json(dumps(sent[name]))
    assert set(sent) <= {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier"}


def call(call_id: str, name: str = "weather", arguments: str = "{}", signature: ir.Opaque | None = None) -> ir.Message:
    return ir.Message("assistant", (ir.ToolCallPart(call_id, name, arguments, signature=signature),))


def result(call_id: str, *content: str, is_error: bool | None = None) -> ir.ToolResultPart:
    return ir.ToolResultPart(call_id, tuple(ir.TextPart(text) for text in content), is_error=is_error)


def results(*parts: ir.ToolResultPart) -> ir.Message:
    return ir.Message("tool", parts)


def signature(payload: str = "c2ln", protocol: ir.Protocol = OURS) -> ir.Opaque:
    return ir.Opaque(protocol, "thought_signature", payload)
