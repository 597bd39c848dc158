"""Clients that read answers as naively as real ones do, one for each protocol; they know none of the codecs."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.conformance.answer import Answer
from asgi_llmgw.conformance.readers import anthropic_messages, gemini_generate, openai_chat, openai_responses
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONError, loads_object

_READERS: Final = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic_messages": anthropic_messages,
    "gemini_generate": gemini_generate,
}


def read(protocol: Protocol, body: bytes, *, status: int = 200, stream: bool = False, aborted: bool = False) -> Answer:
    """What a client of this protocol makes of a body."""
    answer = Answer(status=status, aborted=aborted, raw=body)
    reader = _READERS[protocol]
    if stream and status == 200:
        reader.read_stream(body, answer)
        return answer
    try:
        value = loads_object(body)
    except JSONError:
        answer.problem(f"the body is no JSON object: {body[:40]!r}")
        return answer
    if status == 200:
        answer.terminated = True
        reader.read_whole(value, answer)
    else:
        reader.read_error(value, answer)
    return answer


__all__ = ("read",)
