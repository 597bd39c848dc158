"""Every recorded answer, stream and request, through the translator and into the hands of the vendors' own SDKs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import pytest
from anthropic.types import message_create_params
from google.genai import types as gemini
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import response_create_params
from pydantic import BaseModel, TypeAdapter

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest, UpstreamError
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, loads, loads_object
from asgi_llmgw.protocols import PROTOCOLS, Profile, StreamContext, codec
from asgi_llmgw.sse import SSEDecoder
from asgi_llmgw.translate import StreamTranslator, translate_response
from tests.wire import Recording, needs_wire, recordings

Report = Callable[[str, int], None]

SPOKEN: Final[dict[str, ir.Protocol]] = {
    "openai_chat": "openai_chat",
    "openai_compat": "openai_chat",
    "anthropic_messages": "anthropic_messages",
    "gemini_generate": "gemini_generate",
}
CONTEXT: Final = StreamContext(include_usage=True, clock=lambda: 1_700_000_000.0, new_id=lambda prefix: f"{prefix}1")
ANSWERS: Final = {"openai_chat": 23, "openai_compat": 18, "anthropic_messages": 42, "gemini_generate": 39}
STREAMS: Final = {"openai_chat": 14, "openai_compat": 13, "anthropic_messages": 26, "gemini_generate": 22}
REQUESTS: Final = {"openai_chat": 37, "openai_compat": 29}

OURS: Final = {"annotations", "extra_content", "reasoning_content", "reasoning_details"}
"""Members the SDK has no types for: annotations in a stream, as OpenAI sends them, and what other vendors add."""

ERROR_ANSWERS: Final = {"openai_compat/prompt-content-filtering": "filtered"}
ERROR_STREAMS: Final = {"openai_compat/tool-use-failed-error-streaming-with-text": "caller_fault"}
UNREADABLE_REQUESTS: Final = {
    # Azure keeps the model in the path
    "openai_compat/azure-agent-kickoff-structured-output-with-tools-1": "model",
    "openai_compat/azure-agent-kickoff-structured-output-with-tools-2": "model",
    # a content part of Perplexity's own
    "openai_compat/chat-document-models-perplexity-sonar-pro-understands-docx-docum": "messages[0].content[1].type",
}
REFUSED_REQUESTS: Final[dict[tuple[str, ir.Protocol], str]] = {
    # several answers at once
    ("openai_chat/async-chat-completion-multiple-choices", "anthropic_messages"): "n",
    ("openai_chat/chat-multiple-choices-streaming", "anthropic_messages"): "n",
    ("openai_compat/blocking-ministral-3b-roomy-plain-two", "anthropic_messages"): "n",
    ("openai_chat/async-chat-completion-multiple-choices", "openai_responses"): "n",
    ("openai_chat/chat-multiple-choices-streaming", "openai_responses"): "n",
    ("openai_compat/blocking-ministral-3b-roomy-plain-two", "openai_responses"): "n",
    # sound in and out
    ("openai_chat/chat-audio-models-gpt-audio-mini-can-understand-audio", "openai_responses"): "messages[0].content[1]",
    ("openai_compat/chat-audio-models-mistral-voxtral-small-latest-can-understand-mp", "openai_responses"): (
        "messages[0].content[1]"
    ),
    ("openai_chat/chat-text-to-audio", "openai_responses"): "modalities",
    ("openai_chat/chat-citations-with-gpt-4o-mini-search-preview-returns-url-citat", "openai_responses"): (
        "web_search_options"
    ),
    ("openai_chat/chat-audio-models-gpt-audio-mini-can-understand-audio", "anthropic_messages"): (
        "messages[0].content[1]"
    ),
    ("openai_compat/chat-audio-models-mistral-voxtral-small-latest-can-understand-mp", "anthropic_messages"): (
        "messages[0].content[1]"
    ),
    ("openai_chat/chat-text-to-audio", "anthropic_messages"): "modalities",
    # a search that OpenAI runs
    ("openai_chat/chat-citations-with-gpt-4o-mini-search-preview-returns-url-citat", "anthropic_messages"): (
        "web_search_options"
    ),
    ("openai_chat/chat-citations-with-gpt-4o-mini-search-preview-returns-url-citat", "gemini_generate"): (
        "web_search_options"
    ),
    # a file that OpenAI keeps
    ("openai_chat/multimodal-tool-return-matrix-tool-return-content-uploaded-file-2", "anthropic_messages"): (
        "messages[3].content[0]"
    ),
    ("openai_chat/multimodal-tool-return-matrix-tool-return-content-uploaded-file-2", "gemini_generate"): (
        "messages[3].content[0]"
    ),
}

pytestmark = needs_wire


@pytest.mark.parametrize("folder", ANSWERS)
def test_every_recorded_answer_becomes_a_chat_completion(folder: str, report: Report) -> None:
    found = [recording for recording in recordings(folder) if recording.response is not None]
    understood = 0
    for recording in found:
        try:
            out = translate_response(recording.response or b"", source=SPOKEN[folder], target="openai_chat", model="m")
        except UpstreamError as error:
            assert ERROR_ANSWERS.get(recording.id) == error.failure, recording.id
            continue
        completion = ChatCompletion.model_validate(loads(out.body), strict=True)
        assert completion.model == "m", recording.id
        assert unknown_members(completion) <= OURS, recording.id
        assert completion.choices, recording.id
        understood += 1
    assert understood >= ANSWERS[folder] - sum(name.startswith(f"{folder}/") for name in ERROR_ANSWERS)
    report(f"{folder} answers as chat completions", understood)


@pytest.mark.parametrize("folder", STREAMS)
def test_every_recorded_stream_becomes_chunks_that_add_up(folder: str, report: Report) -> None:
    """The SDK's own sum of the chunks is the whole answer, translated."""
    understood = 0
    for recording in recordings(folder):
        if recording.stream is None:
            continue
        translator = StreamTranslator(source=SPOKEN[folder], target="openai_chat", context=CONTEXT)
        frames = datas(translator.feed(recording.stream) + translator.close())
        if translator.fault is not None:
            assert ERROR_STREAMS.get(recording.id) == translator.fault.failure, recording.id
            assert "error" in loads_object(frames[-1])
            continue
        assert frames.pop() == b"[DONE]", recording.id
        state = ChatCompletionStreamState()
        for frame in frames:
            chunk = ChatCompletionChunk.model_validate(loads(frame), strict=True)
            assert unknown_members(chunk) <= OURS, recording.id
            state.handle_chunk(chunk)
        answer = ir.accumulate(events_of(SPOKEN[folder], recording.stream))
        whole = loads(codec("openai_chat").encode_response(answer, context=CONTEXT).body)
        summed = loads(state.current_completion_snapshot.model_dump_json())
        assert essence(summed) == essence(whole), recording.id
        understood += 1
    assert understood >= STREAMS[folder] - sum(name.startswith(f"{folder}/") for name in ERROR_STREAMS)
    report(f"{folder} streams as chat completion chunks", understood)


