"""Answers as Amazon would write them: the other side of what the codec reads, from any vendor's recorded answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols.base import safe_tool_call_id, safe_tool_name
from asgi_llmgw.protocols.bedrock_converse.wire import NAME
from tests.amazon import message
from tests.pairs import value_of

STOP: Final[dict[ir.FinishKind, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "error": "malformed_model_output",
    "other": "something_new",
}


def event(name: str, data: JSONObject) -> bytes:
    """One event, padded as Amazon pads them."""
    return message(
        dumps({**data, "p": "abcdefghijk"}), message_type="event", event_type=name, content_type="application/json"
    )


def exception(name: str, data: JSONObject) -> bytes:
    """What ends a stream that fails."""
    return message(dumps(data), message_type="exception", exception_type=name, content_type="application/json")


def whole(answer: ir.ChatResponse) -> bytes:
    """The answer to Converse."""
    choice = answer.choices[0]
    blocks: list[JSONValue] = [block for part in choice.parts for block in _block(part)]
    told: JSONObject = {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": _stop(choice),
        "metrics": {"latencyMs": 7},
    }
    usage = _usage(answer)
    return dumps(told if usage is None else {**told, "usage": usage})


def stream(answer: ir.ChatResponse, *, size: int = 9) -> list[bytes]:
    """The same as the messages of ConverseStream; words come in pieces of `size` characters."""
    choice = answer.choices[0]
    messages = [event("messageStart", {"role": "assistant"})]
    blocks = [block for part in choice.parts for block in _block(part)]
    for index, block in enumerate(blocks):
        messages += _told(index, block, size)
        messages.append(event("contentBlockStop", {"contentBlockIndex": index}))
    messages.append(event("messageStop", {"stopReason": _stop(choice)}))
    usage = _usage(answer)
    if usage is not None:
        messages.append(event("metadata", {"usage": usage, "metrics": {"latencyMs": 7}}))
    return messages


def interleaved(answer: ir.ChatResponse, turns: list[int]) -> list[bytes]:
    """The messages of all blocks in any order in which each keeps its own; `turns` says whose turn it is."""
    blocks = [block for part in answer.choices[0].parts for block in _block(part)]
    waiting = [
        [*_told(index, block, 2), event("contentBlockStop", {"contentBlockIndex": index})]
        for index, block in enumerate(blocks)
    ]
    first, *_, last = stream(answer)
    messages, order = [first], iter(turns)
    # parts are numbered as they begin, so each block begins in its turn
    messages += [queue.pop(0) for queue in waiting]
    while any(waiting):
        queue = [queue for queue in waiting if queue][next(order, 0) % sum(map(bool, waiting))]
        messages.append(queue.pop(0))
    messages.append(event("messageStop", {"stopReason": _stop(answer.choices[0])}))
    return [*messages, last] if _usage(answer) is not None else messages


def said_here(answer: ir.ChatResponse) -> ir.ChatResponse:
    """What of an answer Converse can say: its first choice, and state as Amazon's own."""
    choice = answer.choices[0]
    parts = tuple(part for kept in choice.parts if (part := _kept(kept)) is not None)
    finish = ir.FinishReason(choice.finish.kind)
    return ir.ChatResponse((ir.Choice(parts, finish),))


def _kept(part: ir.OutputPart) -> ir.OutputPart | None:
    match part:
        case ir.TextPart():
            return ir.TextPart(part.text)
        case ir.ReasoningPart():
            return ir.ReasoningPart(part.text, _state(part))
        case ir.ToolCallPart():
            value = value_of(part.arguments)
            arguments = part.arguments if isinstance(value, dict) else dumps({"input": value}).decode()
            return ir.ToolCallPart(safe_tool_call_id(part.id), safe_tool_name(part.name), arguments)
        case ir.MediaPart(kind="image", source=ir.Base64Source()):
            return ir.MediaPart("image", part.source, part.media_type)
        case _:
            return None


def _state(part: ir.ReasoningPart) -> ir.Opaque | None:
    if part.opaque is None or not part.opaque.payload:
        return None
    return ir.Opaque(NAME, "signature", part.opaque.payload)


def _block(part: ir.OutputPart) -> Iterator[JSONObject]:
    match _kept(part):
        case ir.TextPart(text=text):
            yield {"text": text}
        case ir.ReasoningPart(text=text, opaque=opaque):
            proof: JSONObject = {} if opaque is None else {"signature": opaque.payload}
            yield {"reasoningContent": {"reasoningText": {"text": text, **proof}}}
        case ir.ToolCallPart(id=call_id, name=name, arguments=arguments):
            yield {"toolUse": {"toolUseId": call_id, "name": name, "input": value_of(arguments)}}
        case ir.MediaPart(source=ir.Base64Source(data=data), media_type=media_type):
            kind = (media_type or "image/png").removeprefix("image/")
            yield {"image": {"format": kind, "source": {"bytes": data}}}
        case _:
            return


def _told(index: int, block: JSONObject, size: int) -> Iterator[bytes]:
    """The start and the deltas of one block."""

    def delta(told: JSONObject) -> bytes:
        return event("contentBlockDelta", {"contentBlockIndex": index, "delta": told})

    match block:
        case {"text": str(text)}:
            yield delta({"text": ""})
            yield from (delta({"text": piece}) for piece in _pieces(text, size))
        case {"reasoningContent": {"reasoningText": dict(thought)}}:
            yield delta({"reasoningContent": {"text": ""}})
            for piece in _pieces(str(thought["text"]), size):
                yield delta({"reasoningContent": {"text": piece}})
            if "signature" in thought:
                yield delta({"reasoningContent": {"signature": thought["signature"]}})
        case {"toolUse": dict(call)}:
            start: JSONObject = {"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}}
            yield event("contentBlockStart", {"contentBlockIndex": index, "start": start})
            for piece in _pieces(dumps(call["input"]).decode(), size):
                yield delta({"toolUse": {"input": piece}})
        case {"image": dict(image)}:
            start = {"image": {"format": image["format"]}}
            yield event("contentBlockStart", {"contentBlockIndex": index, "start": start})
            yield delta({"image": {"source": image["source"]}})
        case _:
            raise AssertionError(block)


def _pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def _stop(choice: ir.Choice) -> str:
    return STOP[choice.finish.kind]


def _usage(answer: ir.ChatResponse) -> JSONObject | None:
    usage = answer.usage
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    told: JSONObject = {
        "inputTokens": usage.input_tokens - (read or 0) - (written or 0),
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens,
    }
    if read is not None:
        told["cacheReadInputTokens"] = read
    if written is not None:
        told["cacheWriteInputTokens"] = written
    return told
