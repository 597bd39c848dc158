"""What the tests of answers share: short ways to write what the vendor says."""

from __future__ import annotations

from collections.abc import Iterable

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols.gemini_generate import CODEC
from asgi_llmgw.sse import ServerSentEvent, SSEDecoder


def chunk(*parts: JSONValue, finish: JSONValue = None, index: int | None = 0, **fields: JSONValue) -> JSONObject:
    """One response object with one candidate; `fields` are the candidate's."""
    candidate: JSONObject = {"content": {"role": "model", "parts": list(parts)}, **fields}
    if finish is not None:
        candidate["finishReason"] = finish
    if index is not None:
        candidate["index"] = index
    return {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "r1"}


def text(value: str, signature: str | None = None) -> JSONObject:
    return {"text": value} if signature is None else {"text": value, "thoughtSignature": signature}


def thought(value: str) -> JSONObject:
    return {"text": value, "thought": True}


def call(name: str, **args: JSONValue) -> JSONObject:
    return {"functionCall": {"name": name, "args": args}}


def whole(answer: JSONValue) -> ir.ChatResponse:
    return CODEC.decode_response(dumps(answer))


def events(*chunks: JSONValue) -> list[ir.StreamEvent]:
    """The events of a stream of these objects, in an order the grammar allows."""
    decoder = CODEC.stream_decoder()
    told: list[ir.StreamEvent] = []
    for item in chunks:
        told += decoder.feed(ServerSentEvent(item if isinstance(item, bytes) else dumps(item)))
    told += decoder.close()
    return list(ir.check_stream(told))


def streamed(*chunks: JSONValue) -> ir.ChatResponse:
    return ir.accumulate(events(*chunks))


def fault(*chunks: JSONValue | bytes) -> ir.StreamFault:
    """The fault a stream ends with."""
    last = events(*chunks)[-1]  # type: ignore[arg-type]
    assert isinstance(last, ir.StreamFault), last
    return last


def read(pieces: Iterable[bytes]) -> list[ir.StreamEvent]:
    """The events of a body that arrives in these pieces."""
    sse, decoder = SSEDecoder(), CODEC.stream_decoder()
    told: list[ir.StreamEvent] = []
    for piece in pieces:
        for frame in sse.feed(piece):
            told += decoder.feed(frame)
    for frame in sse.close():
        told += decoder.feed(frame)
    told += decoder.close()
    return told


def merged(chunks: list[JSONObject]) -> JSONObject:
    """What the vendor would have said in one piece: all parts of a candidate, everything else from its last word."""
    result: JSONObject = {}
    candidates: dict[int, JSONObject] = {}
    for item in chunks:
        listed = item.get("candidates")
        for position, candidate in enumerate(listed if isinstance(listed, list) else []):
            assert isinstance(candidate, dict)
            given = candidate.get("index")
            index = given if isinstance(given, int) else position
            known = candidates.setdefault(index, {"index": index})
            parts: list[JSONValue] = [*_parts(known), *_parts(candidate)]
            content: JSONObject = {"role": "model", "parts": parts}
            known.update({**candidate, "index": index, "content": content})
        result.update(item)
    if candidates:
        result["candidates"] = list(candidates.values())
    return result


def _parts(candidate: JSONObject) -> list[JSONValue]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return parts if isinstance(parts, list) else []
