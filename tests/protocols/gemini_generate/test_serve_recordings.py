"""Recorded requests of Gemini clients are read; what all vendors answered is what a Gemini client takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest, UpstreamError
from asgi_llmgw.json import as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols import Profile, codec
from asgi_llmgw.protocols.gemini_generate import CODEC
from asgi_llmgw.protocols.gemini_generate.carriers import unpack
from asgi_llmgw.sse import SSEDecoder
from tests.wire import Recording, needs_wire, recordings

from .served import CONTEXT, accepted, frames, told, whole, written
from .test_serve_streams import essence

pytestmark = needs_wire

Report = Callable[[str, int], None]
SPOKEN: Final[dict[str, ir.Protocol]] = {
    "openai_chat": "openai_chat",
    "openai_compat": "openai_chat",
    "anthropic_messages": "anthropic_messages",
    "gemini_generate": "gemini_generate",
}
FULL: Final = Profile(tool_call_ids=True, thinking_level=True, function_response_media=True)
PLAIN: Final = Profile()
ALL: Final = recordings(*SPOKEN)
ASKED: Final = [item for item in recordings("gemini_generate") if item.request is not None]
ANSWERS: Final = [item for item in ALL if item.response is not None and item.status < 400]
STREAMS: Final = [item for item in ALL if item.stream is not None]
ERRORS: Final = {
    "openai_compat/prompt-content-filtering",
    "openai_compat/tool-use-failed-error-streaming-with-text",
}

REFUSED: Final[dict[tuple[str, ir.Protocol], str]] = {
    # tools that Google runs
    ("blocking-code-execution-unicode-output", "openai_chat"): "tools[0]",
    ("blocking-code-execution-unicode-output", "anthropic_messages"): "tools[0]",
    ("chat-code-execution-with-gemini-3-5-flash-runs-code-server-side", "openai_chat"): "tools[0]",
    ("chat-code-execution-with-gemini-3-5-flash-runs-code-server-side", "anthropic_messages"): "tools[0]",
    ("model-file-search-grounding-gemini-3-true-4", "openai_chat"): "tools[0]",
    ("model-file-search-grounding-gemini-3-true-4", "anthropic_messages"): "tools[0]",
    ("streaming-code-execution-unicode-output", "openai_chat"): "tools[0]",
    ("streaming-code-execution-unicode-output", "anthropic_messages"): "tools[0]",
    ("thinking-with-native-tool-wire-contract-google", "openai_chat"): "tools[0]",
    ("thinking-with-native-tool-wire-contract-google", "anthropic_messages"): "tools[0]",
    ("tool-output-with-builtin-tools", "openai_chat"): "tools[0]",
    ("tool-output-with-builtin-tools", "anthropic_messages"): "tools[0]",
    # what Google keeps or promises
    ("cached-content-matrix-use-streaming-2", "openai_chat"): "cachedContent",
    ("cached-content-matrix-use-streaming-2", "anthropic_messages"): "cachedContent",
    ("model-armor-prompt-template-text-gets-blocked-2", "openai_chat"): "modelArmorConfig",
    ("model-armor-prompt-template-text-gets-blocked-2", "anthropic_messages"): "modelArmorConfig",
    ("model-armor-response-template-real-block", "openai_chat"): "modelArmorConfig",
    ("model-armor-response-template-real-block", "anthropic_messages"): "modelArmorConfig",
    # sound and films
    ("chat-audio-models-gemini-2-5-flash-can-understand-audio", "anthropic_messages"): "messages[0].content[1]",
    ("model-youtube-video-url-input", "openai_chat"): "messages[1].content[1]",
    ("model-youtube-video-url-input", "anthropic_messages"): "messages[1].content[1]",
    ("multimodal-tool-return-matrix-direct-uploaded-file-audio-google-3", "openai_chat"): "messages[5].content[1]",
    ("multimodal-tool-return-matrix-direct-uploaded-file-audio-google-3", "anthropic_messages"): (
        "messages[5].content[1]"
    ),
    ("speech-basic-functionality-gemini-2-5-flash-preview-tts-can-spea", "openai_chat"): "modalities",
    ("speech-basic-functionality-gemini-2-5-flash-preview-tts-can-spea", "anthropic_messages"): "modalities",
    ("testgeminimultimodalintegration-test-analyze-audio-file", "anthropic_messages"): "messages[0].content[1]",
    ("testgeminimultimodalintegration-test-analyze-video-file", "openai_chat"): "messages[0].content[1]",
    ("testgeminimultimodalintegration-test-analyze-video-file", "anthropic_messages"): "messages[0].content[1]",
    ("transcription-with-a-large-thinking-budget", "anthropic_messages"): "messages[1].content[0]",
    # two answers at once
    ("text-response-across-two-candidates", "anthropic_messages"): "n",
}

each_request = pytest.mark.parametrize("item", ASKED, ids=lambda item: item.folder.name)


def decoded(item: Recording) -> ir.ChatRequest:
    return CODEC.decode_request(item.path, item.request or b"")


@each_request
def test_a_recorded_request_keeps_every_meaning(item: Recording, report: Report) -> None:
    """Law 3. Budgets and levels become each other, by profile; functions stand before the vendor's tools."""
    request = decoded(item)
    assert request.model == item.meta["model"]
    for profile in (PLAIN, FULL):
        sent = CODEC.encode_request(request, profile=profile)
        again = CODEC.decode_request(sent.path, sent.body)
        assert normal(again, profile) == normal(request, profile)
        assert (again.reasoning is None) == (request.reasoning is None)
        assert again.extensions == request.extensions
    report("gemini_generate requests", 1)


