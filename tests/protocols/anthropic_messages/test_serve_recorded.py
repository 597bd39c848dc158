"""Recorded requests of this protocol's clients: read, written again for their own vendor, and sent to others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.translate import translate_request
from tests.wire import Recording, needs_wire, recordings

from .samples import OWN

pytestmark = needs_wire

REQUESTS = [r for r in recordings("anthropic_messages") if r.request is not None]
each_request = pytest.mark.parametrize("recording", REQUESTS, ids=lambda r: r.folder.name)
# it begins with what the vendor's own tools did, before the user has said a word
NO_USER_FIRST = "messages-preserve-system-role-after-server-tool-result-2"


@each_request
def test_a_recorded_request_keeps_its_meaning(recording: Recording, report: Callable[[str, int], None]) -> None:
    """Law 3"""
    assert recording.request is not None
    before = loads_object(recording.request)
    adaptive = as_object(before.get("thinking")).get("type") == "adaptive"
    profile = Profile(thinking="adaptive" if adaptive else "budget", mid_system="system")
    encoded = CODEC.encode_request(CODEC.decode_request(recording.path, recording.request), profile=profile)
    after = normal(loads_object(encoded.body))
    if recording.folder.name == NO_USER_FIRST:
        after["messages"] = as_list(after["messages"])[1:]
    assert after == normal(before)
    assert [note for note in encoded.diagnostics if note.severity != "info"] == []
    report("anthropic_messages requests served", 1)


@each_request
@pytest.mark.parametrize("target", ["openai_chat", "gemini_generate"])
def test_a_recorded_request_can_be_sent_elsewhere_or_is_refused_by_name(
    recording: Recording, target: ir.Protocol
) -> None:
    assert recording.request is not None
    try:
        translated = translate_request(recording.request, source=OWN, target=target, path=recording.path)
    except InvalidRequest as error:
        assert error.status == 400 and error.param and error.message
        assert error.kind == "unsupported" or "call" in error.message, error.message
        return
    assert loads_object(translated.body)
    for opaque in signatures(loads_object(recording.request)):
        assert opaque.encode() not in translated.body


def signatures(value: JSONValue) -> Iterator[str]:
    if isinstance(value, list):
        for inner in value:
            yield from signatures(inner)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in ("signature", "encrypted_content") and isinstance(inner, str) and inner:
                yield inner
            yield from signatures(inner)


def normal(body: JSONObject) -> JSONObject:
    """One spelling of each meaning: content as blocks, neighbours of one role in one message, nothing that is a
    default, and search results as the documents they are sent as."""
    result: JSONObject = {key: value for key, value in body.items() if value not in (False, None, [], "")}
    if "system" in result:
        result["system"] = blocks(result["system"])
    messages: list[JSONValue] = []
    for message in map(as_object, as_list(body["messages"])):
        content = blocks(message["content"])
        last = as_object(messages[-1]) if messages else {}
        if last.get("role") == message["role"]:
            messages[-1] = {**last, "content": [*as_list(last["content"]), *content]}
        else:
            messages.append({"role": message["role"], "content": content})
    result["messages"] = messages
    if "tools" in result:
        result["tools"] = [
            {key: value for key, value in as_object(tool).items() if value not in ("", None)}
            for tool in as_list(result["tools"])
        ]
    return result


def blocks(content: JSONValue) -> list[JSONValue]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    return [block(as_object(item)) for item in as_list(content)]


def block(raw: JSONObject) -> JSONObject:
    match raw["type"]:
        case "tool_result":
            return {**raw, "content": blocks(raw.get("content"))}
        case "search_result":
            texts = [str(as_object(inner)["text"]) for inner in as_list(raw["content"])]
            source: JSONObject = {
                "type": "text",
                "media_type": "text/plain",
                "data": "\n\n".join([f"Source: {raw['source']}", *texts]),
            }
            rest = {key: value for key, value in raw.items() if key not in ("type", "source", "content")}
            return {"type": "document", "source": source, **rest}
        case _:
            return raw
