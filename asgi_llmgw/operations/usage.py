"""What the answers of operations say they have used, in whichever of the vendors' words."""

from __future__ import annotations

import msgspec

from asgi_llmgw.ir import Usage
from asgi_llmgw.json import JSONObject, JSONValue, as_float, as_int, as_list, as_object, as_str


def usage_of(answer: JSONObject) -> Usage | None:
    """The usage in an answer or in an event of a stream.

    Embeddings and completions count `prompt_tokens`, pictures and speech `input_tokens`
    (https://platform.openai.com/docs/api-reference/images/object), transcripts these or seconds, reranking
    `billed_units` or `tokens` (https://docs.cohere.com/reference/rerank), Gemini `usageMetadata`, and Vertex the tokens
    of each prediction (https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api).
    """
    usage = as_object(answer.get("usage"))
    if usage:
        return _openai(usage)
    metadata = as_object(answer.get("usageMetadata"))
    if metadata:
        return _gemini(metadata)
    meta = as_object(answer.get("meta"))
    for name in ("tokens", "billed_units"):
        counts = as_object(meta.get(name))
        found = _some(as_int(counts.get("input_tokens")), as_int(counts.get("output_tokens")), counts)
        if found is not None:
            return found
    return _predictions(answer)


def _openai(usage: JSONObject) -> Usage | None:
    """`total_tokens` alone is what rerankers tell: they read, and write nothing."""
    prompt, completion = as_int(usage.get("prompt_tokens")), as_int(usage.get("completion_tokens"))
    read = as_int(usage.get("input_tokens")) if prompt is None else prompt
    written = as_int(usage.get("output_tokens")) if completion is None else completion
    if read is None and written is None:
        read = as_int(usage.get("total_tokens"))
    seconds = as_float(usage.get("seconds"))
    if read is None and written is None and seconds is not None:
        return Usage(seconds=seconds, raw=usage)
    if read is None and written is None:
        return None
    names = ("input_tokens_details", "input_token_details", "prompt_tokens_details")
    details = next((found for name in names if (found := as_object(usage.get(name)))), {})
    made = as_object(usage.get("output_tokens_details"))
    return Usage(
        input_tokens=read,
        output_tokens=0 if written is None else written,
        cache_read_tokens=as_int(details.get("cached_tokens")),
        audio_input_tokens=as_int(details.get("audio_tokens")),
        image_input_tokens=as_int(details.get("image_tokens")),
        image_output_tokens=as_int(made.get("image_tokens")),
        raw=usage,
    )


def _gemini(metadata: JSONObject) -> Usage | None:
    """Thoughts are generated, and paid for, like all the rest."""
    answer, thoughts = as_int(metadata.get("candidatesTokenCount")), as_int(metadata.get("thoughtsTokenCount"))
    found = _some(
        as_int(metadata.get("promptTokenCount")),
        None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0),
        metadata,
    )
    if found is None:
        return None
    given, made = metadata.get("promptTokensDetails"), metadata.get("candidatesTokensDetails")
    return msgspec.structs.replace(
        found,
        reasoning_tokens=thoughts,
        audio_input_tokens=_of(given, "AUDIO"),
        audio_output_tokens=_of(made, "AUDIO"),
        image_input_tokens=_of(given, "IMAGE"),
        image_output_tokens=_of(made, "IMAGE"),
    )


def _of(details: JSONValue, modality: str) -> int | None:
    counts = (as_object(detail) for detail in as_list(details))
    return next((as_int(one.get("tokenCount")) for one in counts if as_str(one.get("modality")) == modality), None)


def _predictions(answer: JSONObject) -> Usage | None:
    total: int | None = None
    for prediction in map(as_object, as_list(answer.get("predictions"))):
        statistics = as_object(as_object(prediction.get("embeddings")).get("statistics"))
        count = as_int(statistics.get("token_count"))
        if count is not None:
            total = count + (total or 0)
    return _some(total, None, {})


def _some(read: int | None, written: int | None, raw: JSONObject) -> Usage | None:
    if read is None and written is None:
        return None
    return Usage(input_tokens=read, output_tokens=0 if written is None else written, raw=raw)
