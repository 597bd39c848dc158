"""How the tests look at what clients of this protocol are served: by the grammar, and with the vendor's own SDK."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import anthropic
import httpx2
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue, as_int, as_list, as_object, as_str, dumps, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.protocols.base import StreamContext
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from asgi_llmgw.translate import StreamTranslator

CONTEXT: Final = StreamContext(model="smart", clock=lambda: 1_700_000_000.0, new_id=lambda prefix: f"{prefix}1")
_EVENT: Final[TypeAdapter[RawMessageStreamEvent]] = TypeAdapter(RawMessageStreamEvent)
_MADE: Final = ("text", "thinking", "redacted_thinking", "tool_use")
_DELTAS: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "tool_use": ("input_json_delta",),
}


def told(events: Iterable[ir.StreamEvent], context: StreamContext = CONTEXT) -> bytes:
    """The bytes a client gets for these events."""
    encoder = CODEC.stream_encoder(context)
    frames = [frame for event in events for frame in encoder.feed(event)] + [*encoder.close()]
    return b"".join(frame.encode() for frame in frames)


def from_chat(*chunks: bytes) -> bytes:
    """The bytes a client gets for a stream of Chat Completions."""
    translator = StreamTranslator(source="openai_chat", target="anthropic_messages", context=CONTEXT)
    return b"".join(map(translator.feed, chunks)) + translator.close()


def frames_of(raw: bytes) -> list[ServerSentEvent]:
    reader = SSEDecoder()
    return [*reader.feed(raw), *reader.close()]


def data_of(raw: bytes) -> list[JSONObject]:
    return [loads_object(frame.data) for frame in frames_of(raw)]


def kinds(raw: bytes) -> list[str]:
    """The stream in short: `content_block_start:0:text`."""
    result = []
    for event in data_of(raw):
        words = [as_str(event["type"]) or ""]
        if "index" in event:
            words.append(str(event["index"]))
        inner = as_object(event.get("content_block")) or as_object(event.get("delta"))
        words += [word for word in (as_str(inner.get("type")),) if word]
        result.append(":".join(words))
    return result


def check(raw: bytes) -> None:
    """The grammar of a stream, spelt out once more and independent of our decoder."""
    events = data_of(raw)
    assert [frame.event for frame in frames_of(raw)] == [event["type"] for event in events]
    for event in events:
        if event["type"] not in ("error", "ping") and _ours(event):
            _EVENT.validate_python(event)
    if events[-1]["type"] == "error":
        events.pop()
        assert all(event["type"] not in ("message_delta", "message_stop") for event in events)
        return
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    assert events[0]["type"] == "message_start"
    _check_usage(as_object(as_object(events[0]["message"])["usage"]), "input_tokens", "output_tokens")
    _check_usage(as_object(events[-2]["usage"]), "input_tokens", "output_tokens")
    _check_blocks(events[1:-2])


def _ours(event: JSONObject) -> bool:
    """Whether we made up the event, and do not pass on what only the vendor knows."""
    block = as_object(event.get("content_block"))
    delta = as_object(event.get("delta"))
    made = "content_block" not in event or block.get("type") in _MADE
    return made and delta.get("type") != "citations_delta"


def _check_usage(usage: JSONObject, *numbers: str) -> None:
    for name in numbers:
        number = as_int(usage[name])
        assert number is not None and number >= 0, usage


def _check_blocks(events: list[JSONObject]) -> None:
    pings = [i for i, event in enumerate(events) if event["type"] == "ping"]
    assert pings == ([1] if events else [])
    rest = [event for event in events if event["type"] != "ping"]
    number = -1
    while rest:
        number += 1
        opening = rest.pop(0)
        assert (opening["type"], opening["index"]) == ("content_block_start", number)
        block = as_object(opening["content_block"])
        deltas = []
        while rest[0]["type"] == "content_block_delta":
            event = rest.pop(0)
            assert event["index"] == number
            deltas.append(as_object(event["delta"]))
        closing = rest.pop(0)
        assert (closing["type"], closing["index"]) == ("content_block_stop", number)
        _check_block(block, deltas)


def _check_block(block: JSONObject, deltas: list[JSONObject]) -> None:
    kind = as_str(block.get("type")) or ""
    names = [delta["type"] for delta in deltas]
    assert all(name in _DELTAS.get(kind, ()) for name in names), (kind, names)
    if kind == "thinking":
        assert (block["thinking"], block["signature"]) == ("", "")
        assert names.count("signature_delta") == 1 and names[-1] == "signature_delta"
    if kind == "tool_use":
        assert block["input"] == {} and block["id"]
        assert deltas[0]["partial_json"] == ""
    if kind == "text":
        assert block["text"] == "" and names[0] == "text_delta"
        assert all(delta.get("text") != "" for delta in deltas)


def sdk_stream(raw: bytes) -> JSONObject:
    """The message the vendor's SDK makes of a stream."""
    with (
        _client(raw, "text/event-stream") as client,
        client.beta.messages.stream(model="x", max_tokens=1, messages=[{"role": "user", "content": "x"}]) as stream,
    ):
        return loads_object(dumps(stream.get_final_message().to_dict(mode="json", warnings=False)))


def sdk_answer(body: bytes) -> JSONObject:
    """The message the vendor's SDK makes of a whole answer, which its types accept as far as we made it up."""
    blocks = [as_object(block) for block in as_list(loads_object(body)["content"])]
    if all(block.get("type") in _MADE and "citations" not in block for block in blocks):
        Message.model_validate_json(body)
    with _client(body, "application/json") as client:
        message = client.beta.messages.create(model="x", max_tokens=1, messages=[{"role": "user", "content": "x"}])
        return loads_object(dumps(message.to_dict(mode="json", warnings=False)))


def _client(body: bytes, content_type: str) -> anthropic.Anthropic:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=body)

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="x", base_url="http://127.0.0.1", http_client=http, max_retries=0)


def same(message: JSONObject) -> JSONValue:
    """What both ways of answering tell: without nulls, and without the lifetimes of caches, which the SDK takes from
    the beginning of a stream alone. What a broken call was given cannot be compared."""
    message = {**message, "usage": {**as_object(message["usage"]), "cache_creation": None}}
    if message["stop_reason"] == "max_tokens":
        message["content"] = [
            {**as_object(block), "input": None} if as_object(block).get("type") == "tool_use" else block
            for block in as_list(message["content"])
        ]
    return without_nulls(message)


def without_nulls(value: JSONValue) -> JSONValue:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
