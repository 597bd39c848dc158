"""How much a request may use at most, told from its body before anybody is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Self, get_args

import msgspec

from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONError, JSONObject, as_int, as_object, as_str, loads, members
from asgi_llmgw.pricing import MAX_TOKENS
from asgi_llmgw.protocols.base import parse_request
from asgi_llmgw.protocols.plain import is_large_and_plain
from asgi_llmgw.tokens import estimate_tokens

DEFAULT_OUTPUT_TOKENS: Final = 1024
"""What a request is thought to generate that does not say how much it may."""

_MOST: Final[Mapping[Protocol, tuple[str, ...]]] = {
    "openai_chat": ("max_completion_tokens", "max_tokens"),
    "openai_responses": ("max_output_tokens",),
    "anthropic_messages": ("max_tokens",),
    "gemini_generate": ("maxOutputTokens", "max_output_tokens"),
}
"""Where each protocol says how much may be generated at most, for each answer."""
_ANSWERS: Final[Mapping[Protocol, tuple[str, ...]]] = {
    "openai_chat": ("n",),
    "gemini_generate": ("candidateCount", "candidate_count"),
}
_MAX_ANSWERS: Final = 128
_BYTES_PER_TOKEN: Final = 3
_READING: Final = frozenset({"embeddings", "moderations", "rerank", "predict", "caches", "speech"})
"""The operations that generate no tokens, or none that anybody counts."""
_MARKS: Final = (b"base64", b"ignature")
"""What costs fewer tokens than its length says stands near one of these, in any protocol."""
_OWN_MARKS: Final[Mapping[Protocol, tuple[bytes, ...]]] = {
    "openai_responses": (b"encrypted_content",),
    "gemini_generate": (b"inlineData", b"inline_data"),
}


class _Reading(msgspec.Struct, frozen=True):
    """What is read of the requests of a protocol.

    Args:
        small: the members that are decoded.
        most: those that say how much may be generated.
        answers: those that say how often.
        marks: what costs fewer tokens than its length says stands near one of these.
    """

    small: frozenset[str]
    most: tuple[str, ...]
    answers: tuple[str, ...]
    marks: tuple[bytes, ...]

    @classmethod
    def of(cls, protocol: Protocol) -> Self:
        most, answers = _MOST.get(protocol, ()), _ANSWERS.get(protocol, ())
        small = frozenset(("model", "background", "generationConfig", "generation_config", *most, *answers))
        return cls(small, most, answers, _MARKS + _OWN_MARKS.get(protocol, ()))


_READINGS: Final[Mapping[Protocol, _Reading]] = {protocol: _Reading.of(protocol) for protocol in get_args(Protocol)}


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """The most that a request is thought to use.

    Args:
        model: the name in the body, if it has one.
        later: the answer only says that the work has begun; what it uses is not told in it.
        text: the answer is text, so that its length tells how much was generated where the vendor does not.
    """

    input_tokens: int
    output_tokens: int
    model: str | None = None
    later: bool = False
    text: bool = True

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


def estimate(body: bytes, protocol: Protocol, *, default_output: int = DEFAULT_OUTPUT_TOKENS) -> Estimate:
    """Read a request's own limit of output, and count its input on the high side.

    Raises:
        InvalidRequest: the body is not a JSON object.
    """
    reading = _READINGS[protocol]
    request, input_tokens = _skim(body, reading)
    settings = request
    if protocol == "gemini_generate":
        settings = as_object(request.get("generationConfig") or request.get("generation_config"))
    output_tokens = _first(settings, reading.most, MAX_TOKENS) or default_output
    output_tokens *= _first(settings, reading.answers, _MAX_ANSWERS) or 1
    return Estimate(
        input_tokens if input_tokens < MAX_TOKENS else MAX_TOKENS,
        output_tokens if output_tokens < MAX_TOKENS else MAX_TOKENS,
        as_str(request.get("model")),
        protocol == "openai_responses" and request.get("background") is True,
    )


def estimate_operation(body: bytes, operation: str, *, default_output: int = DEFAULT_OUTPUT_TOKENS) -> Estimate:
    """The same for an operation beside chat; of an upload nothing is known before it is over.

    Raises:
        InvalidRequest: the body is not a JSON object.
    """
    if operation == "completions":
        return estimate(body, "openai_chat", default_output=default_output)
    found = estimate(body, "openai_chat", default_output=default_output) if body else Estimate(0, 0)
    output = 0 if operation in _READING or not body else found.output_tokens
    return Estimate(found.input_tokens, output, model=found.model, text=False)


def _skim(body: bytes, reading: _Reading) -> tuple[JSONObject, int]:
    """The few small members that matter, and the tokens of all others by their length: no text is decoded."""
    if is_large_and_plain(body) or max(map(body.find, reading.marks)) < 0:
        try:
            found = members(body)
            request, length = {}, len(body)
            for name in reading.small.intersection(found):
                raw = found[name]
                request[name] = loads(raw)
                length -= len(name) + len(raw)
            return request, math.ceil(length / _BYTES_PER_TOKEN)
        except JSONError:
            # the reader of whole requests tells what is wrong with it
            pass
    request = parse_request(body)
    return request, estimate_tokens(request)


def _first(settings: JSONObject, names: tuple[str, ...], ceiling: int) -> int | None:
    """The first of these that is a positive number; a client's absurd one is cut down."""
    for name in names:
        if name in settings:
            number = as_int(settings[name])
            if number is not None and number > 0:
                return number if number < ceiling else ceiling
    return None
