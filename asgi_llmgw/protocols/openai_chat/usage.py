"""Token counts, log probabilities and their wire form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from asgi_llmgw.ir import TokenLogprob, Usage
from asgi_llmgw.json import JSONObject, JSONValue, as_object
from asgi_llmgw.protocols.base import Diagnostics
from asgi_llmgw.protocols.openai.tokens import Count, count, decode_tokens, encode_tokens


class _Prompt(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    audio_tokens: Count = None
    image_tokens: Count = None


class _Completion(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None
    audio_tokens: Count = None
    accepted_prediction_tokens: Count = None
    rejected_prediction_tokens: Count = None


_NO_PROMPT: Final = _Prompt()
_NO_COMPLETION: Final = _Completion()


class _Told(msgspec.Struct, gc=False):
    """What is read of it."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: _Prompt | None = None
    completion_tokens_details: _Completion | None = None
    prompt_cache_hit_tokens: Count = None
    cached_tokens: Count = None


def decode_usage(value: JSONValue) -> Usage | None:
    """The `usage` of an answer, None where there is none."""
    if not isinstance(value, dict) or not value:
        return None
    told = plain_usage(value) or _believable(value)
    prompt = told.prompt_tokens_details or _NO_PROMPT
    completion = told.completion_tokens_details or _NO_COMPLETION
    input_tokens, output_tokens, total = told.prompt_tokens, told.completion_tokens, told.total_tokens
    rest = total - input_tokens if total is not None and input_tokens is not None else 0
    if output_tokens is not None and output_tokens < rest:
        # xAI and Google's own layer count the reasoning in the total only
        output_tokens = rest
    cached = prompt.cached_tokens
    if cached is None:
        cached = told.cached_tokens if told.prompt_cache_hit_tokens is None else told.prompt_cache_hit_tokens
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cached,
        cache_write_tokens=prompt.cache_write_tokens,
        reasoning_tokens=completion.reasoning_tokens,
        audio_input_tokens=prompt.audio_tokens,
        audio_output_tokens=completion.audio_tokens,
        image_input_tokens=prompt.image_tokens,
        accepted_prediction_tokens=completion.accepted_prediction_tokens,
        rejected_prediction_tokens=completion.rejected_prediction_tokens,
        raw=value,
    )


def plain_usage(raw: JSONObject) -> _Told | None:
    """What is told, where all of it can be believed as it stands."""
    try:
        return msgspec.convert(raw, _Told)
    except msgspec.ValidationError:
        return None


def _believable(raw: JSONObject) -> _Told:
    """What can be believed of it."""
    prompt = as_object(raw.get("prompt_tokens_details"))
    completion = as_object(raw.get("completion_tokens_details"))
    return _Told(
        count(raw.get("prompt_tokens")),
        count(raw.get("completion_tokens")),
        count(raw.get("total_tokens")),
        _Prompt(*[count(prompt.get(name)) for name in _Prompt.__struct_fields__]),
        _Completion(*[count(completion.get(name)) for name in _Completion.__struct_fields__]),
        count(raw.get("prompt_cache_hit_tokens")),
        count(raw.get("cached_tokens")),
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
