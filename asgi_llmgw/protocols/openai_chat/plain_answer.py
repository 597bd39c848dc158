"""The short ways for what nearly all whole answers are: words, and how many tokens they took."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

from asgi_llmgw.ir import ChatResponse, Choice, FinishKind, TextPart, Usage
from asgi_llmgw.json import DecodedObject
from asgi_llmgw.protocols.plain import only_these

from .usage import decode_usage
from .wire import FINISH_IN, finish_in

_Nothing: TypeAlias = Annotated[list[None], msgspec.Meta(max_length=0)] | None


class _PlainMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    role: str = ""
    refusal: None = None
    annotations: _Nothing = None
    tool_calls: _Nothing = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


class _PlainChoice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    message: _PlainMessage
    finish_reason: Annotated[str, msgspec.Meta(min_length=1)]
    index: int | None = None
    logprobs: None = None
    stop_reason: object = None


class _PlainAnswer(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An answer of words alone; the members without a name here are read by nobody."""

    choices: Annotated[list[_PlainChoice], msgspec.Meta(min_length=1)]
    id: str = ""
    kind: str = msgspec.field(default="", name="object")
    created: int | None = None
    model: str = ""
    usage: DecodedObject | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


_plain: Final = msgspec.json.Decoder(_PlainAnswer)


def plain_answer(body: bytes) -> ChatResponse | None:
    """The answer, if there is nothing in it but words."""
    answer = only_these(_plain, body)
    if answer is None:
        return None
    choices = [
        Choice(
            (TextPart(choice.message.content),),
            finish_in(choice.finish_reason, calls=False),
            position if choice.index is None else choice.index,
        )
        for position, choice in enumerate(answer.choices)
    ]
    return ChatResponse(
        choices=tuple(choices),
        id=answer.id,
        model=answer.model,
        created=answer.created,
        usage=decode_usage(answer.usage),
        service_tier=answer.service_tier or None,
        system_fingerprint=answer.system_fingerprint or None,
    )


class _Message(msgspec.Struct, gc=False):
    content: str
    tool_calls: _Nothing = None
    function_call: None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: Annotated[str, msgspec.Meta(min_length=1)]
    error: None = None


class _Answer(msgspec.Struct, gc=False):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: DecodedObject | None = None
    error: None = None


_skim: Final = msgspec.json.Decoder(_Answer)


def skim_response(body: bytes) -> tuple[Usage | None, FinishKind] | None:
    """Usage and the ending of an answer of plain text; None for any other, and for all that is odd.

    What `decode_response` would refuse is odd. The rest of the answer is not read.
    """
    if not body.isascii() or b"\\ud" in body:
        return None
    answer = only_these(_skim, body)
    if answer is None:
        return None
    return decode_usage(answer.usage), FINISH_IN.get(answer.choices[0].finish_reason, "other")
