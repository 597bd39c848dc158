"""Requests of clients, in short."""

from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import ChatRequest
from asgi_llmgw.json import JSONObject, JSONValue, dumps, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.translate import Translated, translate_request

from .samples import OWN

SCHEMA: JSONObject = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
TOOL: JSONObject = {"name": "look", "description": "Looks.", "input_schema": SCHEMA}


def request(*messages: JSONObject, **fields: JSONValue) -> JSONObject:
    spoken: list[JSONValue] = [*messages] or [{"role": "user", "content": "Hi"}]
    return {"model": "claude", "max_tokens": 100, "messages": spoken, **fields}


def decode(body: JSONObject) -> ChatRequest:
    return CODEC.decode_request("/v1/messages", dumps(body))


def said(role: str, *blocks: JSONObject) -> JSONObject:
    return {"role": role, "content": [*blocks]}


def parts_of(role: str, *blocks: JSONObject) -> tuple[ir.Part, ...]:
    return decode(request(said(role, *blocks))).messages[0].parts


def kept(body: JSONObject) -> list[tuple[str, str]]:
    return [(extension.path, extension.loss) for extension in decode(body).extensions]


def refusal(body: JSONObject) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(body)
    assert caught.value.status == 400
    return caught.value


def to_chat(body: JSONObject) -> tuple[JSONObject, Translated]:
    translated = translate_request(dumps(body), source=OWN, target="openai_chat")
    return loads_object(translated.body), translated
