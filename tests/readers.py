"""The vendors' own SDKs, fed with bytes: what a client hears of an answer, by each SDK's own reading of the wire.

Every value is also held against the SDK's types, strictly where we made it up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

import httpx2
from anthropic._models import construct_type_unchecked as construct_messages_type
from anthropic._streaming import SSEDecoder as AnthropicDecoder
from anthropic.lib.streaming._beta_messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from anthropic.types.beta.parsed_beta_message import ParsedBetaMessage
from google.genai import types as gemini
from google.genai._api_client import HttpResponse
from google.genai.models import _GenerateContentResponse_from_mldev
from msgspec import Struct
from openai import omit
from openai._models import construct_type_unchecked as construct_type
from openai._streaming import SSEDecoder as OpenAIDecoder
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, as_str, loads, loads_object

_MESSAGES_EVENT: Final[TypeAdapter[RawMessageStreamEvent]] = TypeAdapter(RawMessageStreamEvent)
_RESPONSES_EVENT: Final[TypeAdapter[ResponseStreamEvent]] = TypeAdapter(ResponseStreamEvent)
_OURS: Final = ("text", "thinking", "redacted_thinking", "tool_use", "text_delta", "thinking_delta", "signature_delta")


class Heard(Struct, frozen=True):
    """What an SDK makes of an answer: all text (refusals too), calls by name and arguments, the finish, the usage."""

    text: str
    calls: tuple[tuple[str, JSONValue], ...]
    finish: str | None
    tokens: tuple[int, int] | None


class SDKError(Exception):
    """The SDK raises an error of the vendor's. Its argument is the message."""


def hear_stream(protocol: ir.Protocol, stream: bytes) -> Heard:
    """What the SDK of this protocol makes of a stream.

    Raises:
        SDKError: the stream tells an error.
    """
    match protocol:
        case "openai_chat":
            return _chat(_chat_stream(stream))
        case "openai_responses":
            return _responses(_responses_stream(stream))
        case "anthropic_messages":
            return _messages(_messages_stream(stream))
        case "gemini_generate":
            return _gemini([_gemini_response(chunk) for chunk in _gemini_chunks(stream)])
        case "bedrock_converse":
            raise AssertionError("no client speaks it")


def hear_answer(protocol: ir.Protocol, body: bytes) -> Heard:
    """What the SDK of this protocol makes of a whole answer, which its types take strictly."""
    match protocol:
        case "openai_chat":
            return _chat(ChatCompletion.model_validate_json(body, strict=True))
        case "openai_responses":
            return _responses(Response.model_validate_json(body, strict=True))
        case "anthropic_messages":
            return _messages(_messages_answer(body))
        case "gemini_generate":
            return _gemini([_gemini_response(loads_object(body))])
        case "bedrock_converse":
            raise AssertionError("no client speaks it")


def _raise_for(data: JSONObject) -> None:
    error = data.get("error")
    if isinstance(error, dict):
        raise SDKError(as_str(error.get("message")))


def _chat_stream(stream: bytes) -> ChatCompletion:
    """As `openai._streaming.Stream` reads it: `[DONE]` must come, and nothing is read after it."""
    state = ChatCompletionStreamState()
    events = OpenAIDecoder().iter_bytes(iter([stream]))
    for event in events:
        if event.data.startswith("[DONE]"):
            assert next(events, None) is None
            return ChatCompletion.model_validate_json(state.current_completion_snapshot.model_dump_json(warnings=False))
        assert event.event is None
        data = loads_object(event.data.encode())
        _raise_for(data)
        if '"type":"custom"' not in event.data:  # the types of its chunks know functions alone
            ChatCompletionChunk.model_validate_json(event.data, strict=True)
        state.handle_chunk(construct_type(type_=ChatCompletionChunk, value=data))
    raise AssertionError("a stream without [DONE]")


def _chat(completion: ChatCompletion) -> Heard:
    choice = completion.choices[0]
    message = choice.message
    calls: list[tuple[str, JSONValue]] = []
    for call in message.tool_calls or ():
        if call.type == "function":
            calls.append((call.function.name, _value(call.function.arguments)))
        else:
            calls.append((call.custom.name, call.custom.input))
    if message.function_call is not None:
        calls.append((message.function_call.name, _value(message.function_call.arguments)))
    usage = completion.usage
    tokens = None if usage is None else (usage.prompt_tokens, usage.completion_tokens)
    return Heard((message.content or "") + (message.refusal or ""), tuple(calls), choice.finish_reason, tokens)


