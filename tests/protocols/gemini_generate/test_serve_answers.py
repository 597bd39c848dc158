from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import LimitError
from asgi_llmgw.json import JSONObject, JSONValue, as_object, loads_object
from asgi_llmgw.protocols.base import StreamContext
from asgi_llmgw.protocols.gemini_generate import CODEC

from .served import CONTEXT, HIDDEN, answer, candidate, parts_of, written

OURS: ir.Protocol = "gemini_generate"
SIGNED = ir.Opaque(OURS, "thought_signature", "c2ln")
FOREIGN = ir.Opaque("openai_responses", "encrypted", "secret", "rs_1")


def call(arguments: str, **fields: object) -> ir.ToolCallPart:
    return ir.ToolCallPart(**{"id": "c1", "name": "f", "arguments": arguments, **fields})  # type: ignore[arg-type]


def finish(*parts: ir.OutputPart, kind: ir.FinishKind = "stop", **fields: str | None) -> tuple[JSONValue, JSONValue]:
    told = candidate(answer(*parts, finish=ir.FinishReason(kind, **fields), usage=ir.Usage(1, 1)))
    return told["finishReason"], told.get("finishMessage")


def test_an_answer_has_its_place_for_everything() -> None:
    response = ir.ChatResponse(
        (ir.Choice((ir.TextPart("hi"),), ir.FinishReason("stop")),),
        id="r1",
        model="m1",
        created=1_700_000_000,
        usage=ir.Usage(3, 2),
    )
    assert written(response, StreamContext(model="alias")) == {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "alias",
        "responseId": "r1",
        "createTime": "2023-11-14T22:13:20Z",
    }


def test_what_the_vendor_did_not_say_is_made_or_left_out() -> None:
    body = written(ir.ChatResponse((ir.Choice((ir.TextPart("hi"),), ir.FinishReason("stop")),)))
    assert set(body) == {"candidates", "modelVersion", "responseId"}
    assert body["responseId"]


def test_calls_are_objects_with_ids() -> None:
    """Trap 17, I8: a turn with calls ends with STOP."""
    response = answer(
        call('{"a":1}'), call("", id=""), call("free", kind="custom"), finish=ir.FinishReason("tool_calls")
    )
    assert candidate(response) == {
        "content": {
            "role": "model",
            "parts": [
                {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}},
                {"functionCall": {"id": "call_1", "name": "f", "args": {}}},
                {"functionCall": {"id": "c1", "name": "f", "args": {"input": "free"}}},
            ],
        },
        "finishReason": "STOP",
        "index": 0,
    }


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"', "{}x", '{"a":' * 60 + "1" + "}" * 60])
def test_arguments_that_are_no_object_are_a_malformed_call(arguments: str) -> None:
    """§4.5"""
    reason, message = finish(ir.TextPart("hi"), call(arguments), kind="tool_calls")
    assert reason == "MALFORMED_FUNCTION_CALL"
    assert message
    assert parts_of(ir.TextPart("hi"), call(arguments)) == [{"text": "hi"}]


def test_a_call_that_the_limit_cut_ends_with_the_limit() -> None:
    """P5"""
    encoded = CODEC.encode_response(answer(call('{"a'), finish=ir.FinishReason("length")), context=CONTEXT)
    assert b'"finishReason":"MAX_TOKENS"' in encoded.body
    assert [diagnostic.code for diagnostic in encoded.diagnostics] == ["dropped"]


def test_signatures_of_the_vendors_own_stay_on_their_parts() -> None:
    """R5, R7"""
    parts = parts_of(
        ir.ReasoningPart("a", SIGNED),
        ir.ReasoningPart("", SIGNED),
        ir.TextPart("b", signature=SIGNED),
        ir.TextPart("", signature=SIGNED),
        ir.TextPart(""),
        call("", signature=SIGNED),
        ir.MediaPart("image", ir.Base64Source("aGk="), signature=SIGNED),
    )
    assert parts == [
        {"text": "a", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "", "thoughtSignature": "c2ln"},
        {"text": "b", "thoughtSignature": "c2ln"},
        {"text": "", "thoughtSignature": "c2ln"},
        {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "c2ln"},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thoughtSignature": "c2ln"},
    ]


def test_the_state_of_another_vendor_never_looks_like_geminis() -> None:
    """R3: it travels marked, on the part that follows, and what stands on other parts is left out."""
    foreign = parts_of(ir.ReasoningPart("a", FOREIGN), ir.TextPart("b"), ir.TextPart("c"), call("", signature=FOREIGN))
    signatures = [as_object(part).get("thoughtSignature") for part in foreign]
    assert [signature is not None for signature in signatures] == [False, True, False, False]
    assert "secret" not in str(signatures)
    last = parts_of(ir.TextPart("b"), ir.ReasoningPart("", FOREIGN))[-1]
    assert as_object(last)["text"] == ""


