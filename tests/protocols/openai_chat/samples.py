"""Short ways to write frames, streams and requests."""

from __future__ import annotations

from collections.abc import Iterable

from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    Message,
    StreamEvent,
    StreamFault,
    TextPart,
    accumulate,
    check_stream,
)
from asgi_llmgw.json import JSONObject, JSONValue, dumps, loads_object
from asgi_llmgw.protocols.base import Profile, StreamContext
from asgi_llmgw.protocols.openai_chat import CODEC
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder

CONTEXT = StreamContext(clock=lambda: 1_700_000_000.0, new_id=lambda prefix: f"{prefix}new")
USAGE = StreamContext(clock=lambda: 1_700_000_000.0, new_id=lambda prefix: f"{prefix}new", include_usage=True)
DONE = ServerSentEvent(b"[DONE]")
HELLO: list[JSONValue] = [{"role": "user", "content": "Hello"}]


def body(**fields: JSONValue) -> bytes:
    """A request body."""
    return dumps({"model": "m", "messages": HELLO, **fields})


def decode(**fields: JSONValue) -> ChatRequest:
    """The request read from these fields."""
    return CODEC.decode_request("/v1/chat/completions", body(**fields))


def decode_messages(*messages: JSONValue) -> tuple[Message, ...]:
    """The messages read from a request."""
    return decode(messages=[*messages]).messages


def encode(request: ChatRequest, profile: Profile | None = None) -> JSONObject:
    """The body written for a request."""
    return loads_object(CODEC.encode_request(request, profile=profile or Profile()).body)


def losses(request: ChatRequest, profile: Profile | None = None) -> dict[str, str]:
    """What writing a request lost: path and code."""
    encoded = CODEC.encode_request(request, profile=profile or Profile())
    return {diagnostic.path: diagnostic.code for diagnostic in encoded.diagnostics}


def user(text: str = "Hello") -> Message:
    """A user's message."""
    return Message("user", (TextPart(text),))


def frame(value: JSONValue) -> ServerSentEvent:
    """One frame."""
    return ServerSentEvent(dumps(value))


def chunk(delta: JSONValue, *, index: JSONValue = 0, finish: JSONValue = None, **fields: JSONValue) -> ServerSentEvent:
    """A chunk with one choice."""
    choice: JSONObject = {"index": index, "delta": delta, "finish_reason": finish}
    return frame({"id": "chatcmpl-1", "created": 1, "model": "m", "choices": [choice], **fields})


def events(frames: Iterable[ServerSentEvent], *, close: bool = True) -> list[StreamEvent]:
    """What the decoder makes of these frames, checked against the grammar."""
    decoder = CODEC.stream_decoder()
    told = [event for item in frames for event in decoder.feed(item)]
    if close:
        told += decoder.close()
        told = list(check_stream(told))
    return told


def answer(*frames: ServerSentEvent) -> ChatResponse:
    """The answer a stream told."""
    return accumulate(events(frames))


def fault(*frames: ServerSentEvent) -> StreamFault:
    """The fault a stream ended in."""
    last = events(frames)[-1]
    assert isinstance(last, StreamFault)
    return last


def encode_stream(told: Iterable[StreamEvent], context: StreamContext = CONTEXT) -> list[ServerSentEvent]:
    """The frames the encoder makes of these events."""
    encoder = CODEC.stream_encoder(context)
    frames = [item for event in told for item in encoder.feed(event)]
    return [*frames, *encoder.close()]


def chunks(frames: Iterable[ServerSentEvent]) -> list[JSONObject]:
    """The JSON of all frames but `[DONE]`."""
    return [loads_object(item.data) for item in frames if item != DONE]


def deltas(frames: Iterable[ServerSentEvent], choice: int = 0) -> list[JSONObject]:
    """The deltas of one choice."""
    found: list[JSONObject] = []
    for data in chunks(frames):
        choices = data["choices"]
        assert isinstance(choices, list)
        for item in choices:
            assert isinstance(item, dict)
            if item["index"] == choice:
                assert isinstance(item["delta"], dict)
                found.append(item["delta"])
    return found


def frames_of(data: bytes) -> list[ServerSentEvent]:
    """The frames of a recorded stream."""
    decoder = SSEDecoder()
    return [*decoder.feed(data), *decoder.close()]
