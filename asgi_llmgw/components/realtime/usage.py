"""What a session has used, told from a copy of what the vendor says."""

from __future__ import annotations

from asgi_llmgw.ir import Usage
from asgi_llmgw.json import JSONError, JSONObject, as_int, as_object, loads_object
from asgi_llmgw.upstream.websocket import Frame

_DONE = "response.done"


def usage_in(frame: Frame) -> Usage | None:
    """The usage of the response that ends with this event; each tells its own.

    https://platform.openai.com/docs/api-reference/realtime-server-events/response/done
    """
    # most of what comes is audio, and need not be read
    if not isinstance(frame, str) or _DONE not in frame:
        return None
    try:
        event = loads_object(frame)
    except JSONError:
        return None
    usage = as_object(as_object(event.get("response")).get("usage"))
    if event.get("type") != _DONE or not usage:
        return None
    read, written = as_object(usage.get("input_token_details")), as_object(usage.get("output_token_details"))
    return Usage(
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        cache_read_tokens=_count(read, "cached_tokens"),
        audio_input_tokens=_count(read, "audio_tokens"),
        audio_output_tokens=_count(written, "audio_tokens"),
    )


def together(one: Usage, other: Usage) -> Usage:
    """The usage of both."""
    return Usage(
        input_tokens=_sum(one.input_tokens, other.input_tokens),
        output_tokens=_sum(one.output_tokens, other.output_tokens),
        cache_read_tokens=_sum(one.cache_read_tokens, other.cache_read_tokens),
        audio_input_tokens=_sum(one.audio_input_tokens, other.audio_input_tokens),
        audio_output_tokens=_sum(one.audio_output_tokens, other.audio_output_tokens),
    )


def _count(counts: JSONObject, name: str) -> int | None:
    """A number of tokens that can be."""
    count = as_int(counts.get(name))
    return count if count is not None and count >= 0 else None


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)
