"""An answer in words that belong to no vendor."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from asgi_llmgw.ir.diagnostic import Diagnostic
from asgi_llmgw.ir.parts import OutputPart
from asgi_llmgw.json import JSONObject

FinishKind: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error", "other"]


class FinishReason(msgspec.Struct, frozen=True):
    """Why a choice ended: `kind` for everyone, `raw` as the vendor said it (None: it did not say).

    `stop_sequence` is the one that was hit, where the vendor tells; `detail` is the vendor's explanation.
    """

    kind: FinishKind
    raw: str | None = None
    stop_sequence: str | None = None
    detail: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens, where None means "not reported" and never zero.

    `input_tokens` counts the whole prompt, cached tokens and tool-use prompts included; `output_tokens` counts all that
    was generated, reasoning included. The others are shares of these two. `raw` is the vendor's own object.

    `pictures` (made), `seconds` (of sound heard) and `characters` (read aloud) are what some vendors count instead.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    tool_input_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_input_tokens: int | None = None
    image_output_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    pictures: int | None = None
    seconds: float | None = None
    characters: int | None = None
    raw: JSONObject | None = None

    @property
    def total_tokens(self) -> int | None:
        """Input and output together, None unless both were reported."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


class TokenLogprob(msgspec.Struct, frozen=True):
    """One token and how likely it was, natural logarithm; `top` are its rivals."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple[TokenLogprob, ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """One answer. `logprobs` is None where none were reported."""

    parts: tuple[OutputPart, ...]
    finish: FinishReason
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None


class ChatResponse(msgspec.Struct, frozen=True):
    """What a vendor answered. `created` is in seconds since the epoch. Empty `id` and `model`: it did not say."""

    choices: tuple[Choice, ...]
    id: str = ""
    model: str = ""
    created: int | None = None
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    legacy_functions: bool = False
    diagnostics: tuple[Diagnostic, ...] = ()