def unknown_members(value: object) -> set[str]:
    """The names of members that the SDK's types do not have."""
    if isinstance(value, BaseModel):
        inner = (getattr(value, name) for name in type(value).model_fields)
        return set(value.model_extra or ()).union(*map(unknown_members, inner))
    if isinstance(value, list):
        return set[str]().union(*map(unknown_members, value))
    return set()


def datas(text: bytes) -> list[bytes]:
    decoder = SSEDecoder()
    return [frame.data for frame in (*decoder.feed(text), *decoder.close())]


def events_of(protocol: ir.Protocol, stream: bytes) -> Iterator[ir.StreamEvent]:
    frames, decoder = SSEDecoder(), codec(protocol).stream_decoder()
    for frame in (*frames.feed(stream), *frames.close()):
        yield from decoder.feed(frame)
    yield from decoder.close()


def essence(value: JSONValue) -> JSONValue:
    """A completion without what only one of both forms has: the object's name, the indices of calls, empty members."""
    match value:
        case dict():
            kept = {name: essence(item) for name, item in value.items() if name not in ("object", "parsed")}
            if "function" in kept:
                kept.pop("index", None)
                as_object(kept["function"]).pop("parsed_arguments", None)
            return {name: item for name, item in kept.items() if item not in (None, "", [])}
        case list():
            return [essence(item) for item in value]
        case _:
            return value


