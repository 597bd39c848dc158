"""The messages of a Chat Completions request, read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from asgi_llmgw.ir import (
    CacheMark,
    FileSource,
    MediaPart,
    Message,
    Part,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)
from asgi_llmgw.json import JSONObject, as_list, as_object, dumps_text
from asgi_llmgw.protocols.fields import Fields, invalid, missing, wrong_type

from .carriers import anthropic_signature, google_signature, place_signatures, reasoning_parts
from .media import decode_audio, decode_file, decode_image, decode_video
from .response import citation
from .wire import NAME

PLAIN_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
}
"""Those whose messages need no more than a text."""
_ROLES: Final[dict[str, Role]] = {**PLAIN_ROLES, "tool": "tool", "function": "tool"}
_REASONING_FIELDS: Final = ("reasoning", "reasoning_content", "reasoning_details", "thinking_blocks")


class MessageDecoder:
    """Reads messages in order; results are named after the calls before them."""

    __slots__ = ("_legacy", "_names")

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._legacy: dict[str, deque[str]] = {}

    def decode(self, message: Fields) -> Message:
        """One message.

        Raises:
            InvalidRequest: it cannot be read.
        """
        role = message.required_text("role")
        if role not in _ROLES:
            raise invalid(
                message.at("role"),
                f"Invalid value: '{role}'. Supported values are: {', '.join(repr(name) for name in _ROLES)}.",
            )
        match role:
            case "assistant":
                parts = self._assistant(message)
            case "tool":
                parts = [self._tool_result(message)]
            case "function":
                parts = [self._function_result(message)]
            case _:
                parts = _content(message, media=role == "user")
        cache = cache_mark(message)
        if cache is not None:
            parts = _marked(parts, cache)
        name = message.text("name") if role not in ("tool", "function") else None
        return Message(_ROLES[role], tuple(parts), name)

    def _assistant(self, message: Fields) -> list[Part]:
        parts: list[Part] = [*reasoning_parts(message.take(*_REASONING_FIELDS))]
        parts += _content(message, media=False)
        refusal = message.text("refusal")
        if refusal:
            parts.append(RefusalPart(refusal))
        parts += (decode_image(image) for image in message.objects("images"))
        audio = message.object("audio")
        if audio is not None and audio.text("id"):
            parts.append(MediaPart("audio", FileSource(audio.required_text("id"), NAME)))
        parts += (citation(as_object(note)) for note in as_list(message.value("annotations")))
        parts += (self._tool_call(call) for call in message.objects("tool_calls"))
        legacy = message.object("function_call")
        if legacy is not None:
            parts.append(self._function_call(legacy))
        return place_signatures(_with_carrier(message), parts)

    def _tool_call(self, call: Fields) -> ToolCallPart:
        identifier = call.required_text("id")
        call.take("index")  # left over from a stream that was put together
        kind = call.text("type") or "function"
        if kind == "custom":
            custom = call.required_object("custom")
            part = ToolCallPart(identifier, custom.required_text("name"), custom.text("input") or "", "custom")
        elif kind == "function":
            function = call.required_object("function")
            part = ToolCallPart(identifier, function.required_text("name"), _arguments(function))
        else:
            raise invalid(call.at("type"), f"Invalid value: '{kind}'. Supported values are: 'function', 'custom'.")
        self._names[identifier] = part.name
        return msgspec.structs.replace(part, signature=google_signature(_with_carrier(call)), cache=cache_mark(call))

    def _function_call(self, call: Fields) -> ToolCallPart:
        """The old form has no ids: calls and results meet in order, name by name."""
        name = call.required_text("name")
        identifier = f"call_function_{len(self._names)}"
        self._names[identifier] = name
        self._legacy.setdefault(name, deque()).append(identifier)
        return ToolCallPart(identifier, name, _arguments(call))

    def _tool_result(self, message: Fields) -> ToolResultPart:
        identifier = message.required_text("tool_call_id")
        given = message.text("name")
        name = self._names.get(identifier) or given
        return ToolResultPart(identifier, _result_content(message), name)

    def _function_result(self, message: Fields) -> ToolResultPart:
        name = message.required_text("name")
        waiting = self._legacy.get(name)
        if not waiting:
            raise invalid(message.at("name"), f"There is no call of '{name}' before this result.")
        return ToolResultPart(waiting.popleft(), _result_content(message), name)


def cache_mark(fields: Fields) -> CacheMark | None:
    """`cache_control` as LiteLLM and OpenRouter have it, or OpenAI's own breakpoint."""
    mark = fields.object("cache_control") or fields.object("prompt_cache_breakpoint")
    if mark is None:
        return None
    mark.take("type", "mode")  # there is one kind only, `ephemeral` or `explicit`
    return CacheMark(mark.text("ttl"))


def _with_carrier(fields: Fields) -> JSONObject:
    """An object with the vendors' own state on it, which counts as read where there is a known one."""
    data = fields.data
    known = google_signature(data) is not None or anthropic_signature(data) is not None
    return fields.take("extra_content") if known else data


def _arguments(function: Fields) -> str:
    value = function.value("arguments")
    return dumps_text(value) if isinstance(value, dict) else function.text("arguments") or ""


def _content(message: Fields, *, media: bool) -> list[Part]:
    content = message.value("content")
    if content is None:
        optional = message.data.get("role") == "assistant"
        if not optional:
            raise missing(message.at("content"))
        return []
    if isinstance(content, str):
        return [] if not content and message.data.get("role") == "assistant" else [TextPart(content)]
    if not isinstance(content, list):
        raise wrong_type(message.at("content"), "a string or an array", content)
    return [_part(part, media=media) for part in message.objects("content")]


def _part(part: Fields, *, media: bool) -> Part:
    kind = part.required_text("type")
    if kind == "text":
        return TextPart(part.required_text("text"), cache_mark(part), google_signature(_with_carrier(part)))
    if kind == "refusal" and not media:
        return RefusalPart(part.required_text("refusal"))
    decoded: MediaPart | None = None
    if media:
        match kind:
            case "image_url":
                decoded = decode_image(part)
            case "input_audio":
                decoded = decode_audio(part)
            case "file":
                decoded = decode_file(part)
            case "video_url":
                decoded = decode_video(part)
            case _:
                pass
    if decoded is None:
        supported = "'text', 'image_url', 'input_audio', 'file' and 'video_url'" if media else "'text' and 'refusal'"
        raise invalid(part.at("type"), f"Invalid value: '{kind}'. Supported values are: {supported}.")
    cache = cache_mark(part)
    return decoded if cache is None else msgspec.structs.replace(decoded, cache=cache)


def _result_content(message: Fields) -> tuple[TextPart | MediaPart | UnknownPart, ...]:
    """Text, and the pictures and files that some servers take although OpenAI's does not."""
    content = message.value("content")
    if content is None:
        return ()
    parts = _content(message, media=True)
    return tuple(part for part in parts if isinstance(part, (TextPart, MediaPart, UnknownPart)))


def _marked(parts: Iterable[Part], cache: CacheMark) -> list[Part]:
    """A mark on the message stands for one on its last part."""
    marked = list(parts)
    for index in range(len(marked) - 1, -1, -1):
        part = marked[index]
        if isinstance(part, (TextPart, MediaPart, ToolCallPart, ToolResultPart)):
            marked[index] = msgspec.structs.replace(part, cache=part.cache or cache)
            break
    return marked
