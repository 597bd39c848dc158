"""The short way for requests as most clients and agents send them: words, calls of tools and their results.

The types below are all that is read here. A request with anything else in it is read in the general way, which comes to
the same for these.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, cast

import msgspec

from asgi_llmgw.ir import (
    CacheMark,
    ChatRequest,
    Message,
    Part,
    Sampling,
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


class _Assistant(msgspec.Struct, tag_field="role", tag="assistant", forbid_unknown_fields=True, gc=False):
    content: str | list[_Text | _Call]


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


_decoder: Final = msgspec.json.Decoder(_Request)


def decode_plain(body: bytes) -> ChatRequest | None:
    """The request, None if there is more in it."""
    plain = plain_request(_decoder, body)
    if plain is None:
        return None
    system = _system(plain.system)
    if any(part.text.startswith(ATTRIBUTION) for part in system):
        return None  # it is not for the model to read
    names: dict[str, str] = {}
    messages = [message for said in plain.messages for message in _messages(said, names)]
    if system:
        messages.insert(0, Message("system", system))
    return ChatRequest(
        model=plain.model,
        messages=tuple(messages),
        stream=plain.stream,
        max_output_tokens=plain.max_tokens,
        sampling=Sampling(plain.temperature, plain.top_p, plain.top_k, stop=tuple(plain.stop_sequences)),
        tools=tuple([_tool(tool) for tool in plain.tools]),
        end_user=None if plain.metadata is None else plain.metadata.user_id,
    )


def _system(told: str | list[_OnlyText]) -> tuple[TextPart, ...]:
    if isinstance(told, str):
        return (TextPart(told),) if told else ()
    return tuple([TextPart(block.text, _mark(block.cache_control)) for block in told])


def _mark(told: _Mark | None) -> CacheMark | None:
    return None if told is None else CacheMark(told.ttl)


def _tool(told: _Tool) -> Tool:
    schema = cast(JSONObject, told.input_schema)
    return Tool(told.name, told.description, schema, told.strict, _mark(told.cache_control))


def _messages(said: _Said, names: dict[str, str]) -> tuple[Message, ...]:
    """One message, or two where there are results in it; `names` are those of the calls so far."""
    if isinstance(said, _Assistant):
        return (Message("assistant", _assistant(said.content, names)),)
    if isinstance(said.content, str):
        return (Message("user", (TextPart(said.content),)),)
    parts: list[Part] = []
    results: list[Part] = []
    for block in said.content:
        if isinstance(block, _Text):
            parts.append(TextPart(block.text, _mark(block.cache_control)))
        else:
            results.append(_result(block, names))
    if not results:
        return (Message("user", tuple(parts)),)
    answered = Message("tool", tuple(results))
    return (answered, Message("user", tuple(parts))) if parts else (answered,)


def _assistant(content: str | list[_Text | _Call], names: dict[str, str]) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    parts: list[Part] = []
    for block in content:
        mark = _mark(block.cache_control)
        if isinstance(block, _Text):
            parts.append(TextPart(block.text, mark))
        else:
            names[block.id] = block.name
            parts.append(ToolCallPart(block.id, block.name, dumps_text(block.input), cache=mark))
    return tuple(parts)


def _result(block: _Result, names: dict[str, str]) -> ToolResultPart:
    content: tuple[TextPart, ...]
    if isinstance(block.content, str):
        content = (TextPart(block.content),) if block.content else ()
    else:
        content = tuple([TextPart(text.text, _mark(text.cache_control)) for text in block.content])
    name = names.get(block.tool_use_id)
    return ToolResultPart(block.tool_use_id, content, name, block.is_error, cache=_mark(block.cache_control))
