"""The short way for requests as most clients and agents send them: words, calls of tools and their results.

The types below are all that is read here. A request with anything else in it is read in the general way, which comes to
the same for these.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Final, Literal, TypeAlias, cast

import msgspec

from asgi_llmgw.ir import (
    CacheMark,
    ChatRequest,
    Message,
    Part,
    Sampling,
    Talk,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from asgi_llmgw.json import JSONObject, dumps_text
from asgi_llmgw.protocols.plain import plain_request

from .wire import ATTRIBUTION


class _Mark(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: object = None
    ttl: str | None = None


class _OnlyText(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A block where there is no other kind; a tag could be missing then."""

    type: Literal["text"]
    text: str
    cache_control: _Mark | None = None


class _Block(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, gc=False, kw_only=True):
    cache_control: _Mark | None = None


class _Text(_Block, tag="text"):
    text: str


class _Call(_Block, tag="tool_use"):
    id: str
    name: str
    input: dict[str, object]


class _Result(_Block, tag="tool_result"):
    tool_use_id: str
    content: str | list[_OnlyText] = ""
    is_error: bool | None = None


class _User(msgspec.Struct, tag_field="role", tag="user", forbid_unknown_fields=True, gc=False):
    content: str | list[_Text | _Result]

    def messages(self, names: dict[str, str]) -> tuple[Message, ...]:
        """One, or two where there are results in it; `names` are those of the calls so far."""
        if isinstance(self.content, str):
            return (Message("user", (TextPart(self.content),)),)
        parts: list[Part] = []
        results: list[Part] = []
        for block in self.content:
            if isinstance(block, _Text):
                parts.append(TextPart(block.text, _mark(block.cache_control)))
            else:
                results.append(_result(block, names))
        if not results:
            return (Message("user", tuple(parts)),)
        answered = Message("tool", tuple(results))
        return (answered, Message("user", tuple(parts))) if parts else (answered,)


class _Assistant(msgspec.Struct, tag_field="role", tag="assistant", forbid_unknown_fields=True, gc=False):
    content: str | list[_Text | _Call]

    def messages(self, names: dict[str, str]) -> tuple[Message, ...]:
        """One; the names of its calls are added."""
        if isinstance(self.content, str):
            return (Message("assistant", (TextPart(self.content),) if self.content else ()),)
        parts: list[Part] = []
        for block in self.content:
            mark = _mark(block.cache_control)
            if isinstance(block, _Text):
                parts.append(TextPart(block.text, mark))
            else:
                names[block.id] = block.name
                parts.append(ToolCallPart(block.id, block.name, dumps_text(block.input), cache=mark))
        return (Message("assistant", tuple(parts)),)


_Said: TypeAlias = _User | _Assistant


class _Tool(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    input_schema: dict[str, object]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: _Mark | None = None


class _Metadata(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    user_id: str | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    model: Annotated[str, msgspec.Meta(min_length=1)]
    messages: Annotated[list[_Said], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    system: str | list[_OnlyText] = ""
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] = []
    tools: list[_Tool] = []
    metadata: _Metadata | None = None


_content: Final = attrgetter("content")
_decoder: Final = msgspec.json.Decoder(_Request)


def decode_plain(body: bytes) -> ChatRequest | None:
    """The request, None if there is more in it."""
    plain = plain_request(_decoder, body)
    if plain is None:
        return None
    system = _system(plain.system)
    if system and any(part.text.startswith(ATTRIBUTION) for part in system):
        return None  # it is not for the model to read
    opening = Message("system", system) if system else None
    talk = _talk(plain.messages, opening)
    request = ChatRequest(
        model=plain.model,
        messages=_messages(plain.messages, opening) if talk is None else talk.messages(),
        stream=plain.stream,
        max_output_tokens=plain.max_tokens,
        sampling=Sampling(plain.temperature, plain.top_p, plain.top_k, stop=tuple(plain.stop_sequences)),
        tools=tuple(map(_tool, plain.tools)),
        end_user=None if plain.metadata is None else plain.metadata.user_id,
    )
    return request if talk is None else request.knowing(talk)


def _messages(said: list[_Said], opening: Message | None) -> tuple[Message, ...]:
    names: dict[str, str] = {}
    messages = [message for one in said for message in one.messages(names)]
    return tuple(messages) if opening is None else (opening, *messages)


def _talk(said: list[_Said], opening: Message | None) -> Talk | None:
    """What is said, where it is seen at once that it is an exchange of words."""
    if list(map(type, said)) != [_User, *[_Assistant, _User] * (len(said) // 2)]:
        return None
    contents = list(map(_content, said))
    if set(map(type, contents)) == {str}:
        return Talk.of_texts(contents, opening)
    return Talk.of_texts([_words(content) for content in contents], opening)


def _words(content: str | list[_Text | _Result] | list[_Text | _Call]) -> str:
    """What is said; nothing where it is more or less than one text without a mark."""
    if isinstance(content, str):
        return content
    block = content[0] if len(content) == 1 else None
    return block.text if isinstance(block, _Text) and block.cache_control is None else ""


def _system(told: str | list[_OnlyText]) -> tuple[TextPart, ...]:
    if isinstance(told, str):
        return (TextPart(told),) if told else ()
    return tuple([TextPart(block.text, _mark(block.cache_control)) for block in told])


def _mark(told: _Mark | None) -> CacheMark | None:
    return None if told is None else CacheMark(told.ttl)


def _tool(told: _Tool) -> Tool:
    schema = cast(JSONObject, told.input_schema)
    return Tool(told.name, told.description, schema, told.strict, _mark(told.cache_control))


def _result(block: _Result, names: dict[str, str]) -> ToolResultPart:
    content: tuple[TextPart, ...]
    if isinstance(block.content, str):
        content = (TextPart(block.content),) if block.content else ()
    else:
        content = tuple([TextPart(text.text, _mark(text.cache_control)) for text in block.content])
    name = names.get(block.tool_use_id)
    return ToolResultPart(block.tool_use_id, content, name, block.is_error, cache=_mark(block.cache_control))