def normal(request: ir.ChatRequest, profile: Profile) -> ir.ChatRequest:
    """What a target of this profile can say: models before the third know no ids and no media inside of results."""
    messages = [msgspec.structs.replace(message, parts=tuple(parts(message, profile))) for message in request.messages]
    functions = [tool for tool in request.tools if isinstance(tool, ir.Tool)]
    return msgspec.structs.replace(
        request,
        messages=tuple(message for message in messages if message.parts),
        tools=(*functions, *(tool for tool in request.tools if not isinstance(tool, ir.Tool))),
        tool_choice=request.tool_choice if functions else None,
        reasoning=None,
    )


def parts(message: ir.Message, profile: Profile) -> Iterable[ir.Part]:
    for part in message.parts:
        if isinstance(part, ir.ToolCallPart):
            yield part if profile.tool_call_ids else msgspec.structs.replace(part, id="")
        elif isinstance(part, ir.ToolResultPart):
            text = (piece for piece in part.content if isinstance(piece, ir.TextPart))
            content = part.content if profile.function_response_media else tuple(text)
            call_id = part.call_id if profile.tool_call_ids else ""
            yield msgspec.structs.replace(part, content=content, call_id=call_id)
        elif not is_beside_a_result(part, profile):
            yield part


def is_beside_a_result(part: ir.Part, profile: Profile) -> bool:
    """What was inside of a result follows it where the model takes it no other way."""
    if profile.function_response_media:
        return False
    announced = isinstance(part, ir.TextPart) and part.text.startswith("What the tool ")
    return announced or isinstance(part, ir.MediaPart)


@each_request
@pytest.mark.parametrize("target", ["openai_chat", "anthropic_messages"])
def test_a_recorded_request_can_be_sent_to_every_vendor_or_is_refused_for_a_known_reason(
    item: Recording, target: ir.Protocol, report: Report
) -> None:
    request = decoded(item)
    refusal = REFUSED.get((item.folder.name, target))
    try:
        sent = codec(target).encode_request(request, profile=PLAIN)
    except InvalidRequest as error:
        assert error.param == refusal
        return
    assert refusal is None
    assert codec(target).peek(sent.path, sent.body).stream is request.stream
    # a tool's name, description and every text of the user's arrive
    body = sent.body.decode()
    for tool in request.tools:
        assert isinstance(tool, ir.Tool) and f'"{tool.name}"' in body
    report(f"gemini_generate requests for {target}", 1)


