"""Output items: what each is at its beginning, while it grows and when it is done.

Each writer yields the bodies of its events; the numbers, and the place of the item in the output, are its caller's.
`words` is the text so far; a caller who tells a delta himself, as `delta` shows it, adds it there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from asgi_llmgw.ir import CitationPart, Opaque, TokenLogprob, ToolCallPart
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.openai.tokens import encode_tokens

from .wire import NAME

Event: TypeAlias = JSONObject


class MessageItem:
    """A message, with one part of content open at a time."""

    def __init__(self, identifier: str, phase: str | None) -> None:
        self.id = identifier
        self.phase = phase
        self.length = 0
        self._content: list[JSONValue] = []
        self._open: str | None = None
        self.words: list[str] = []
        self._notes: list[JSONValue] = []
        self._logprobs: list[JSONValue] = []

    def item(self, status: str) -> JSONObject:
        """The item with the content that is complete."""
        item: JSONObject = {
            "type": "message",
            "id": self.id,
            "status": status,
            "role": "assistant",
            "content": [*self._content],
        }
        return item if self.phase is None else {**item, "phase": self.phase}

    def _part(self) -> JSONObject:
        text = "".join(self.words)
        if self._open == "refusal":
            return {"type": "refusal", "refusal": text}
        return {
            "type": "output_text",
            "text": text,
            "annotations": [*self._notes],
            "logprobs": [*self._logprobs],
        }

    def begin(self, kind: str) -> Iterator[Event]:
        """A part of this kind is open."""
        if self._open == kind:
            return
        yield from self._end()
        self._open = kind
        self.words.clear()
        self._notes, self._logprobs = [], []
        yield {"type": "response.content_part.added", "content_index": len(self._content), "part": self._part()}

    def text(self, text: str, logprobs: tuple[TokenLogprob, ...] | None) -> Iterator[Event]:
        """More text in the open part."""
        self.words.append(text)
        event = {**self.delta, "delta": text}
        if logprobs and self._open != "refusal":
            tokens = encode_tokens(logprobs)
            self._logprobs += tokens
            event["logprobs"] = tokens
        yield event

    @property
    def delta(self) -> Event:
        """What all deltas of the open part have in common."""
        event: Event = {"type": f"response.{self._open}.delta", "content_index": len(self._content), "delta": ""}
        return event if self._open == "refusal" else {**event, "logprobs": []}

    def cite(self, part: CitationPart, offset: int) -> Iterator[Event]:
        """A source for the open text, in a message that begins at `offset` of the whole answer."""
        note = _annotation(part, offset + self.length, sum(map(len, self.words)))
        yield {
            "type": "response.output_text.annotation.added",
            "content_index": len(self._content),
            "annotation_index": len(self._notes),
            "annotation": note,
        }
        self._notes.append(note)

    @property
    def has_text(self) -> bool:
        """Whether a text is open."""
        return self._open == "output_text"

    def _end(self) -> Iterator[Event]:
        if self._open is None:
            return
        part, place = self._part(), len(self._content)
        if self._open == "refusal":
            yield {"type": "response.refusal.done", "content_index": place, "refusal": part["refusal"]}
        else:
            done: JSONObject = {"content_index": place, "text": part["text"], "logprobs": part["logprobs"]}
            yield {"type": "response.output_text.done", **done}
        yield {"type": "response.content_part.done", "content_index": place, "part": part}
        self._content.append(part)
        self.length += 0 if self._open == "refusal" else sum(map(len, self.words))
        self._open = None

    def close(self) -> Iterator[Event]:
        """Nothing follows."""
        yield from self._end()

    def abandon(self) -> None:
        """What was said stays in the item, without a word about it."""
        for _ in self._end():
            pass


def _annotation(part: CitationPart, offset: int, length: int) -> JSONObject:
    start, end = part.start, part.end
    if part.raw is not None and part.protocol == NAME:
        return part.raw
    return {
        "type": "url_citation",
        "url": part.url or "",
        "title": part.title or "",
        "start_index": max(0, start - offset) if start is not None else 0,
        "end_index": max(0, end - offset) if end is not None else length,
    }


class ReasoningItem:
    """Thoughts: a summary in one part, and the state that proves them."""

    def __init__(self, identifier: str) -> None:
        self.id = identifier
        self.words: list[str] = []
        self._open = False
        self._encrypted: str | None = None

    def item(self, status: str) -> JSONObject:
        """The item so far; its status is not told, as OpenAI does not tell it."""
        summary: list[JSONValue] = [self._part()] if self.words else []
        item: JSONObject = {"type": "reasoning", "id": self.id, "summary": summary}
        return item if self._encrypted is None else {**item, "encrypted_content": self._encrypted}

    def _part(self) -> JSONObject:
        return {"type": "summary_text", "text": "".join(self.words)}

    def text(self, text: str) -> Iterator[Event]:
        """More thoughts."""
        if not self._open:
            self._open = True
            yield {"type": "response.reasoning_summary_part.added", "summary_index": 0, "part": self._part()}
        self.words.append(text)
        yield {**self.delta, "delta": text}

    @property
    def delta(self) -> Event:
        """What all deltas have in common."""
        return {"type": "response.reasoning_summary_text.delta", "summary_index": 0, "delta": ""}

    def prove(self, opaque: Opaque) -> None:
        """The state of these thoughts."""
        self._encrypted = opaque.payload

    def close(self) -> Iterator[Event]:
        """Nothing follows."""
        if self._open:
            part = self._part()
            yield {"type": "response.reasoning_summary_text.done", "summary_index": 0, "text": part["text"]}
            yield {"type": "response.reasoning_summary_part.done", "summary_index": 0, "part": part}


class CallItem:
    """A call of a function or of a free-text tool."""

    def __init__(self, identifier: str, part: ToolCallPart, call_id: str, namespace: tuple[str, str] | None) -> None:
        self.id = identifier
        self._custom = part.kind == "custom"
        self._call_id = call_id
        self._name = part.name
        self._namespace = namespace
        self.words: list[str] = []
        self._closed = False

    def item(self, status: str) -> JSONObject:
        """The call with the arguments so far."""
        item: JSONObject = {
            "type": "custom_tool_call" if self._custom else "function_call",
            "id": self.id,
            "call_id": self._call_id,
            "name": self._name if self._namespace is None else self._namespace[1],
            "input" if self._custom else "arguments": self._arguments(),
        }
        if self._namespace is not None:
            item["namespace"] = self._namespace[0]
        return item if self._custom else {**item, "status": status}

    def _arguments(self) -> str:
        """No arguments are an empty object, once it is known that there are none."""
        text = "".join(self.words)
        return "{}" if not text and self._closed and not self._custom else text

    def text(self, fragment: str) -> Iterator[Event]:
        """More of the arguments."""
        self.words.append(fragment)
        yield {**self.delta, "delta": fragment}

    @property
    def delta(self) -> Event:
        """What all deltas have in common."""
        kind = "custom_tool_call_input" if self._custom else "function_call_arguments"
        return {"type": f"response.{kind}.delta", "delta": ""}

    def close(self) -> Iterator[Event]:
        """The arguments are complete."""
        if self._closed:
            return
        if not self._custom and not self.words:
            yield from self.text("{}")
        self._closed = True
        if self._custom:
            yield {"type": "response.custom_tool_call_input.done", "input": self._arguments()}
        else:
            done: JSONObject = {"name": self._name if self._namespace is None else self._namespace[1]}
            yield {"type": "response.function_call_arguments.done", **done, "arguments": self._arguments()}


class WholeItem:
    """An item that is there at once: a picture, or one of OpenAI's own kinds."""

    def __init__(self, item: JSONObject) -> None:
        self._item = item
        self.id = item.get("id")

    def item(self, status: str) -> JSONObject:
        """The item."""
        return self._item

    def close(self) -> Iterator[Event]:
        """There is nothing to be done."""
        yield from ()


OutputItem: TypeAlias = MessageItem | ReasoningItem | CallItem | WholeItem

GrowingItem: TypeAlias = MessageItem | ReasoningItem | CallItem
