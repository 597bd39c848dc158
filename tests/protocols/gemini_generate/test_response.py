from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidUpstreamResponse, UpstreamError
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols.gemini_generate import CODEC

from .received import call, chunk, text, thought, whole

SIGNATURE = ir.Opaque("gemini_generate", "thought_signature", "c2ln")


def parts(*given: JSONValue) -> tuple[ir.OutputPart, ...]:
    return whole(chunk(*given, finish="STOP")).choices[0].parts


def test_neighbouring_texts_of_a_kind_are_one_part() -> None:
    assert parts(thought("a"), thought("b"), text("c"), text(""), text("d")) == (
        ir.ReasoningPart("ab"),
        ir.TextPart("cd"),
    )


def test_a_signed_part_stays_alone() -> None:
    """R7: also when there is no text on it."""
    assert parts(text("a"), text("b", "c2ln"), text("c"), text("", "c2ln")) == (
        ir.TextPart("a"),
        ir.TextPart("b", signature=SIGNATURE),
        ir.TextPart("c"),
        ir.TextPart("", signature=SIGNATURE),
    )


def test_a_bare_signature_is_kept() -> None:
    assert parts({"thoughtSignature": "c2ln"}) == (ir.TextPart("", signature=SIGNATURE),)
    assert parts({"thoughtSignature": "c2ln", "thought": True}) == (ir.ReasoningPart("", SIGNATURE),)


def test_a_call_keeps_its_id_and_signature() -> None:
    given: JSONObject = {"functionCall": {"id": "x1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
    assert parts(given) == (ir.ToolCallPart("x1", "f", '{"a":1}', signature=SIGNATURE),)


@pytest.mark.parametrize("given", [{"name": "f"}, {"name": "f", "args": None}, {"name": "f", "args": {}, "id": ""}])
def test_a_call_without_arguments_has_an_empty_object(given: JSONObject) -> None:
    (part,) = parts({"functionCall": given})
    assert isinstance(part, ir.ToolCallPart)
    assert part.arguments == "{}"
    assert part.id


def test_ids_are_made_from_the_answer_and_the_position() -> None:
    """I6, trap 19: the same each time, and different for two calls of one function."""
    answer = chunk(call("f"), call("f"), finish="STOP")
    first, second = (part.id for part in whole(answer).choices[0].parts if isinstance(part, ir.ToolCallPart))
    assert first != second
    assert first.startswith("call_")
    assert whole(answer) == whole(answer)
    assert whole({**answer, "responseId": "r2"}) != whole(answer)


def test_a_call_of_no_name_cannot_be_read() -> None:
    with pytest.raises(InvalidUpstreamResponse):
        parts({"functionCall": {"args": {"a": 1}}})


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("image/png", "image"),
        ("audio/L16;rate=24000", "audio"),
        ("video/mp4", "video"),
        ("application/pdf", "document"),
    ],
)
def test_media_are_media(media_type: str, kind: str) -> None:
    (part,) = parts({"inlineData": {"mimeType": media_type, "data": "aGk="}, "thoughtSignature": "c2ln"})
    assert isinstance(part, ir.MediaPart)
    assert (part.kind, part.media_type, part.source) == (kind, media_type, ir.Base64Source("aGk="))
    assert part.signature == SIGNATURE


@pytest.mark.parametrize("kind", ["executableCode", "codeExecutionResult", "toolCall", "toolResponse", "newThing"])
def test_parts_of_the_vendors_own_are_kept_whole(kind: str) -> None:
    raw: JSONObject = {"thoughtSignature": "c2ln", kind: {"id": "1"}} if kind != "newThing" else {kind: {"id": "1"}}
    assert parts(raw) == (ir.UnknownPart("gemini_generate", raw, kind),)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("UNEXPECTED_TOOL_CALL", "error"),
        ("TOO_MANY_TOOL_CALLS", "error"),
        ("MISSING_THOUGHT_SIGNATURE", "error"),
        ("MALFORMED_RESPONSE", "error"),
        ("LANGUAGE", "other"),
        ("SOMETHING_NEW", "other"),
    ],
)
def test_endings(reason: str, kind: ir.FinishKind) -> None:
    answer = whole(chunk(text("a"), finish=reason, finishMessage="why"))
    assert answer.choices[0].finish == ir.FinishReason(kind, reason, detail="why")


