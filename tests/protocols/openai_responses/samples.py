"""Short ways to write requests, frames and streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    Choice,
    Message,
    StreamEvent,
    StreamFault,
    TextPart,
    accumulate,
    check_stream,
    explode,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols.base import Profile, StreamContext
from asgi_llmgw.protocols.openai_responses import CODEC
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder

PATH = "/v1/responses"


def counting(**fields: object) -> StreamContext:
    """A context with a clock that stands and ids that count."""
    numbers = iter(range(1, 1000))
    context = StreamContext(clock=lambda: 1_700_000_000.0, new_id=lambda prefix: f"{prefix}{next(numbers)}")
    return msgspec.structs.replace(context, **fields)


def body(**fields: JSONValue) -> bytes:
    """A request body."""
    return dumps({"model": "m", "input": "Hello", **fields})


def decode(**fields: JSONValue) -> ChatRequest:
    """The request read from these fields."""
    return CODEC.decode_request(PATH, body(**fields))


def decode_items(*items: JSONValue) -> tuple[Message, ...]:
    """The turns read from these items."""
    return decode(input=[*items]).messages


def losses(request: ChatRequest) -> dict[str, str]:
    """The extensions of a request: path and how bad it is to lose them."""
    return {extension.path: extension.loss for extension in request.extensions}


def encode(request: ChatRequest, profile: Profile | None = None) -> JSONObject:
    """The body written for a request."""
    return loads_object(CODEC.encode_request(request, profile=profile or Profile()).body)


def encode_turns(*messages: Message) -> list[JSONObject]:
    """The items written for these turns."""
    items = as_list(encode(ChatRequest("m", messages))["input"])
    return [as_object(item) for item in items]


def lost(request: ChatRequest, profile: Profile | None = None) -> dict[str, str]:
    """What writing a request lost: path and code."""
    encoded = CODEC.encode_request(request, profile=profile or Profile())
    return {diagnostic.path: diagnostic.code for diagnostic in encoded.diagnostics}


def user(text: str = "Hello") -> Message:
    """A user's message."""
    return Message("user", (TextPart(text),))


def message(role: str, *parts: JSONValue, **fields: JSONValue) -> JSONObject:
    """A message item."""
    return {"type": "message", "role": role, "content": [*parts], **fields}


def call(call_id: str, name: str = "look_up", arguments: str = "{}", **fields: JSONValue) -> JSONObject:
    """A function call item."""
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, **fields}


def output(call_id: str, value: JSONValue = "done") -> JSONObject:
    """The result of a call."""
    return {"type": "function_call_output", "call_id": call_id, "output": value}


def frame(kind: str, **fields: JSONValue) -> ServerSentEvent:
    """One frame of a stream."""
    return ServerSentEvent(dumps({"type": kind, **fields}), kind)


CREATED = frame("response.created", response={"id": "resp_1", "model": "m", "created_at": 5, "status": "in_progress"})


def completed(*items: JSONValue, **fields: JSONValue) -> ServerSentEvent:
    """The last frame of a stream."""
    return frame("response.completed", response={"status": "completed", "output": [*items], **fields})


def frames_of(stream: bytes) -> list[ServerSentEvent]:
    """The frames in some bytes."""
    decoder = SSEDecoder()
    return [*decoder.feed(stream), *decoder.close()]


def told(frames: Iterable[ServerSentEvent]) -> list[StreamEvent]:
    """The events frames make; the grammar is checked."""

    def events() -> Iterator[StreamEvent]:
        decoder = CODEC.stream_decoder()
        for item in frames:
            yield from decoder.feed(item)
        yield from decoder.close()

    return list(check_stream(events()))


def heard(*frames: ServerSentEvent) -> Choice:
    """The choice a stream tells."""
    return accumulate(told(frames)).choices[0]


def fault(*frames: ServerSentEvent) -> StreamFault:
    """The fault a stream ends with."""
    last = told(frames)[-1]
    assert isinstance(last, StreamFault)
    return last


def encode_stream(events: Iterable[StreamEvent], context: StreamContext | None = None) -> list[JSONObject]:
    """The events for a client, as objects; names and numbers are checked."""
    encoder = CODEC.stream_encoder(context or counting())
    frames = [item for event in events for item in encoder.feed(event)] + list(encoder.close())
    bodies = [loads_object(item.data) for item in frames]
    assert [item.event for item in frames] == [item["type"] for item in bodies]
    assert [item["sequence_number"] for item in bodies] == list(range(len(bodies)))
    return bodies


def kinds(bodies: Iterable[JSONObject]) -> list[str]:
    """What the events are called, without their common beginning."""
    return [str(item["type"]).removeprefix("response.") for item in bodies]


def encode_answer(response: ChatResponse, context: StreamContext | None = None) -> JSONObject:
    """The answer for a client."""
    return loads_object(CODEC.encode_response(response, context=context or counting()).body)


def streamed(response: ChatResponse, context: StreamContext | None = None) -> list[JSONObject]:
    """The answer as a stream for a client."""
    return encode_stream(explode(response), context)
