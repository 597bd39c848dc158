"""Turns, written as input items."""

from __future__ import annotations

import hashlib
from typing import assert_never

from asgi_llmgw.ir import (
    Base64Source,
    CitationPart,
    MediaPart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Talk,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)
from asgi_llmgw.json import JSONObject, JSONValue, dumps_text
from asgi_llmgw.protocols.base import Diagnostics, Profile, safe_tool_call_id, safe_tool_name, unsupported

from .media import encode_media
from .wire import NAME, PHASES


class InputEncoder:
    """Writes turns in order.

    A picture the assistant made follows in a user message, once the results of its turn are told: the assistant's own
    messages hold text only.
    """

    __slots__ = ("_diagnostics", "_items", "_later", "_made", "_profile", "_waiting")

    def __init__(self, profile: Profile, diagnostics: Diagnostics) -> None:
        self._profile = profile
        self._diagnostics = diagnostics
        self._items: list[JSONValue] = []
        self._later: list[JSONValue] = []
        self._made = 0
        self._waiting: list[tuple[str, str]] = []

    def add(self, message: Message, path: str) -> None:
        """Take one turn.

        Raises:
            InvalidRequest: a part of it cannot be said.
        """
        if message.name is not None:
            self._diagnostics.dropped(f"{path}.name", "messages have no name", info=True)
        if message.role != "tool":
            self._flush()
        match message.role:
            case "system" | "developer":
                self._system(message, path)
            case "user" | "tool":
                self._user(message, path)
            case "assistant":
                self._assistant(message, path)
            case _:
                assert_never(message.role)

    def add_talk(self, talk: Talk) -> None:
        """Take a conversation of words alone."""
        if talk.system is not None:
            self.add(talk.system, "messages[0]")
        self._items += [{"type": "message", "role": role, "content": text} for role, text in talk.by_speaker()]

    def finish(self) -> list[JSONValue]:
        """All items."""
        self._flush()
        return self._items

    def _flush(self) -> None:
        if self._later:
            self._items.append({"type": "message", "role": "user", "content": self._later})
            self._later = []

    def _system(self, message: Message, path: str) -> None:
        parts: list[JSONObject] = []
        for index, part in enumerate(message.parts):
            if not isinstance(part, TextPart):
                raise unsupported(f"{path}.content[{index}]", "a system message holds text only")
            parts.append(self._text(part, f"{path}.content[{index}]"))
        role = self._profile.system_role or message.role
        self._items.append({"type": "message", "role": role, "content": _joined(parts)})

    def _text(self, part: TextPart, path: str) -> JSONObject:
        if part.cache is not None:
            self._diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
        if part.signature is not None:
            self._diagnostics.dropped(f"{path}.signature", "state of another vendor", info=True)
        return {"type": "input_text", "text": part.text}

    def _unknown(self, part: UnknownPart, path: str) -> list[JSONObject]:
        if part.protocol == NAME:
            return [part.raw]
        if part.words:
            self._diagnostics.approximated(path, f"{part.kind} told in words", info=True)
            return [{"type": "input_text", "text": part.words}]
        self._diagnostics.dropped(path, f"{part.protocol} {part.kind}".strip())
        return []

    def _user(self, message: Message, path: str) -> None:
        parts: list[JSONObject] = []
        for index, part in enumerate(message.parts):
            place = f"{path}.content[{index}]"
            match part:
                case TextPart():
                    parts.append(self._text(part, place))
                case MediaPart():
                    parts.append(encode_media(part, place, self._diagnostics))
                case UnknownPart():
                    parts += self._unknown(part, place)
                case ToolResultPart():
                    self._result(part, place)
                case ReasoningPart() | ToolCallPart() | RefusalPart() | CitationPart():
                    self._diagnostics.dropped(place, "not something a user says")
                case _:
                    assert_never(part)
        if parts or not any(isinstance(part, ToolResultPart) for part in message.parts):
            self._flush()
            self._items.append({"type": "message", "role": "user", "content": _joined(parts)})

    def _assistant(self, message: Message, path: str) -> None:
        told: TextPart | None = None
        for index, part in enumerate(message.parts):
            place = f"{path}.content[{index}]"
            if isinstance(part, TextPart):
                self._text(part, place)
                if told is not None and told.phase == part.phase:
                    told = TextPart(told.text + part.text, phase=part.phase)
                else:
                    self._said(told)
                    told = part
            elif isinstance(part, CitationPart):
                self._diagnostics.dropped(place, "citations are not sent back", info=True)
            else:
                self._said(told)
                told = None
                self._assistant_item(part, place)
        self._said(told)

    def _said(self, part: TextPart | None) -> None:
        if part is None or not part.text:
            return
        item: JSONObject = {"type": "message", "role": "assistant", "content": part.text}
        if part.phase in PHASES:
            item["phase"] = part.phase
        self._items.append(item)

    def _assistant_item(self, part: Part, path: str) -> None:
        match part:
            case ReasoningPart():
                self._reasoning(part, path)
            case ToolCallPart():
                self._items.append(self._call(part, path))
            case RefusalPart():
                self._items.append(_refusal(part.text))
            case MediaPart():
                self._assistant_media(part, path)
            case UnknownPart():
                self._items += self._unknown(part, path)
            case ToolResultPart() | TextPart() | CitationPart():
                self._diagnostics.dropped(path, "not something an assistant says")
            case _:
                assert_never(part)

    def _reasoning(self, part: ReasoningPart, path: str) -> None:
        """OpenAI's own thoughts go back where they were, without the id under which nothing is kept."""
        opaque = part.opaque
        if opaque is None or opaque.protocol != NAME or opaque.kind != "encrypted":
            self._diagnostics.dropped(path, "reasoning without OpenAI's own state means nothing to it", info=True)
            return
        summary: list[JSONValue] = [{"type": "summary_text", "text": part.text}] if part.text else []
        self._items.append({"type": "reasoning", "summary": summary, "encrypted_content": opaque.payload})

    def _assistant_media(self, part: MediaPart, path: str) -> None:
        if part.kind == "audio" and part.transcript:
            self._said(TextPart(part.transcript))
            self._diagnostics.approximated(path, "sound is sent back as its transcript")
        elif part.kind == "image" and isinstance(part.source, Base64Source):
            self._later += [
                {"type": "input_text", "text": "A picture from the turn before:"},
                encode_media(part, path, self._diagnostics),
            ]
            self._diagnostics.approximated(path, "the assistant's picture is sent as the user's", info=True)
        else:
            self._diagnostics.dropped(path, f"an assistant's {part.kind} is not sent back")

    def _call(self, part: ToolCallPart, path: str) -> JSONObject:
        identifier, name = self._call_id(part), safe_tool_name(part.name)
        if part.id and identifier != part.id:
            self._diagnostics.renamed(f"{path}.id", identifier)
        if name != part.name:
            self._diagnostics.renamed(f"{path}.name", name)
        if part.signature is not None:
            self._diagnostics.dropped(f"{path}.signature", "state of another vendor", info=True)
        if part.cache is not None:
            self._diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
        if part.kind == "custom":
            return {"type": "custom_tool_call", "call_id": identifier, "name": name, "input": part.arguments}
        return {"type": "function_call", "call_id": identifier, "name": name, "arguments": part.arguments or "{}"}

    def _call_id(self, part: ToolCallPart) -> str:
        """An id; calls without one get one that depends on nothing but their place."""
        if part.id:
            return safe_tool_call_id(part.id)
        identifier = safe_tool_call_id(f"{part.name} #{self._made}")
        self._made += 1
        self._waiting.append((part.name, identifier))
        return identifier

    def _result_id(self, part: ToolResultPart) -> str:
        """The id of its call; without ids results meet calls by name, in order."""
        if part.call_id or not self._waiting:
            return safe_tool_call_id(part.call_id)
        names = [name for name, _ in self._waiting]
        position = names.index(part.name) if part.name in names else 0
        return self._waiting.pop(position)[1]

    def _result(self, part: ToolResultPart, path: str) -> None:
        if part.cache is not None:
            self._diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
        content: list[JSONObject] = []
        for index, item in enumerate(part.content):
            place = f"{path}.content[{index}]"
            match item:
                case TextPart():
                    content.append(self._text(item, place))
                case UnknownPart():
                    content += self._unknown(item, place)
                case MediaPart():
                    content.append(encode_media(item, place, self._diagnostics))
                case _:
                    assert_never(item)
        output = _joined(content)
        if part.is_error:
            output = _failed(content, output)
            self._diagnostics.approximated(f"{path}.is_error", "told as a JSON object with the key error", info=True)
        kind = "custom_tool_call_output" if part.kind == "custom" else "function_call_output"
        self._items.append({"type": kind, "call_id": self._result_id(part), "output": output})


def _refusal(text: str) -> JSONObject:
    """A refusal stands in a whole message only, which needs an id: any will do, as long as it stays the same."""
    identifier = "msg_" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return {
        "type": "message",
        "id": identifier,
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "refusal", "refusal": text}],
    }


def _failed(content: list[JSONObject], output: JSONValue) -> JSONValue:
    if isinstance(output, str):
        return dumps_text({"error": output})
    texts = [text for part in content if isinstance(text := part.get("text"), str)]
    rest: list[JSONValue] = [part for part in content if "text" not in part]
    failed: JSONObject = {"type": "input_text", "text": dumps_text({"error": "\n".join(texts)})}
    return [failed, *rest]


def _joined(parts: list[JSONObject]) -> JSONValue:
    """One text as a string, which every server takes; more as parts. Empty texts go where they say nothing."""
    said = [part for part in parts if part.get("text") != ""]
    if not said:
        return ""
    if len(said) == 1 and said[0].get("type") == "input_text":
        return said[0]["text"]
    return [*said]
