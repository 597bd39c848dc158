"""What the answers of operations say they have used, in whichever of the vendors' words."""

from __future__ import annotations

from asgi_llmgw.ir import Usage
from asgi_llmgw.json import JSONObject, as_int, as_list, as_object


def usage_of(answer: JSONObject) -> Usage | None:
    """The usage in an answer or in an event of a stream.

    Embeddings and completions count `prompt_tokens`, pictures and speech `input_tokens`
    (https://platform.openai.com/docs/api-reference/images/object), reranking `billed_units` or `tokens`
    (https://docs.cohere.com/reference/rerank), Gemini `usageMetadata`, and Vertex the tokens of each prediction
    (https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api).
    """
    usage = as_object(answer.get("usage"))
    if usage:
        return _openai(usage)
    metadata = as_object(answer.get("usageMetadata"))
    if metadata:
        answer_tokens, thoughts = (as_int(metadata.get(f"{what}TokenCount")) for what in ("candidates", "thoughts"))
        output = None if answer_tokens is None and thoughts is None else (answer_tokens or 0) + (thoughts or 0)
        return _some(as_int(metadata.get("promptTokenCount")), output, metadata)
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
    if read is None and written is None:
        return None
    details = as_object(usage.get("input_tokens_details") or usage.get("prompt_tokens_details"))
    return Usage(
        input_tokens=read,
        output_tokens=0 if written is None else written,
        cache_read_tokens=as_int(details.get("cached_tokens")),
        audio_input_tokens=as_int(details.get("audio_tokens")),
        image_input_tokens=as_int(details.get("image_tokens")),
        raw=usage,
    )


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
