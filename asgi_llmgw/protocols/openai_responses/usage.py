"""Token counts of Responses."""

from __future__ import annotations

from asgi_llmgw.ir import Usage
from asgi_llmgw.json import JSONObject, JSONValue, as_object
from asgi_llmgw.protocols.base import Diagnostics
from asgi_llmgw.protocols.openai.tokens import count


def decode_usage(value: JSONValue) -> Usage | None:
    """The `usage` of an answer, None where there is none."""
    raw = as_object(value)
    if not raw:
        return None
    given = as_object(raw.get("input_tokens_details"))
    made = as_object(raw.get("output_tokens_details"))
    return Usage(
        input_tokens=count(raw.get("input_tokens")),
        output_tokens=count(raw.get("output_tokens")),
        cache_read_tokens=count(given.get("cached_tokens")),
        cache_write_tokens=count(given.get("cache_write_tokens")),
        reasoning_tokens=count(made.get("reasoning_tokens")),
        raw=raw,
    )


def encode_usage(usage: Usage | None, diagnostics: Diagnostics) -> JSONObject:
    """The `usage` object: every number is mandatory for strict clients, so what nobody told is 0."""
    usage = usage or Usage()
    if usage.total_tokens is None:
        diagnostics.defaulted("usage", "counts that are not known are told as 0")
    given, made = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens or 0,
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": given + made,
    }