@pytest.mark.parametrize(
    ("reasoning", "shown"),
    [
        (None, False),
        (ir.Reasoning("high"), False),
        (ir.Reasoning(visible=False), False),
        (ir.Reasoning(visible=True), True),
    ],
)
def test_thoughts_are_shown_to_clients_who_asked_for_them(reasoning: ir.Reasoning | None, shown: bool) -> None:
    """§4.5"""
    request = ir.ChatRequest("m", (), reasoning=reasoning)
    parts = parts_of(ir.ReasoningPart("a"), ir.TextPart("b"), context=StreamContext(request=request))
    assert parts == ([{"text": "a", "thought": True}] if shown else []) + [{"text": "b"}]


def test_hidden_thoughts_keep_their_signature() -> None:
    """R7"""
    parts = parts_of(ir.ReasoningPart("a", SIGNED), ir.TextPart("b"), context=HIDDEN)
    assert parts == [{"text": "", "thoughtSignature": "c2ln"}, {"text": "b"}]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (ir.FinishReason("stop", "end_turn"), ("STOP", None)),
        (ir.FinishReason("length", "CONTINUATION"), ("MAX_TOKENS", None)),
        (ir.FinishReason("tool_calls"), ("STOP", None)),
        (ir.FinishReason("content_filter", "refusal", detail="because"), ("SAFETY", "because")),
        (ir.FinishReason("content_filter", "RECITATION"), ("RECITATION", None)),
        (ir.FinishReason("error", "MALFORMED_RESPONSE"), ("MALFORMED_RESPONSE", None)),
        (ir.FinishReason("error", "insufficient_system_resource"), ("OTHER", None)),
        (ir.FinishReason("other", "LANGUAGE"), ("LANGUAGE", None)),
        (ir.FinishReason("other", "who_knows"), ("OTHER", None)),
    ],
)
def test_endings(reason: ir.FinishReason, expected: tuple[str, str | None]) -> None:
    """§3.16"""
    told = candidate(answer(ir.TextPart("x"), finish=reason))
    assert (told["finishReason"], told.get("finishMessage")) == expected


def test_a_refusal_in_words_is_an_answer() -> None:
    """§3.16"""
    assert parts_of(ir.RefusalPart("no")) == [{"text": "no"}]
    assert finish(ir.RefusalPart("no")) == ("STOP", None)


def test_a_blocked_prompt_has_no_candidates() -> None:
    """Trap 30"""
    reason = ir.FinishReason("content_filter", "BLOCKLIST", detail="a word")
    body = written(answer(finish=reason, usage=ir.Usage(5)))
    assert body == {
        "promptFeedback": {"blockReason": "BLOCKLIST", "blockReasonMessage": "a word"},
        "usageMetadata": {"promptTokenCount": 5},
        "modelVersion": "m1",
        "responseId": "r1",
    }
    again = CODEC.decode_response(CODEC.encode_response(answer(finish=reason), context=CONTEXT).body)
    assert again.choices[0].finish == reason


def test_an_answer_that_was_filtered_is_a_candidate_without_parts() -> None:
    """§3.16: something was said, which nobody may read."""
    told = candidate(answer(finish=ir.FinishReason("content_filter", "refusal"), usage=ir.Usage(5, 7)))
    assert told == {"content": {"role": "model"}, "finishReason": "SAFETY", "index": 0}


def test_tokens_are_counted_as_gemini_counts() -> None:
    """Trap 28, §3.17"""
    usage = ir.Usage(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=10,
        cache_write_tokens=3,
        reasoning_tokens=20,
        tool_input_tokens=30,
        audio_input_tokens=4,
        audio_output_tokens=5,
        image_input_tokens=6,
    )
    encoded = CODEC.encode_response(answer(usage=usage), context=CONTEXT)
    assert loads_object(encoded.body)["usageMetadata"] == {
        "promptTokenCount": 70,
        "cachedContentTokenCount": 10,
        "candidatesTokenCount": 30,
        "thoughtsTokenCount": 20,
        "toolUsePromptTokenCount": 30,
        "totalTokenCount": 150,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}, {"modality": "IMAGE", "tokenCount": 6}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}],
    }
    assert [(d.path, d.severity) for d in encoded.diagnostics] == [("usage.cache_write_tokens", "info")]
    again = CODEC.decode_response(encoded.body).usage
    assert again is not None
    assert (again.input_tokens, again.output_tokens, again.reasoning_tokens) == (100, 50, 20)


