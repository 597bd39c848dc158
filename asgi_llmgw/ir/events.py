"""A streamed answer, event by event.

    stream := ResponseStart item* ResponseEnd        (or StreamFault instead of the end, at any point)
    item   := PartStart delta* PartEnd | ChoiceEnd | UsageUpdate

Parts may interleave. `index` numbers the parts of the whole stream 0, 1, 2 in order of their start, over all choices;
encoders allocate the indices and ids of their own wire.
"""

from __future__ import annotations

from typing import TypeAlias, final

import msgspec

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir.diagnostic import Diagnostic
from asgi_llmgw.ir.parts import Opaque, OutputPart
from asgi_llmgw.ir.response import FinishReason, TokenLogprob, Usage


@final
class ResponseStart(msgspec.Struct, frozen=True):
    """The vendor has begun. Fields as in `ChatResponse`."""

    id: str = ""
    model: str = ""
    created: int | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    legacy_functions: bool = False


@final
class PartStart(msgspec.Struct, frozen=True):
    """A part opens. `part` holds what is known already; for text, reasoning and calls the deltas add to it."""

    index: int
    part: OutputPart
    choice: int = 0


@final
class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """More text of a `TextPart` or `RefusalPart`."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] | None = None


@final
class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    """More text of a `ReasoningPart`."""

    index: int
    text: str


@final
class ToolInputDelta(msgspec.Struct, frozen=True, gc=False):
    """A fragment of a call's arguments: raw text, never parsed in flight."""

    index: int
    fragment: str


Delta: TypeAlias = TextDelta | ReasoningDelta | ToolInputDelta
"""What nearly all events of a stream are. Whoever meets each of them asks for `type(event) is …` first: `isinstance`
and `match` ask a struct's metaclass, which takes longer than the rest of the work."""


@final
class PartEnd(msgspec.Struct, frozen=True):
    """A part closes; `opaque` is the signature or encrypted state that came late for it, if any."""

    index: int
    opaque: Opaque | None = None


@final
class ChoiceEnd(msgspec.Struct, frozen=True):
    """A choice is complete. A stream has one for each choice."""

    finish: FinishReason
    choice: int = 0


@final
class UsageUpdate(msgspec.Struct, frozen=True):
    """Tokens so far: a cumulative snapshot, the last one wins."""

    usage: Usage


@final
class ResponseEnd(msgspec.Struct, frozen=True):
    """The stream is whole: every part is closed and every choice has ended."""

    diagnostics: tuple[Diagnostic, ...] = ()


@final
class StreamFault(msgspec.Struct, frozen=True):
    """The stream broke: an error event from the vendor, or its bytes ended too early. Nothing follows."""

    error: UpstreamError


StreamEvent: TypeAlias = (
    ResponseStart
    | PartStart
    | TextDelta
    | ReasoningDelta
    | ToolInputDelta
    | PartEnd
    | ChoiceEnd
    | UsageUpdate
    | ResponseEnd
    | StreamFault
)
