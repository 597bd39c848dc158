"""Requests to try the encoder with."""

from __future__ import annotations

from typing import Any

import msgspec

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, as_list, as_object, loads_object
from asgi_llmgw.protocols import Profile
from asgi_llmgw.protocols.base import EncodedRequest
from asgi_llmgw.protocols.bedrock_converse import CODEC
from tests.protocols.bedrock_converse.shapes import check_request

HELLO = ir.ChatRequest("amazon.nova-pro-v1:0", (ir.Message("user", (ir.TextPart("Hello"),)),))
WEATHER = ir.Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALL = ir.ToolCallPart("call_1", "weather", '{"city":"Paris"}')
RESULT = ir.ToolResultPart("call_1", (ir.TextPart("rain"),), "weather")


def conversation(*messages: ir.Message, **fields: Any) -> ir.ChatRequest:
    """A request of these messages."""
    return msgspec.structs.replace(HELLO, messages=messages, **fields)


def user(*parts: ir.Part | str) -> ir.Message:
    return ir.Message("user", _parts(parts))


def assistant(*parts: ir.Part | str) -> ir.Message:
    return ir.Message("assistant", _parts(parts))


def system(*parts: ir.Part | str) -> ir.Message:
    return ir.Message("system", _parts(parts))


def results(*parts: ir.Part) -> ir.Message:
    return ir.Message("tool", parts)


def _parts(parts: tuple[ir.Part | str, ...]) -> tuple[ir.Part, ...]:
    return tuple(ir.TextPart(part) if isinstance(part, str) else part for part in parts)


def encode(request: ir.ChatRequest, profile: Profile | None = None) -> EncodedRequest:
    """The request as it is sent, which Amazon's own client would take."""
    encoded = CODEC.encode_request(request, profile=profile or Profile())
    check_request(encoded)
    return encoded


def asked(profile: Profile | None = None, **fields: Any) -> tuple[JSONObject, set[tuple[str, str, str]]]:
    """The body of a short request with these fields, and what was said of it."""
    return body_and_notes(encode(msgspec.structs.replace(HELLO, **fields), profile))


def body_and_notes(encoded: EncodedRequest) -> tuple[JSONObject, set[tuple[str, str, str]]]:
    return loads_object(encoded.body), {(item.path, item.code, item.severity) for item in encoded.diagnostics}


def turns(encoded: EncodedRequest) -> list[tuple[object, list[JSONObject]]]:
    """Roles and blocks."""
    messages = map(as_object, as_list(loads_object(encoded.body)["messages"]))
    return [(turn["role"], [as_object(block) for block in as_list(turn["content"])]) for turn in messages]


def only_blocks(*parts: ir.Part | str, profile: Profile | None = None) -> list[JSONObject]:
    """The blocks of one message of the user's."""
    ((_, blocks),) = turns(encode(conversation(user(*parts)), profile))
    return blocks