def _responses_stream(stream: bytes) -> Response:
    """The state checks that ids keep to their places; numbers run without a gap; the last event has the answer."""
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    last: ResponseStreamEvent | None = None
    for number, event in enumerate(OpenAIDecoder().iter_bytes(iter([stream]))):
        data = loads_object(event.data.encode())
        assert (event.event, data["sequence_number"]) == (data["type"], number)
        _raise_for(data)
        last = _RESPONSES_EVENT.validate_json(event.data, strict=True)
        state.handle_event(last)
    assert last is not None and last.type in ("response.completed", "response.incomplete")
    return last.response


def _responses(response: Response) -> Heard:
    text, calls = "", list[tuple[str, JSONValue]]()
    for item in response.output:
        if item.type == "message":
            text += "".join(part.text if part.type == "output_text" else part.refusal for part in item.content)
        elif item.type == "function_call":
            calls.append((item.name, _value(item.arguments)))
        elif item.type == "custom_tool_call":
            calls.append((item.name, item.input))
    usage = response.usage
    assert usage is not None
    return Heard(text, tuple(calls), response.status, (usage.input_tokens, usage.output_tokens))


def _messages_stream(stream: bytes) -> BetaMessage:
    """As `anthropic._streaming.Stream` reads it, to which an event without a name is none."""
    message: ParsedBetaMessage[None] | None = None
    buffers: dict[int, bytes] = {}
    ended = False
    for event in AnthropicDecoder().iter_bytes(iter([stream])):
        assert event.event is not None and not ended
        if event.event == "ping":
            continue
        data = loads_object(event.data.encode())
        _raise_for(data)
        assert data["type"] == event.event
        kinds = [as_object(data.get(key)).get("type", "text") for key in ("content_block", "delta")]
        if all(kind in _OURS for kind in kinds):
            _MESSAGES_EVENT.validate_json(event.data, strict=True)
        told: BetaRawMessageStreamEvent = construct_messages_type(
            type_=cast(Any, BetaRawMessageStreamEvent), value=data
        )
        message = accumulate_event(
            event=told, current_snapshot=message, json_bufs=buffers, request_headers=httpx2.Headers()
        )
        ended = event.event == "message_stop"
    assert ended and message is not None
    return message


def _messages_answer(body: bytes) -> BetaMessage:
    data = loads_object(body)
    if all(
        as_object(block)["type"] in _OURS and "citations" not in as_object(block) for block in as_list(data["content"])
    ):
        Message.model_validate_json(body, strict=True)
    return construct_messages_type(type_=BetaMessage, value=data)


def _messages(message: BetaMessage) -> Heard:
    text, calls = "", list[tuple[str, JSONValue]]()
    for block in message.content:
        if block.type == "text":
            text += block.text
        elif block.type == "tool_use":
            calls.append((block.name, _plain(block.input)))
    cached = (message.usage.cache_read_input_tokens or 0) + (message.usage.cache_creation_input_tokens or 0)
    tokens = (message.usage.input_tokens + cached, message.usage.output_tokens)
    return Heard(text, tuple(calls), message.stop_reason, tokens)


def _gemini_chunks(stream: bytes) -> Iterator[JSONObject]:
    """As google-genai splits lines: `data: ` with its blank, and whatever else is there is taken for JSON."""
    response = HttpResponse({}, httpx2.Response(200, content=stream))
    for segment in response.segments():
        chunk = as_object(_plain(segment))
        assert "error" not in chunk or next(iter(chunk)) == "error"  # it looks no further
        _raise_for(chunk)
        yield chunk


def _gemini_response(chunk: JSONObject) -> gemini.GenerateContentResponse:
    """The SDK renames what has another name on the wire; its types forbid what they do not know."""
    renamed = _GenerateContentResponse_from_mldev(chunk, None, gemini._GenerateContentParameters())
    return gemini.GenerateContentResponse.model_validate(renamed)


def _gemini(chunks: list[gemini.GenerateContentResponse]) -> Heard:
    text, calls, finish = "", list[tuple[str, JSONValue]](), None
    tokens: tuple[int, int] | None = None
    for chunk in chunks:
        usage = chunk.usage_metadata
        if usage is not None:
            prompt = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
            tokens = (prompt, (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0))
        for candidate in chunk.candidates or ():
            if candidate.index:
                continue
            finish = candidate.finish_reason.value if candidate.finish_reason is not None else finish
            parts = (candidate.content.parts or []) if candidate.content is not None else []
            text += "".join(part.text or "" for part in parts if not part.thought)
            found = [part.function_call for part in parts if part.function_call is not None]
            calls += [(call.name or "", _plain(call.args or {})) for call in found]
    return Heard(text, tuple(calls), finish, tokens)


def _value(arguments: str) -> JSONValue:
    """Arguments as a value; what is no JSON stays the text it is."""
    try:
        return loads(arguments.encode()) if arguments else {}
    except ValueError:
        return arguments


def _plain(value: object) -> JSONValue:
    """What an SDK read as a JSON value of ours."""
    return loads(TypeAdapter(object).dump_json(value))