@pytest.mark.parametrize(
    ("reason", "name", "kind"),
    [(1, "STOP", "stop"), (2, "MAX_TOKENS", "length"), (3, "SAFETY", "content_filter"), (99, "99", "other")],
)
def test_endings_as_numbers(reason: int, name: str, kind: ir.FinishKind) -> None:
    """Trap 24."""
    assert whole(chunk(text("a"), finish=reason)).choices[0].finish == ir.FinishReason(kind, name)


@pytest.mark.parametrize("reason", [None, "", 0, "FINISH_REASON_UNSPECIFIED"])
def test_an_ending_that_says_nothing_is_none(reason: JSONValue) -> None:
    """T4."""
    assert whole(chunk(text("a"), finish=reason)).choices[0].finish == ir.FinishReason("other")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("STOP", "tool_calls"), ("OTHER", "tool_calls"), (None, "tool_calls"), ("MAX_TOKENS", "length")],
)
def test_a_call_is_the_ending_unless_it_was_cut(reason: str | None, kind: str) -> None:
    """T1, S10, trap 17."""
    assert whole(chunk(call("f"), finish=reason)).choices[0].finish.kind == kind


def test_a_blocked_prompt_is_a_choice_without_a_word() -> None:
    """F157."""
    answer = whole({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "no"}, "responseId": "r"})
    assert answer.choices == (ir.Choice((), ir.FinishReason("content_filter", "SAFETY", detail="no")),)


def test_a_candidate_without_parts_is_an_answer() -> None:
    """F157, trap 30: the tokens were all spent on thinking."""
    answer = whole({"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]})
    assert answer.choices == (ir.Choice((), ir.FinishReason("length", "MAX_TOKENS")),)


def test_every_candidate_is_a_choice() -> None:
    """S6: each under its own index."""
    first, second = chunk(text("a"), finish="STOP"), chunk(text("b"), finish="SAFETY", index=1)
    answer = whole({"candidates": [*_candidates(second), *_candidates(first)]})
    assert [(c.index, c.parts, c.finish.kind) for c in answer.choices] == [
        (0, (ir.TextPart("a"),), "stop"),
        (1, (ir.TextPart("b"),), "content_filter"),
    ]


def _candidates(answer: JSONObject) -> list[JSONValue]:
    candidates = answer["candidates"]
    assert isinstance(candidates, list)
    return candidates


def usage(**counts: JSONValue) -> ir.Usage | None:
    return whole({**chunk(text("a"), finish="STOP"), "usageMetadata": counts}).usage


def test_usage_counts_tools_and_thoughts() -> None:
    """U11, trap 28."""
    told = usage(
        promptTokenCount=10,
        toolUsePromptTokenCount=5,
        cachedContentTokenCount=4,
        candidatesTokenCount=3,
        thoughtsTokenCount=2,
        totalTokenCount=20,
        promptTokensDetails=[{"modality": "AUDIO", "tokenCount": 6}, {"modality": 2, "tokenCount": 1}],
        candidatesTokensDetails=[{"modality": "AUDIO", "tokenCount": 3}],
    )
    assert told is not None
    assert (told.input_tokens, told.output_tokens, told.total_tokens) == (15, 5, 20)
    assert (told.cache_read_tokens, told.reasoning_tokens, told.tool_input_tokens) == (4, 2, 5)
    assert (told.audio_input_tokens, told.image_input_tokens, told.audio_output_tokens) == (6, 1, 3)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param({"promptTokenCount": 1, "thoughtsTokenCount": 4, "totalTokenCount": 5}, (1, 4), id="zero_answer"),
        pytest.param({"promptTokenCount": 1, "totalTokenCount": 5}, (1, 4), id="from_the_total"),
        pytest.param({"promptTokenCount": 8, "totalTokenCount": 8}, (8, None), id="nothing_of_the_answer"),
        pytest.param({"candidatesTokenCount": 2}, (None, 2), id="no_prompt"),
    ],
)
def test_counts_that_are_left_out(counts: JSONObject, expected: tuple[int | None, int | None]) -> None:
    told = usage(**counts)
    assert told is not None
    assert (told.input_tokens, told.output_tokens) == expected


def test_usage_without_counts_is_no_usage() -> None:
    assert usage(trafficType="ON_DEMAND") is None