@pytest.mark.parametrize("item", ANSWERS, ids=lambda item: item.id)
def test_a_recorded_answer_is_one_gemini_clients_take(item: Recording, report: Report) -> None:
    try:
        response = codec(SPOKEN[item.folder.parent.name]).decode_response(item.response or b"")
    except UpstreamError:
        assert item.id in ERRORS
        return
    body = written(response)
    again = CODEC.decode_response(dumps(body))
    assert said(again) == said(response)
    assert usage(again) == usage(response)
    streamed = whole(told(ir.explode(response)))
    assert essence(streamed, shown=True) == essence(again, shown=True)
    report("answers for gemini clients", 1)


@pytest.mark.parametrize("item", STREAMS, ids=lambda item: item.id)
def test_a_recorded_stream_is_one_gemini_clients_take(item: Recording, report: Report) -> None:
    """§4.5: and it says what the whole answer says."""
    sse, decoder = SSEDecoder(), codec(SPOKEN[item.folder.parent.name]).stream_decoder()
    read = [*sse.feed(item.stream or b""), *sse.close()]
    events = [event for frame in read for event in decoder.feed(frame)] + list(decoder.close())
    chunks = [loads_object(frame.data) for frame in frames(events)]
    if item.id in ERRORS:
        assert list(chunks[-1]) == ["error"]
        return
    for chunk in chunks:
        accepted(chunk)
        assert chunk["responseId"] == chunks[0]["responseId"] and chunk["candidates"]
        assert all(as_list(as_object(as_object(c)["content"])["parts"]) for c in as_list(chunk["candidates"]))
    assert [b'"finishReason":' in dumps(chunk) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    response = ir.accumulate(events)
    if not response.id:
        response = msgspec.structs.replace(response, id=str(chunks[0]["responseId"]))
    again = CODEC.decode_response(CODEC.encode_response(response, context=CONTEXT).body)
    assert essence(whole(chunks), shown=True) == essence(again, shown=True)
    report("streams for gemini clients", 1)


def said(response: ir.ChatResponse) -> list[object]:
    """Text, calls with their arguments, and how it ended."""
    told: list[object] = []
    for choice in response.choices:
        parts = [part for part in choice.parts if isinstance(part, (ir.TextPart, ir.RefusalPart))]
        calls = [part for part in choice.parts if isinstance(part, ir.ToolCallPart)]
        thoughts = [part for part in choice.parts if isinstance(part, ir.ReasoningPart)]
        kind = "other" if choice.finish.kind == "error" else choice.finish.kind
        told += [
            choice.index,
            "".join(part.text for part in parts),
            [(call.name, loads_object(call.arguments or "{}")) for call in calls],
            "".join(part.text for part in thoughts),
            kind,
        ]
    return told


def usage(response: ir.ChatResponse) -> object:
    counted = response.usage
    if counted is None or counted.input_tokens is None:
        return None
    return (counted.input_tokens, counted.output_tokens or None, counted.cache_read_tokens, counted.reasoning_tokens)


@pytest.mark.parametrize("item", [i for i in ANSWERS if i.folder.parent.name != "gemini_generate"], ids=lambda i: i.id)
def test_the_state_of_reasoning_comes_back_through_the_next_request(item: Recording) -> None:
    """R1, §3.10: every signature and every redacted block, byte for byte, in order, with its text."""
    protocol = SPOKEN[item.folder.parent.name]
    try:
        response = codec(protocol).decode_response(item.response or b"")
    except UpstreamError:
        return
    choice = response.choices[0]
    state = [part for part in choice.parts if isinstance(part, ir.ReasoningPart) and part.opaque is not None]
    (candidate,) = as_list(written(msgspec.structs.replace(response, choices=(choice,)))["candidates"])
    content = as_object(as_object(candidate)["content"])
    calls = [part for part in choice.parts if isinstance(part, ir.ToolCallPart)]
    results = [{"functionResponse": {"id": c.id, "name": c.name, "response": {"output": "x"}}} for c in calls]
    body = dumps(
        {"contents": [{"parts": [{"text": "q"}]}, content, {"role": "user", "parts": results or [{"text": "q"}]}]}
    )
    request = CODEC.decode_request("/v1/models/m:generateContent", body)
    back = [part for message in request.messages for part in message.parts if isinstance(part, ir.ReasoningPart)]
    assert [part for part in back if part.opaque is not None] == state
    assert all(unpack(part.opaque.payload) is None for part in back if part.opaque is not None)
