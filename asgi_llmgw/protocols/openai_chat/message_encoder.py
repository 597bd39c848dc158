"""Messages, written as Chat Completions has them."""

from __future__ import annotations

from typing import assert_never

from asgi_llmgw.ir import (
    Base64Source,
    CitationPart,
    FileSource,
    MediaPart,
    Message,
    Opaque,
    Part,
    ReasoningPart,
    RefusalPart,
    Talk,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps_text
from asgi_llmgw.protocols.base import Diagnostics, Profile, safe_tool_call_id, safe_tool_name, unsupported

from .carriers import all_details, google_extra, is_own
from .media import encode_media, image_url
from .wire import NAME

_ELSEWHERE = "The result is in the next user message."


class MessageEncoder:
    """Writes messages in order.

    What tool and assistant messages cannot hold (pictures, files) follows in a user message, once all the results of
    the turn are told.
    """

    __slots__ = ("_diagnostics", "_later", "_made", "_messages", "_profile", "_waiting")

    def __init__(self, profile: Profile, diagnostics: Diagnostics) -> None:
        self._profile = profile
        self._diagnostics = diagnostics
        self._messages: list[JSONValue] = []
        self._later: list[JSONValue] = []
        self._made = 0
        self._waiting: list[tuple[str, str]] = []

    def add(self, message: Message, path: str) -> None:
        """Take one message.

        Raises:
            InvalidRequest: a part of it cannot be said.
        """
        if message.role != "tool" and (message.role != "assistant" or self._unanswered() is None):
            self._flush()
        match message.role:
            case "system" | "developer":
                role = self._profile.system_role or message.role
                parts = [self._text_only(part, f"{path}.content[{i}]") for i, part in enumerate(message.parts)]
                self._append({"role": role, "content": _joined(parts)}, message.name)
            case "user":
                self._user(message, path)
            case "assistant":
                self._assistant(message, path)
            case "tool":
                for index, part in enumerate(message.parts):
                    if isinstance(part, ToolResultPart):
                        self._result(part, f"{path}.content[{index}]")
            case _:
                assert_never(message.role)

    def add_talk(self, talk: Talk) -> None:
        """Take a conversation of words alone."""
        if talk.system is not None:
            self.add(talk.system, "messages[0]")
        self._messages += [{"role": role, "content": text} for role, text in talk.by_speaker()]

    def finish(self) -> list[JSONValue]:
        """All messages."""
        self._flush()
        return self._messages

    def _flush(self) -> None:
        if self._later:
            self._messages.append({"role": "user", "content": self._later})
            self._later = []

    def _append(self, message: JSONObject, name: str | None) -> None:
        if name is not None:
            message["name"] = name
        self._messages.append(message)

    def _unanswered(self) -> JSONObject | None:
        """The assistant's message, when the last thing in it was calls."""
        last = as_object(self._messages[-1]) if self._messages else {}
        return last if "tool_calls" in last else None

    def _text_only(self, part: Part, path: str) -> JSONObject:
        if isinstance(part, TextPart):
            return self._text(part, path)
        raise unsupported(path, "a system message holds text only")

    def _text(self, part: TextPart, path: str) -> JSONObject:
        if part.cache is not None:
            self._diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
        if part.signature is not None and not is_own(part.signature):
            self._diagnostics.dropped(f"{path}.signature", "state of another vendor", info=True)
        return {"type": "text", "text": part.text}

    def _unknown(self, part: UnknownPart, path: str) -> list[JSONObject]:
        if part.protocol == NAME:
            return [part.raw]
        if part.words:
            self._diagnostics.approximated(path, f"{part.kind} told in words", info=True)
            return [{"type": "text", "text": part.words}]
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
            self._append({"role": "user", "content": _joined(parts)}, message.name)

    def _assistant(self, message: Message, path: str) -> None:
        texts: list[JSONObject] = []
        calls: list[JSONValue] = []
        thoughts: list[ReasoningPart] = []
        encoded: JSONObject = {"role": "assistant", "content": None}
        for index, part in enumerate(message.parts):
            place = f"{path}.content[{index}]"
            match part:
                case TextPart():
                    if part.text:
                        texts.append(self._text(part, place))
                    _sign(encoded, part.signature)
                case ToolCallPart():
                    calls.append(self._call(part, place))
                case RefusalPart():
                    earlier = encoded.get("refusal")
                    encoded["refusal"] = (earlier if isinstance(earlier, str) else "") + part.text
                case ReasoningPart() if is_own(part.opaque):
                    thoughts.append(part)
                case ReasoningPart() if part.text and self._profile.reasoning_field is not None:
                    earlier = encoded.get(self._profile.reasoning_field)
                    encoded[self._profile.reasoning_field] = (earlier if isinstance(earlier, str) else "") + part.text
                case ReasoningPart():
                    self._diagnostics.dropped(place, "reasoning is not sent back in Chat Completions", info=True)
                case MediaPart():
                    self._assistant_media(part, place, encoded, texts)
                case CitationPart():
                    self._diagnostics.dropped(place, "citations are not sent back", info=True)
                case UnknownPart():
                    self._diagnostics.dropped(place, f"{part.protocol} {part.kind}".strip())
                case ToolResultPart():
                    self._diagnostics.dropped(place, "not something an assistant says")
                case _:
                    assert_never(part)
        if texts:
            encoded["content"] = _joined(texts)
        elif not calls and "refusal" not in encoded and "audio" not in encoded:
            encoded["content"] = ""
        if calls:
            encoded["tool_calls"] = calls
        if thoughts:
            encoded["reasoning_details"] = all_details(thoughts)
        before = self._unanswered()
        if before is None:
            self._append(encoded, message.name)
        else:
            self._messages[-1] = _one_turn(before, encoded)

    def _assistant_media(self, part: MediaPart, path: str, encoded: JSONObject, texts: list[JSONObject]) -> None:
        if part.kind == "audio" and isinstance(part.source, FileSource) and part.source.protocol == NAME:
            encoded["audio"] = {"id": part.source.id}
        elif part.kind == "audio" and part.transcript:
            texts.append({"type": "text", "text": part.transcript})
            self._diagnostics.approximated(path, "sound is sent back as its transcript")
        elif part.kind == "image" and isinstance(part.source, Base64Source) and image_url(part) is not None:
            self._later += [
                {"type": "text", "text": "A picture from the turn before:"},
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
        if part.signature is not None and not is_own(part.signature):
            self._diagnostics.dropped(f"{path}.signature", "state of another vendor", info=True)
        if part.cache is not None:
            self._diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
        if part.kind == "custom":
            return {"id": identifier, "type": "custom", "custom": {"name": name, "input": part.arguments}}
        function: JSONObject = {"name": name, "arguments": part.arguments or "{}"}
        call: JSONObject = {"id": identifier, "type": "function", "function": function}
        _sign(call, part.signature)
        return call

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
        identifier = self._result_id(part)
        if part.cache is not None:
            self._diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
        texts: list[JSONObject] = []
        media: list[JSONValue] = []
        for index, item in enumerate(part.content):
            place = f"{path}.content[{index}]"
            match item:
                case TextPart():
                    texts.append(self._text(item, place))
                case UnknownPart():
                    texts += self._unknown(item, place)
                case MediaPart():
                    encoded = encode_media(item, place, self._diagnostics)
                    if encoded["type"] == "text":
                        texts.append(encoded)
                    else:
                        media.append(encoded)
                        self._diagnostics.approximated(place, "sent in a user message after the results", info=True)
                case _:
                    assert_never(item)
        if media:
            self._later += [{"type": "text", "text": f"Result of the tool call {identifier}:"}, *media]
            texts = texts or [{"type": "text", "text": _ELSEWHERE}]
        content = _joined(texts)
        if part.is_error:
            content = dumps_text({"error": content if isinstance(content, str) else _text_of(texts)})
            self._diagnostics.approximated(f"{path}.is_error", "told as a JSON object with the key error", info=True)
        self._messages.append({"role": "tool", "tool_call_id": identifier, "content": content})


def _sign(holder: JSONObject, signature: Opaque | None) -> None:
    """Google's signature on a call or a message, where it came over Chat Completions."""
    extra = google_extra(signature) if is_own(signature) else None
    if extra is not None:
        holder["extra_content"] = extra


def _joined(parts: list[JSONObject]) -> JSONValue:
    """One text as a string, which every server takes; more as parts. Empty texts go where they say nothing."""
    said = [part for part in parts if part.get("text") != ""]
    if not said:
        return ""
    if len(said) == 1 and said[0].get("type") == "text":
        return said[0]["text"]
    return [*said]


def _one_turn(before: JSONObject, after: JSONObject) -> JSONObject:
    """Nothing but results may follow calls: what the assistant goes on to say belongs to the same message."""
    turn = {**after, **before}
    turn["content"] = _joined([*_parts(before), *_parts(after)]) or None
    for key in ("tool_calls", "reasoning_details"):
        if key in turn:
            turn[key] = [*as_list(before.get(key)), *as_list(after.get(key))]
    return turn


def _parts(message: JSONObject) -> list[JSONObject]:
    content = message["content"]
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [as_object(part) for part in as_list(content)]


def _text_of(parts: list[JSONObject]) -> str:
    return "\n".join(text for part in parts if isinstance(text := part.get("text"), str))
