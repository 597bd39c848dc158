"""The messages of a client's request, read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asgi_llmgw.ir import CitationPart, Message, Part, Role, TextPart
from asgi_llmgw.json import JSONValue, as_object
from asgi_llmgw.protocols.fields import Fields, invalid, missing, wrong_type
from asgi_llmgw.protocols.plain import plain_message

from .block_decoder import content_parts, text_part, thinking, tool_call, tool_result
from .kept import Kept
from .response import citation_part
from .wire import ATTRIBUTION

_ROLES: Final = ("user", "assistant", "system")
_PLAIN_ROLES: Final[dict[str, Role]] = {"user": "user", "assistant": "assistant"}
_SPEAKERS: Final = {
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_result": "user",
}


def decode_system(fields: Fields, kept: Kept) -> list[Message]:
    """The system prompt, as one message.

    Raises:
        InvalidRequest: it is not text.
    """
    system = fields.value("system")
    if system is None or system == "":
        return []
    if isinstance(system, str):
        return [Message("system", (TextPart(system),))]
    if not isinstance(system, list):
        raise wrong_type("system", "a string or an array", system)
    parts: list[Part] = []
    for block in fields.objects("system"):
        _check_kind(block, ("text",))
        if block.required_text("text").startswith(ATTRIBUTION):
            kept.keep(block.path, block.take_all(), "info")  # C6: the vendor's business, not a prompt
        else:
            parts.append(text_part(block))
    return [Message("system", tuple(parts))] if parts else []


class MessageDecoder:
    """Reads messages in order; results are named after the calls before them.

    `definitions` are the tools that system messages in the middle brought along.
    """

    __slots__ = ("_kept", "_names", "definitions")

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._names: dict[str, str] = {}
        self.definitions: list[Fields] = []

    def decode(self, fields: Fields) -> Iterator[Message]:
        """All messages of a request; a user's message with tool results is two.

        Raises:
            InvalidRequest: one of them cannot be read.
        """
        messages = fields.array("messages")
        last_user = max(
            (i for i, message in enumerate(messages) if as_object(message).get("role") == "user"), default=-1
        )
        for i, message in enumerate(messages):
            plain = plain_message(message, _PLAIN_ROLES)
            if plain is not None:
                yield plain
            else:
                yield from self._message(fields.member("messages", i, message), over=i < last_user)

    def _message(self, message: Fields, *, over: bool) -> Iterator[Message]:
        match message.required_text("role"):
            case "user":
                yield from self._user(message)
            case "assistant":
                yield Message("assistant", tuple(self._assistant(message)))
            case "system":
                yield from self._system(message, over=over)
            case role:
                supported = ", ".join(map(repr, _ROLES))
                raise invalid(message.at("role"), f"Invalid value: '{role}'. Supported values are: {supported}.")

    def _user(self, message: Fields) -> Iterator[Message]:
        results: list[Part] = []
        parts: list[Part] = []
        for block in _blocks(message):
            if isinstance(block, str):
                parts.append(TextPart(block))
            elif _kind(block, "user") == "tool_result":
                results.append(tool_result(block, self._names, self._kept))
            else:
                parts += content_parts(block, self._kept)
        if results:
            yield Message("tool", tuple(results))
        if parts or not results:
            yield Message("user", tuple(parts))

    def _assistant(self, message: Fields) -> Iterator[Part]:
        offset = 0
        for block in _blocks(message):
            if isinstance(block, str):
                if block:
                    yield TextPart(block)
                continue
            match _kind(block, "assistant"):
                case "text":
                    part = text_part(block)
                    yield part
                    yield from _citations(block, offset, offset + len(part.text))
                    offset += len(part.text)
                case "tool_use":
                    call = tool_call(block)
                    self._names[call.id] = call.name
                    yield call
                case "thinking" | "redacted_thinking":
                    yield thinking(block)
                case _:
                    yield from content_parts(block, self._kept)

    def _system(self, message: Fields, *, over: bool) -> Iterator[Message]:
        """A message between the others. What it says of tools is kept: elsewhere all tools are offered all the time."""
        parts: list[Part] = []
        clear_at = message.text("clear_at")
        if clear_at is not None:
            self._kept.keep(message.at("clear_at"), clear_at, "info")
        if over and clear_at == "next_user_message":
            self._kept.keep(message.at("content"), message.value("content"), "info")
            return
        for block in _blocks(message, required=False):
            if isinstance(block, str):
                parts.append(TextPart(block))
            elif _check_kind(block, ("text", "tool_addition", "tool_removal")) == "text":
                parts.append(text_part(block))
            else:
                tool = block.required_object("tool")
                definition = tool.object("definition")
                if definition is not None:
                    self.definitions.append(definition)
                tool.take_all()
                self._kept.keep(block.path, block.take_all())
        if parts:
            yield Message("system", tuple(parts))


def _blocks(message: Fields, *, required: bool = True) -> Iterator[str | Fields]:
    """The content: one string, or blocks."""
    content: JSONValue = message.value("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from message.objects("content")
    elif content is not None:
        raise wrong_type(message.at("content"), "a string or an array", content)
    elif required:
        raise missing(message.at("content"))


def _kind(block: Fields, role: str) -> str:
    """The type of a block, refused where the vendor refuses it."""
    kind = block.required_text("type")
    if _SPEAKERS.get(kind, role) != role:
        raise invalid(block.at("type"), f"A '{kind}' block can only be in a message of the {_SPEAKERS[kind]}.")
    return kind


def _check_kind(block: Fields, supported: tuple[str, ...]) -> str:
    kind = block.required_text("type")
    if kind not in supported:
        raise invalid(
            block.at("type"), f"Invalid value: '{kind}'. Supported values are: {', '.join(map(repr, supported))}."
        )
    return kind


def _citations(block: Fields, start: int, end: int) -> Iterator[CitationPart]:
    for citation in block.objects("citations"):
        yield citation_part(citation.take_all(), start=start, end=end)