@pytest.mark.parametrize("folder", REQUESTS)
def test_every_recorded_request_is_read_or_refused_for_a_known_reason(folder: str, report: Report) -> None:
    decoded = 0
    for recording, request in requests(folder):
        assert request.model == loads_object(recording.request or b"")["model"], recording.id
        assert request.messages, recording.id
        decoded += 1
    refused = sum(name.startswith(f"{folder}/") for name in UNREADABLE_REQUESTS)
    assert decoded >= REQUESTS[folder] - refused
    report(f"{folder} requests read", decoded)


def requests(folder: str) -> Iterator[tuple[Recording, ir.ChatRequest]]:
    for recording in recordings(folder):
        if recording.request is None:
            continue
        try:
            request = codec("openai_chat").decode_request(recording.path, recording.request)
        except InvalidRequest as error:
            assert error.param is not None
            assert UNREADABLE_REQUESTS.get(recording.id) == error.param, (recording.id, error.param)
        else:
            assert recording.id not in UNREADABLE_REQUESTS
            yield recording, request


@pytest.mark.parametrize("target", PROTOCOLS)
@pytest.mark.parametrize("folder", REQUESTS)
def test_every_recorded_request_can_be_sent_to_every_vendor_or_is_refused_for_a_known_reason(
    folder: str, target: ir.Protocol, report: Report
) -> None:
    sent = 0
    for recording, request in requests(folder):
        refusal = REFUSED_REQUESTS.get((recording.id, target))
        try:
            out = codec(target).encode_request(request, profile=Profile())
        except InvalidRequest as error:
            assert refusal is not None and error.param == refusal, (recording.id, error.param)
            continue
        assert refusal is None, recording.id
        head = codec(target).peek(out.path, out.body)
        assert (head.model, head.stream) == (request.model, request.stream), recording.id
        accepted(target, loads_object(out.body))
        sent += 1
    known = {name for name, protocol in REFUSED_REQUESTS if protocol == target} | set(UNREADABLE_REQUESTS)
    assert sent >= REQUESTS[folder] - sum(name.startswith(f"{folder}/") for name in known)
    report(f"{folder} requests for {target}", sent)


_ANTHROPIC: Final = TypeAdapter[object](message_create_params.MessageCreateParamsBase)
_RESPONSES: Final = TypeAdapter[object](response_create_params.ResponseCreateParamsBase)


def accepted(target: ir.Protocol, body: JSONObject) -> None:
    """The vendor's own types take it.

    Raises:
        ValidationError: they do not.
    """
    match target:
        case "anthropic_messages":
            exhaust(_ANTHROPIC.validate_python(body))
        case "openai_responses":
            exhaust(_RESPONSES.validate_python(body))
        case "gemini_generate":
            gemini.GenerateContentConfig.model_validate(body.get("generationConfig") or {})
            for content in as_list(body["contents"]):
                gemini.Content.model_validate(content)
            for tool in as_list(body.get("tools")):
                gemini.Tool.model_validate(tool)
        case _:
            assert body["messages"]


def exhaust(value: object) -> None:
    """Pydantic looks into an iterable only as far as somebody reads it."""
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, Iterable) and not isinstance(value, str | BaseModel):
        for inner in value:
            exhaust(inner)
