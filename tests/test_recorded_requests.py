"""Every recorded request, from every protocol to every other: taken by the vendor's own types, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import loads_object
from asgi_llmgw.protocols import PROTOCOLS, Profile, codec
from asgi_llmgw.translate import Translated, translate_request
from tests.pairs import FOLDERS, PAIRS
from tests.requests_taken import taken
from tests.wire import Recording, needs_wire, recordings

pytestmark = needs_wire

Report = Callable[[str, int], None]
REQUESTS: Final = {"openai_chat": 66, "openai_responses": 64, "anthropic_messages": 60, "gemini_generate": 59}
LEAST: Final = {"openai_chat": 52, "openai_responses": 48, "anthropic_messages": 48, "gemini_generate": 55}
"""So many requests of any protocol, at least, can be sent to an upstream of this one."""

CHAT, RESPONSES, MESSAGES, GEMINI = PROTOCOLS
OPENAI: Final = (CHAT, RESPONSES)
SINGLE: Final = (RESPONSES, MESSAGES)
NOT_OPENAI: Final = (MESSAGES, GEMINI)
UNREADABLE: Final = {
    # Azure keeps the model in the path, and a stored prompt brings its own
    "openai_compat/azure-agent-kickoff-structured-output-with-tools-1": "model",
    "openai_compat/azure-agent-kickoff-structured-output-with-tools-2": "model",
    "openai_responses/response-with-mixed-prompt-url-preserved": "model",
    # a content part of Perplexity's own
    "openai_compat/chat-document-models-perplexity-sonar-pro-understands-docx-docum": "messages[0].content[1].type",
}
"""Nobody but the same vendor could read these."""

REFUSED: Final[dict[str, tuple[str, tuple[ir.Protocol, ...]]]] = {
    # several answers at once
    "openai_chat/async-chat-completion-multiple-choices": ("n", SINGLE),
    "openai_chat/chat-multiple-choices-streaming": ("n", SINGLE),
    "openai_compat/blocking-ministral-3b-roomy-plain-two": ("n", SINGLE),
    "gemini_generate/text-response-across-two-candidates": ("n", SINGLE),
    # sound and films, in and out
    "openai_chat/chat-audio-models-gpt-audio-mini-can-understand-audio": ("messages[0].content[1]", SINGLE),
    "openai_compat/chat-audio-models-mistral-voxtral-small-latest-can-understand-mp": (
        "messages[0].content[1]",
        SINGLE,
    ),
    "openai_chat/chat-text-to-audio": ("modalities", SINGLE),
    "gemini_generate/chat-audio-models-gemini-2-5-flash-can-understand-audio": ("messages[0].content[1]", SINGLE),
    "gemini_generate/testgeminimultimodalintegration-test-analyze-audio-file": ("messages[0].content[1]", SINGLE),
    "gemini_generate/transcription-with-a-large-thinking-budget": ("messages[1].content[0]", SINGLE),
    "gemini_generate/multimodal-tool-return-matrix-direct-uploaded-file-audio-google-3": (
        "messages[5].content[1]",
        (CHAT, *SINGLE),
    ),
    "gemini_generate/speech-basic-functionality-gemini-2-5-flash-preview-tts-can-spea": ("modalities", (CHAT, *SINGLE)),
    "gemini_generate/model-youtube-video-url-input": ("messages[1].content[1]", (CHAT, *SINGLE)),
    "gemini_generate/testgeminimultimodalintegration-test-analyze-video-file": (
        "messages[0].content[1]",
        (CHAT, *SINGLE),
    ),
    # a search that only one interface offers
    "openai_chat/chat-citations-with-gpt-4o-mini-search-preview-returns-url-citat": (
        "web_search_options",
        (RESPONSES, *NOT_OPENAI),
    ),
    # what the vendor keeps for its client
    "openai_chat/multimodal-tool-return-matrix-tool-return-content-uploaded-file-2": (
        "messages[3].content[0]",
        NOT_OPENAI,
    ),
    "openai_responses/multimodal-tool-return-matrix-tool-return-content-uploaded-file-2": (
        "messages[3].content[0]",
        NOT_OPENAI,
    ),
    "openai_responses/multimodal-tool-return-matrix-direct-uploaded-file-document-open-2": (
        "messages[2].content[0].content[0]",
        NOT_OPENAI,
    ),
    "openai_responses/testopenairesponsesfileuploadintegration-test-describe-image-via-2": (
        "messages[0].content[1]",
        (CHAT, *NOT_OPENAI),
    ),
    "openai_responses/conversation-id-streaming-provider-details-2": ("conversation", (CHAT, *NOT_OPENAI)),
    "openai_responses/responses-create-with-followup-2": ("previous_response_id", (CHAT, *NOT_OPENAI)),
    "openai_responses/responses-compact-stateful-mode-stream-4": ("input[6]", (CHAT, *NOT_OPENAI)),
    "openai_responses/background-mode-streaming-continuation-vcr": ("background", (CHAT, *NOT_OPENAI)),
    "openai_responses/background-mode-streaming-without-starting-after-vcr": ("background", (CHAT, *NOT_OPENAI)),
    "anthropic_messages/messages-document-file-id-roundtrip-live-2": ("messages[1].content[0]", (*OPENAI, GEMINI)),
    "anthropic_messages/testanthropicfileuploadintegration-test-describe-image-with-file-2": (
        "messages[0].content[1]",
        (*OPENAI, GEMINI),
    ),
    "anthropic_messages/anthropic-mcp-servers-2": ("mcp_servers", (*OPENAI, GEMINI)),
    "anthropic_messages/anthropic-mcp-servers-stream": ("mcp_servers", (*OPENAI, GEMINI)),
    "anthropic_messages/code-execution-files-cache-prefix-stable-messages-sonnet-5-3": ("container", (*OPENAI, GEMINI)),
    "gemini_generate/cached-content-matrix-use-streaming-2": ("cachedContent", (CHAT, *SINGLE)),
    # what the vendor promises to look at
    "gemini_generate/model-armor-prompt-template-text-gets-blocked-2": ("modelArmorConfig", (CHAT, *SINGLE)),
    "gemini_generate/model-armor-response-template-real-block": ("modelArmorConfig", (CHAT, *SINGLE)),
    # documents that Chat Completions would have to fetch
    "openai_responses/url-pdf-document-prompt": ("messages[1].content[0]", (CHAT,)),
    "anthropic_messages/document-url-input": ("messages[0].content[1]", (CHAT,)),
}


def refusal(name: str, target: ir.Protocol) -> str | None:
    """The field for which this request cannot be sent to this protocol, None if it can."""
    if name in UNREADABLE:
        return UNREADABLE[name]
    field, targets = REFUSED.get(name, ("", ()))
    return field if target in targets else None


def requests(source: ir.Protocol) -> list[tuple[Recording, bytes]]:
    return [(found, found.request) for found in recordings(*FOLDERS[source]) if found.request is not None]


def sent(source: ir.Protocol, target: ir.Protocol, profile: Profile) -> Iterable[tuple[Recording, Translated]]:
    """Every request that is not refused, translated; the others are refused as the table says."""
    for recording, body in requests(source):
        expected = refusal(recording.id, target)
        try:
            result = translate_request(body, source=source, target=target, path=recording.path, profile=profile)
        except InvalidRequest as error:
            assert error.param == expected, (recording.id, error.param)
            assert error.message
            continue
        assert expected is None, recording.id
        yield recording, result


PROFILES: Final = {
    "plain": Profile(),
    "newest": Profile(
        thinking="adaptive",
        sampling=False,
        temperature_with_top_p=False,
        forced_tool_choice=False,
        tool_call_ids=True,
        thought_signatures=True,
        thinking_level=True,
        function_response_media=True,
        mid_system="system",
    ),
    "oldest": Profile(
        max_tokens_field="max_tokens",
        system_role="system",
        stream_usage=False,
        thinking="",
        native_structured_output=False,
        json_schema=False,
        mid_system="user",
    ),
}
OTHER_PAIRS: Final = pytest.mark.parametrize(
    ("source", "target"), [pytest.param(*pair, id="-to-".join(pair)) for pair in PAIRS if pair[0] != pair[1]]
)


@pytest.mark.parametrize("profile", PROFILES)
@OTHER_PAIRS
def test_every_recorded_request_is_taken_by_the_vendors_types_or_refused_for_a_known_field(
    source: ir.Protocol, target: ir.Protocol, profile: str, report: Report
) -> None:
    """Traps 25 31 32: and it is what the vendor demands beyond its types."""
    good = 0
    for recording, result in sent(source, target, PROFILES[profile]):
        head = codec(target).peek(result.path, result.body)
        before = codec(source).peek(recording.path, recording.request or b"")
        assert (head.model, head.stream) == (before.model, before.stream), recording.id
        try:
            taken(target, loads_object(result.body))
        except Exception as error:
            raise AssertionError(f"{recording.id}: {error}") from error
        good += 1
    assert good >= min(LEAST[target], REQUESTS[source] - 16)
    report(f"requests of {source} sent to others", good)


@OTHER_PAIRS
def test_what_was_asked_arrives_or_is_told_about(source: ir.Protocol, target: ir.Protocol, report: Report) -> None:
    """Law 3, loosely: every text, every call and result, every function, and a diagnostic for what has no place."""
    arrived = 0
    for recording, result in sent(source, target, Profile()):
        before = codec(source).decode_request(recording.path, recording.request or b"")
        after = codec(target).decode_request(result.path, result.body)
        told = [item for item in result.diagnostics if item.severity != "info"]
        there = letters(result.body.decode())
        assert all(letters(text) in there for text in texts(before)) or told, recording.id
        for kind in (ir.ToolCallPart, ir.ToolResultPart, ir.MediaPart):
            assert number(after, kind) >= number(before, kind) or told, (recording.id, kind)
        functions = {tool.name for tool in before.tools if isinstance(tool, (ir.Tool, ir.CustomTool))}
        found = {tool.name for tool in after.tools if isinstance(tool, (ir.Tool, ir.CustomTool))}
        # tools that the conversation has called must be declared to some, not to be called again
        assert functions == found or (functions < found and before.tools == ()), recording.id
        for extension in before.extensions:
            if extension.protocol != target:
                assert any(item.path.startswith(extension.path) for item in result.diagnostics), (
                    recording.id,
                    extension.path,
                )
        for field in ("temperature", "top_p", "seed", "stop"):
            same = getattr(before.sampling, field) == getattr(after.sampling, field)
            assert same or any(field in item.path or field == "stop" for item in result.diagnostics), recording.id
        arrived += 1
    assert arrived >= min(LEAST[target], REQUESTS[source] - 16)
    report(f"requests of {source} whose meaning arrives", arrived)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_to_its_own_protocol_keeps_every_byte(protocol: ir.Protocol, report: Report) -> None:
    """Law 6"""
    kept = 0
    for recording, body in requests(protocol):
        if UNREADABLE.get(recording.id) != "model":
            result = translate_request(body, source=protocol, target=protocol, path=recording.path)
            assert result.body == body and result.diagnostics == (), recording.id
            kept += 1
    assert kept >= REQUESTS[protocol] - 2
    report(f"requests of {protocol} that keep their bytes", kept)


def test_every_refusal_in_the_tables_is_of_a_request_there_is() -> None:
    names = {recording.id for protocol in PROTOCOLS for recording, _ in requests(protocol)}
    assert {*REFUSED, *UNREADABLE} <= names


def texts(request: ir.ChatRequest) -> list[str]:
    """What was said, results of tools included."""
    found: list[str] = []
    for message in request.messages:
        for part in message.parts:
            inner = part.content if isinstance(part, ir.ToolResultPart) else (part,)
            found += [piece.text.strip() for piece in inner if isinstance(piece, ir.TextPart)]
    return found


def letters(text: str) -> str:
    """Without what JSON writes in another way, however often it was written as JSON."""
    return re.sub(r'\\+[nrt]?|\s|"', "", text)


def number(request: ir.ChatRequest, kind: type[ir.Part]) -> int:
    parts: list[ir.Part] = []
    for message in request.messages:
        for part in message.parts:
            parts += [part, *part.content] if isinstance(part, ir.ToolResultPart) else [part]
    return sum(isinstance(part, kind) and not is_plain_text(part) for part in parts)


def is_plain_text(part: ir.Part) -> bool:
    """A document that some protocols can only tell as text."""
    return isinstance(part, ir.MediaPart) and (part.media_type or "").startswith("text/")
