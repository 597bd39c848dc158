"""The sixteen pairs of an upstream's protocol and a client's, the recorded answers, and what an answer says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

import msgspec
import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.json import JSONValue, dumps, loads
from asgi_llmgw.protocols import PROTOCOLS, SERVED, StreamContext, codec
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder
from asgi_llmgw.translate import StreamTranslator
from tests.wire import recordings

FOLDERS: Final[dict[ir.Protocol, tuple[str, ...]]] = {
    "openai_chat": ("openai_chat", "openai_compat"),
    "openai_responses": ("openai_responses", "openai_compat_responses"),
    "anthropic_messages": ("anthropic_messages",),
    "gemini_generate": ("gemini_generate",),
}
PAIRS: Final = [(source, target) for source in PROTOCOLS for target in SERVED]
EVERY_PAIR: Final = pytest.mark.parametrize(
    ("source", "target"), [pytest.param(*pair, id="-to-".join(pair)) for pair in PAIRS]
)
STREAMS: Final = {"openai_chat": 27, "openai_responses": 33, "anthropic_messages": 26, "gemini_generate": 22}
"""So many streams of each protocol were recorded, and so many whole answers."""
ANSWERS: Final = {"openai_chat": 41, "openai_responses": 36, "anthropic_messages": 42, "gemini_generate": 39}

FAULTS: Final[dict[ir.Protocol, frozenset[str]]] = {
    "openai_chat": frozenset({"openai_compat/tool-use-failed-error-streaming-with-text"}),
    "openai_responses": frozenset({"openai_responses/openai-error-1", "openai_responses/stream-rate-limited-1"}),
    "anthropic_messages": frozenset(),
    "gemini_generate": frozenset(),
}
"""Streams in which the vendor tells an error."""
BROKEN_CALL: Final = "anthropic_messages/spliced-message-start"
"""A call that was cut in the middle: told whole it is wrapped, told in a stream its beginning has gone out already."""


@dataclass(frozen=True)
class Recorded:
    """The bytes of one answer and what they say, which is the error in them where there is one."""

    id: str
    raw: bytes
    answer: ir.ChatResponse | UpstreamError


@cache
def streams(protocol: ir.Protocol) -> list[Recorded]:
    """Every recorded stream of a vendor that speaks this protocol."""
    return [
        Recorded(found.id, found.stream, folded(events_of(protocol, found.stream)))
        for found in recordings(*FOLDERS[protocol])
        if found.stream is not None
    ]


@cache
def answers(protocol: ir.Protocol) -> list[Recorded]:
    """Every recorded whole answer."""
    return [
        Recorded(found.id, found.response, understood(protocol, found.response))
        for found in recordings(*FOLDERS[protocol])
        if found.response is not None
    ]


def folded(events: Iterable[ir.StreamEvent]) -> ir.ChatResponse | UpstreamError:
    """The answer a stream tells, or the error it ends with."""
    try:
        return ir.accumulate(events)
    except UpstreamError as error:
        return error


def understood(protocol: ir.Protocol, body: bytes) -> ir.ChatResponse | UpstreamError:
    """The answer a body tells, or the error it is."""
    try:
        return codec(protocol).decode_response(body)
    except UpstreamError as error:
        return error


def context() -> StreamContext:
    """Everything is wanted, time stands still, and the ids of a kind are numbered."""
    made: Counter[str] = Counter()

    def numbered(prefix: str) -> str:
        made[prefix] += 1
        return f"{prefix}{made[prefix]}"

    return StreamContext(include_usage=True, clock=lambda: 1_700_000_000.0, new_id=numbered)


def translated(source: ir.Protocol, target: ir.Protocol, *chunks: bytes) -> tuple[bytes, StreamTranslator]:
    """What a client gets for these bytes of an upstream's."""
    translator = StreamTranslator(source=source, target=target, context=context())
    out = b"".join([translator.feed(chunk) for chunk in chunks])
    return out + translator.close(), translator


def encoded(target: ir.Protocol, events: list[ir.StreamEvent]) -> bytes:
    """The stream a client gets for these events."""
    encoder, newline = codec(target).stream_encoder(context()), codec(target).frame_newline
    frames = [frame for event in events for frame in encoder.feed(event)] + list(encoder.close())
    return b"".join(frame.encode(newline) for frame in frames)


def frames_of(stream: bytes) -> list[ServerSentEvent]:
    """The events of a stream, as the standard reads them."""
    decoder = SSEDecoder()
    return [*decoder.feed(stream), *decoder.close()]


def events_of(protocol: ir.Protocol, stream: bytes) -> list[ir.StreamEvent]:
    """What a stream tells, in an order that the grammar allows."""
    decoder = codec(protocol).stream_decoder()
    events = [event for frame in frames_of(stream) for event in decoder.feed(frame)] + list(decoder.close())
    return list(ir.check_stream(events))


def whole(target: ir.Protocol, answer: ir.ChatResponse) -> ir.ChatResponse:
    """What a client of this protocol understands of a whole answer."""
    return codec(target).decode_response(codec(target).encode_response(answer, context=context()).body)


def said(answer: ir.ChatResponse) -> list[object]:
    """What an answer says, however it is cut into parts: each kind of thing in its own order.

    Where a signature is pinned is the wire's affair, and so is the spelling of JSON.
    """
    return [_said(choice) for choice in answer.choices]


def _said(choice: ir.Choice) -> dict[str, object]:
    told: dict[str, list[object]] = {}
    for part in choice.parts:
        match part:
            case ir.TextPart() | ir.ReasoningPart() | ir.RefusalPart():
                told.setdefault(type(part).__name__, []).append(part.text)
            case ir.ToolCallPart():
                told.setdefault("calls", []).append((part.id, part.name, part.kind, value_of(part.arguments)))
            case ir.MediaPart():
                told.setdefault("media", []).append(msgspec.structs.replace(part, signature=None))
            case ir.CitationPart():
                told.setdefault("citations", []).append(part)
            case ir.UnknownPart():
                told.setdefault("unknown", []).append(value_of(dumps(part.raw).decode()))
        state = part.opaque if isinstance(part, ir.ReasoningPart) else getattr(part, "signature", None)
        if state is not None:
            told.setdefault("state", []).append((state.protocol, state.kind, state.payload))
    joined: dict[str, object] = {
        kind: "".join(str(item) for item in items) if kind.endswith("Part") else items for kind, items in told.items()
    }
    joined = {kind: value for kind, value in joined.items() if value}
    return joined | {"index": choice.index, "finish": choice.finish, "logprobs": choice.logprobs}


def value_of(arguments: str) -> JSONValue:
    """Arguments as a value; what is no JSON stays the text it is."""
    try:
        return loads(arguments.encode()) if arguments else {}
    except ValueError:
        return arguments
