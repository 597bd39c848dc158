"""What the tests of serving Gemini clients share: short ways to ask, to answer, and the vendor's own types to judge."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from google.genai import types

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols.base import StreamContext
from asgi_llmgw.protocols.gemini_generate import CODEC
from asgi_llmgw.sse import ServerSentEvent

PATH = "/v1beta/models/some-model:generateContent"
CONTEXT = StreamContext(clock=lambda: 1_700_000_000.0, new_id=lambda prefix: f"{prefix}1")
HIDDEN = StreamContext(include_thoughts=False, new_id=lambda prefix: f"{prefix}1")
CALL: JSONObject = {"functionCall": {"name": "f", "args": {"a": 1}}}
USER: JSONObject = {"role": "user", "parts": [{"text": "hello"}]}


def ask(**fields: JSONValue) -> ir.ChatRequest:
    """The request as it is read; there is something in it."""
    return CODEC.decode_request(PATH, dumps({"contents": [USER], **fields}))


def converse(*contents: JSONValue) -> tuple[ir.Message, ...]:
    return ask(contents=list(contents)).messages


def user(*parts: JSONValue) -> JSONObject:
    return {"role": "user", "parts": list(parts)}


def model(*parts: JSONValue) -> JSONObject:
    return {"role": "model", "parts": list(parts)}


def result(name: str, response: JSONValue, **fields: JSONValue) -> JSONObject:
    return {"functionResponse": {"name": name, "response": response, **fields}}


def refused(**fields: JSONValue) -> InvalidRequest:
    """Why a request is refused."""
    with pytest.raises(InvalidRequest) as caught:
        ask(**fields)
    return caught.value


def answer(
    *parts: ir.OutputPart,
    finish: ir.FinishReason | None = None,
    usage: ir.Usage | None = None,
    logprobs: tuple[ir.TokenLogprob, ...] | None = None,
) -> ir.ChatResponse:
    choice = ir.Choice(parts, finish or ir.FinishReason("stop"), logprobs=logprobs)
    return ir.ChatResponse((choice,), id="r1", model="m1", usage=usage)


def written(response: ir.ChatResponse, context: StreamContext = CONTEXT) -> JSONObject:
    """The whole answer as the client gets it, which the vendor's own types understand."""
    body = loads_object(CODEC.encode_response(response, context=context).body)
    accepted(body)
    return body


def candidate(response: ir.ChatResponse, context: StreamContext = CONTEXT) -> JSONObject:
    return as_object(as_list(written(response, context)["candidates"])[0])


def parts_of(*parts: ir.OutputPart, context: StreamContext = CONTEXT) -> list[JSONValue]:
    return as_list(as_object(candidate(answer(*parts), context)["content"]).get("parts"))


def told(events: Iterable[ir.StreamEvent], context: StreamContext = CONTEXT) -> list[JSONObject]:
    """The chunks a stream of these events is, each of which the vendor's own types understand."""
    chunks = [loads_object(frame.data) for frame in frames(events, context)]
    for chunk in chunks:
        if "error" not in chunk:
            accepted(chunk)
    return chunks


def frames(events: Iterable[ir.StreamEvent], context: StreamContext = CONTEXT) -> list[ServerSentEvent]:
    encoder = CODEC.stream_encoder(context)
    return [frame for event in events for frame in encoder.feed(event)] + list(encoder.close())


def accepted(body: JSONObject) -> types.GenerateContentResponse:
    """google-genai's types forbid fields they do not know; citations have another name on the wire."""
    return types.GenerateContentResponse.model_validate_json(dumps(body).replace(b'"citationSources"', b'"citations"'))


def whole(chunks: Iterable[JSONObject]) -> ir.ChatResponse:
    """What these chunks say, as our own reader of the vendor's streams understands them."""
    decoder = CODEC.stream_decoder()
    events = [event for chunk in chunks for event in decoder.feed(ServerSentEvent(dumps(chunk)))]
    return ir.accumulate(ir.check_stream([*events, *decoder.close()]))