def test_tokens_nobody_counted_are_not_told() -> None:
    assert "usageMetadata" not in written(answer(ir.TextPart("x"), usage=ir.Usage(cache_read_tokens=1)))
    assert written(answer(ir.TextPart("x"), usage=ir.Usage(output_tokens=1)))["usageMetadata"] == {
        "candidatesTokenCount": 1
    }


@pytest.mark.parametrize(
    ("media", "expected"),
    [
        (ir.MediaPart("image", ir.Base64Source("/9j/")), {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}}),
        (
            ir.MediaPart("audio", ir.Base64Source("aGk="), "audio/L16"),
            {"inlineData": {"mimeType": "audio/L16", "data": "aGk="}},
        ),
        (
            ir.MediaPart("document", ir.TextSource("ä")),
            {"inlineData": {"mimeType": "text/plain", "data": "w6Q="}},
        ),
        (
            ir.MediaPart("image", ir.UrlSource("https://example.com/x")),
            {"fileData": {"fileUri": "https://example.com/x"}},
        ),
        (
            ir.MediaPart("video", ir.FileSource("files/x", OURS), "video/mp4"),
            {"fileData": {"fileUri": "files/x", "mimeType": "video/mp4"}},
        ),
    ],
)
def test_media_in_answers(media: ir.MediaPart, expected: JSONObject) -> None:
    assert parts_of(media) == [expected]


def test_what_cannot_be_said_is_told_elsewhere() -> None:
    parts: tuple[ir.OutputPart, ...] = (
        ir.MediaPart("image", ir.FileSource("file_1", "openai_chat")),
        ir.MediaPart("audio", ir.Base64Source("aGk="), transcript="hi"),
        ir.UnknownPart("anthropic_messages", {"type": "x"}, "x"),
        ir.CitationPart(title="no address"),
        ir.UnknownPart(OURS, {"executableCode": {"code": "1"}}, "executableCode"),
    )
    encoded = CODEC.encode_response(answer(*parts), context=CONTEXT)
    assert len(encoded.diagnostics) == 4
    assert {diagnostic.code for diagnostic in encoded.diagnostics} == {"dropped"}
    assert b'{"executableCode":{"code":"1"}}' in encoded.body


def test_citations_count_in_bytes() -> None:
    """§3.13"""
    told = candidate(
        answer(
            ir.TextPart("äöü "),
            ir.TextPart("said"),
            ir.CitationPart(url="https://a", title="A", start=4, end=8),
            ir.CitationPart(url="https://b", start=4, end=8),
            ir.CitationPart(url="https://a", title="A"),
        )
    )
    assert told["groundingMetadata"] == {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}, {"web": {"uri": "https://b"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 7, "endIndex": 11, "text": "said"}, "groundingChunkIndices": [0, 1]}
        ],
    }
    again = CODEC.decode_response(
        CODEC.encode_response(
            answer(ir.TextPart("äöü said"), ir.CitationPart(url="https://a", start=4, end=8)), context=CONTEXT
        ).body
    )
    citation = again.choices[0].parts[-1]
    assert isinstance(citation, ir.CitationPart)
    assert (citation.url, citation.start, citation.end, citation.quote) == ("https://a", 4, 8, "said")


def test_the_vendors_own_citations_stay_as_they_are() -> None:
    source: JSONObject = {"uri": "https://a", "license": "mit", "startIndex": 1, "endIndex": 2}
    chunk: JSONObject = {"retrievedContext": {"uri": "https://b", "title": "B"}}
    segment: JSONObject = {"endIndex": 4, "text": "said"}
    told = candidate(
        answer(
            ir.TextPart("said"),
            ir.CitationPart(protocol=OURS, raw={"citation": source}),
            ir.CitationPart(protocol=OURS, raw={"groundingChunk": chunk, "segment": segment}),
        )
    )
    assert told["citationMetadata"] == {"citationSources": [source]}
    assert told["groundingMetadata"] == {
        "groundingChunks": [chunk],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
    }


def test_log_probabilities_keep_their_rivals() -> None:
    """§3.19"""
    token = ir.TokenLogprob("a", -0.5, (97,), (ir.TokenLogprob("b", -1.5),))
    told = candidate(answer(ir.TextPart("a"), logprobs=(token,)))
    assert told["logprobsResult"] == {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.5}]}],
    }


def test_errors_are_the_vendors_own_kind() -> None:
    """F18"""
    encoded = CODEC.encode_error(LimitError("Slow down.", retry_after=3))
    assert encoded.status == 429
    assert as_object(loads_object(encoded.body)["error"])["status"] == "RESOURCE_EXHAUSTED"
