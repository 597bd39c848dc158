"""Token counts, log probabilities and their wire form."""

from __future__ import annotations

from collections.abc import Iterable

from asgi_llmgw.ir import TokenLogprob, Usage
from asgi_llmgw.json import JSONObject, JSONValue, as_object
from asgi_llmgw.protocols.base import Diagnostics
from asgi_llmgw.protocols.openai.tokens import count, decode_tokens, encode_tokens


def decode_usage(value: JSONValue) -> Usage | None:
    """The `usage` of an answer, None where there is none."""
    raw = as_object(value)
    if not raw:
        return None
    prompt = as_object(raw.get("prompt_tokens_details"))
    completion = as_object(raw.get("completion_tokens_details"))
    input_tokens = count(raw.get("prompt_tokens"))
    output_tokens = count(raw.get("completion_tokens"))
    total = count(raw.get("total_tokens"))
    if input_tokens is not None and output_tokens is not None and total is not None:
        # xAI and Google's own layer count the reasoning in the total only
        output_tokens = max(output_tokens, total - input_tokens)
    cached = count(prompt.get("cached_tokens"))
    if cached is None:
        cached = count(raw.get("prompt_cache_hit_tokens"))
    if cached is None:
        cached = count(raw.get("cached_tokens"))
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cached,
        cache_write_tokens=count(prompt.get("cache_write_tokens")),
        reasoning_tokens=count(completion.get("reasoning_tokens")),
        audio_input_tokens=count(prompt.get("audio_tokens")),
        audio_output_tokens=count(completion.get("audio_tokens")),
        image_input_tokens=count(prompt.get("image_tokens")),
        accepted_prediction_tokens=count(completion.get("accepted_prediction_tokens")),
        rejected_prediction_tokens=count(completion.get("rejected_prediction_tokens")),
        raw=raw,
    )


def encode_usage(usage: Usage, diagnostics: Diagnostics) -> JSONObject | None:
    """The `usage` object: numbers or nothing, never null (strict clients refuse it)."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return None
    if usage.total_tokens is None:
        diagnostics.defaulted("usage", "one of the two counts is not known and told as 0")
    prompt = usage.input_tokens or 0
    completion = usage.output_tokens or 0
    encoded: JSONObject = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    details = _known(
        cached_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        audio_tokens=usage.audio_input_tokens,
        image_tokens=usage.image_input_tokens,
    )
    if details:
        encoded["prompt_tokens_details"] = details
    details = _known(
        reasoning_tokens=usage.reasoning_tokens,
        audio_tokens=usage.audio_output_tokens,
        accepted_prediction_tokens=usage.accepted_prediction_tokens,
        rejected_prediction_tokens=usage.rejected_prediction_tokens,
    )
    if details:
        encoded["completion_tokens_details"] = details
    return encoded


def _known(**counts: int | None) -> JSONObject:
    return {name: count for name, count in counts.items() if count is not None}


def decode_logprobs(value: JSONValue, key: str) -> tuple[TokenLogprob, ...] | None:
    """The tokens of `logprobs.content` or `.refusal`, None where they are not told."""
    return decode_tokens(as_object(value).get(key))


def encode_logprobs(tokens: Iterable[TokenLogprob], *, refusal: bool = False) -> JSONObject:
    """The `logprobs` object of a choice."""
    encoded = encode_tokens(tokens)
    return {"content": None, "refusal": encoded} if refusal else {"content": encoded, "refusal": None}