def test_log_probabilities_are_told() -> None:
    token: JSONObject = {"token": "é", "tokenId": 9, "logProbability": -0.5}
    result: JSONObject = {"chosenCandidates": [token], "topCandidates": [{"candidates": [token]}]}
    (choice,) = whole(chunk(text("é"), finish="STOP", logprobsResult=result)).choices
    told = ir.TokenLogprob("é", -0.5, (195, 169))
    assert choice.logprobs == (ir.TokenLogprob("é", -0.5, (195, 169), (told,)),)


def test_log_probabilities_without_text_are_told_to_be_lost() -> None:
    result: JSONObject = {"chosenCandidates": [{"token": "a", "logProbability": -1}]}
    answer = whole(chunk(call("f"), finish="STOP", logprobsResult=result))
    assert [d.path for d in answer.diagnostics] == ["candidates[0].logprobsResult"]


def test_grounding_becomes_citations_by_characters() -> None:
    """The vendor counts bytes of UTF-8."""
    web: JSONObject = {"web": {"uri": "https://e.org", "title": "E"}}
    segment: JSONObject = {"startIndex": 6, "endIndex": 9, "text": "abc"}
    support: JSONObject = {"segment": segment, "groundingChunkIndices": [0, 7]}
    grounding: JSONObject = {"groundingChunks": [web], "groundingSupports": [support], "webSearchQueries": ["q"]}
    answer = whole(chunk(thought("not counted"), text("日本"), text("abc"), finish="STOP", groundingMetadata=grounding))
    assert answer.choices[0].parts[2:] == (
        ir.CitationPart(
            url="https://e.org",
            title="E",
            start=2,
            end=5,
            quote="abc",
            protocol="gemini_generate",
            raw={"groundingChunk": web, "segment": segment},
        ),
    )
    assert [d.path for d in answer.diagnostics] == ["candidates[0].groundingMetadata.webSearchQueries"]


def test_sources_without_places_are_citations_too() -> None:
    grounding: JSONObject = {"groundingChunks": [{"retrievedContext": {"uri": "u", "title": "T"}}]}
    answer = whole(chunk(text("a"), finish="STOP", groundingMetadata=grounding))
    citation = answer.choices[0].parts[1]
    assert isinstance(citation, ir.CitationPart)
    assert (citation.url, citation.title, citation.start) == ("u", "T", None)


@pytest.mark.parametrize("field", ["citationSources", "citations"])
def test_citation_metadata_become_citations(field: str) -> None:
    item: JSONObject = {"endIndex": 2, "uri": "u", "license": "MIT"}
    answer = whole(chunk(text("é!"), finish="STOP", citationMetadata={field: [item]}))
    citation = answer.choices[0].parts[1]
    assert isinstance(citation, ir.CitationPart)
    assert (citation.url, citation.start, citation.end) == ("u", 0, 1)


def test_the_answers_own_facts_are_told() -> None:
    answer = whole(
        {
            **chunk(text("a"), finish="STOP"),
            "createTime": "2026-04-02T17:03:50.399550Z",
            "usageMetadata": {"serviceTier": "standard"},
        }
    )
    assert (answer.id, answer.model, answer.created, answer.service_tier) == ("r1", "gemini-x", 1775149430, "default")


def test_an_array_of_one_is_an_answer() -> None:
    assert whole([chunk(text("a"), finish="STOP")]) == whole(chunk(text("a"), finish="STOP"))


def test_an_error_in_an_answer_is_an_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        whole({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}})
    assert (caught.value.failure, caught.value.upstream_status) == ("overloaded", 503)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b"null",
        b'"text"',
        b'{"candidates":[]}',
        b'{"candidates":{}}',
        b'{"candidates":[1]}',
        b'{"candidates":[{"content":{"parts":{}}}]}',
        b'{"candidates":[{"content":{"parts":[1]}}]}',
        b'{"promptFeedback":{}}',
    ],
)
def test_what_is_no_answer_is_told_as_such(body: bytes) -> None:
    with pytest.raises(InvalidUpstreamResponse):
        CODEC.decode_response(body)


@pytest.mark.parametrize(
    "field", ["content", "finishReason", "groundingMetadata", "citationMetadata", "logprobsResult", "finishMessage"]
)
@pytest.mark.parametrize("junk", [1, "x", [1], {"parts": None, "groundingChunks": 1, "chosenCandidates": [1]}])
def test_surprises_in_a_candidate_are_survived(field: str, junk: JSONValue) -> None:
    answer = CODEC.decode_response(dumps({"candidates": [{field: junk}]}))
    assert len(answer.choices) == 1
