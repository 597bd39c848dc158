"""Counts and log probabilities, which both of OpenAI's protocols tell alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias

import msgspec

from asgi_llmgw.ir import TokenLogprob
from asgi_llmgw.json import JSONObject, JSONValue, as_float, as_int, as_list, as_object, as_str

_MOST: Final = 2**53

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=_MOST)] | None
"""What `count` gives back as it is."""


def count(value: JSONValue) -> int | None:
    """A count one can believe; vendors have sent negative ones, floats and text."""
    if value is None:
        return None
    number = as_int(value)
    return number if number is not None and 0 <= number < _MOST else None


def decode_tokens(value: JSONValue) -> tuple[TokenLogprob, ...] | None:
    """A list of tokens and their probabilities, None where they are not told."""
    if not isinstance(value, list):
        return None
    return tuple(_decode_token(as_object(token)) for token in value)


def encode_tokens(tokens: Iterable[TokenLogprob]) -> list[JSONValue]:
    """The list as it is written."""
    return [{**_encode_token(token), "top_logprobs": [_encode_token(rival) for rival in token.top]} for token in tokens]


def _decode_token(token: JSONObject) -> TokenLogprob:
    raw = token.get("bytes")
    values = None
    if isinstance(raw, list):
        values = tuple(byte for item in raw if (byte := as_int(item)) is not None)
    return TokenLogprob(
        as_str(token.get("token")) or "",
        as_float(token.get("logprob")) or 0.0,
        values,
        tuple(_decode_token(as_object(rival)) for rival in as_list(token.get("top_logprobs"))),
    )


def _encode_token(token: TokenLogprob) -> JSONObject:
    values = token.bytes if token.bytes is not None else tuple(token.token.encode())
    return {"token": token.token, "logprob": token.logprob, "bytes": list(values)}
