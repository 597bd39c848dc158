"""The short way for requests as most clients and agents send them: words, calls of functions and their results.

The types below are all that is read here. A request with anything else in it is read in the general way, which comes to
the same for these.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, ClassVar, Final, Literal, TypeAlias, cast

import msgspec

from asgi_llmgw.ir import (
    ChatRequest,
    Effort,
    Message,
    Part,
    Reasoning,
    Role,
    Sampling,
    Talk,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from asgi_llmgw.json import JSONObject
from asgi_llmgw.protocols.plain import PlainCall, plain_request


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    text: str


class _Words(msgspec.Struct, tag_field="role", forbid_unknown_fields=True, gc=False):
    role: ClassVar[Role]
    content: str | list[_Text]

    def message(self, names: dict[str, str]) -> Message:
        if isinstance(self.content, str):
            return Message(self.role, (TextPart(self.content),))
        return Message(self.role, tuple([TextPart(text.text) for text in self.content]))


class _System(_Words, tag="system"):
    role = "system"


class _Developer(_Words, tag="developer"):
    role = "developer"


class _User(_Words, tag="user"):
    role = "user"


class _Assistant(msgspec.Struct, tag_field="role", tag="assistant", forbid_unknown_fields=True, gc=False):
    content: str | None = None
    tool_calls: list[PlainCall] = []
    refusal: None = None
    annotations: Annotated[list[None], msgspec.Meta(max_length=0)] | None = None
    audio: None = None
    function_call: None = None

    def message(self, names: dict[str, str]) -> Message:
        parts: list[Part] = [TextPart(self.content)] if self.content else []
        for call in self.tool_calls:
            names[call.id] = call.function.name
            parts.append(ToolCallPart(call.id, call.function.name, call.function.arguments))
        return Message("assistant", tuple(parts))


class _Result(msgspec.Struct, tag_field="role", tag="tool", forbid_unknown_fields=True, gc=False):
    tool_call_id: str
    content: str

    def message(self, names: dict[str, str]) -> Message:
        name = names.get(self.tool_call_id) or None
        return Message("tool", (ToolResultPart(self.tool_call_id, (TextPart(self.content),), name),))


_Said: TypeAlias = _System | _Developer | _User | _Assistant | _Result


class _Declaration(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["function"]
    function: _Declaration


class _StreamOptions(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    include_usage: bool = False


_AtLeastOne: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    model: str
    messages: Annotated[list[_Said], msgspec.Meta(min_length=1)]
    max_tokens: _AtLeastOne | None = None
    max_completion_tokens: _AtLeastOne | None = None
    n: _AtLeastOne | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[_Tool] = []
    tool_choice: Literal["auto", "none", "required"] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Effort | None = None
    user: str | None = None


_content: Final = attrgetter("content")
_tool_calls: Final = attrgetter("tool_calls")
_decoder: Final = msgspec.json.Decoder(_Request)


def decode_plain(body: bytes) -> ChatRequest | None:
    """The request, None if there is more in it."""
    plain = plain_request(_decoder, body)
    if plain is None or (plain.max_tokens is not None and plain.max_completion_tokens is not None):
        return None
    include_usage = plain.stream_options is not None and plain.stream_options.include_usage
    talk = _talk(plain.messages)
    request = ChatRequest(
        model=plain.model,
        messages=_messages(plain.messages) if talk is None else talk.messages(),
        stream=plain.stream,
        include_usage=include_usage if plain.stream else None,
        max_output_tokens=plain.max_tokens or plain.max_completion_tokens,
        candidates=plain.n,
        sampling=Sampling(plain.temperature, plain.top_p),
        tools=tuple(map(_tool, plain.tools)),
        tool_choice=None if plain.tool_choice is None else ToolChoice(plain.tool_choice),
        parallel_tool_calls=plain.parallel_tool_calls,
        reasoning=None if plain.reasoning_effort is None else Reasoning(plain.reasoning_effort),
        end_user=plain.user,
    )
    return request if talk is None else request.knowing(talk)


def _tool(tool: _Tool) -> Tool:
    told = tool.function
    return Tool(told.name, told.description, cast(JSONObject | None, told.parameters), told.strict)


def _messages(said: list[_Said]) -> tuple[Message, ...]:
    names: dict[str, str] = {}  # of the calls so far
    return tuple([one.message(names) for one in said])


def _talk(said: list[_Said]) -> Talk | None:
    """What is said, where it is seen at once that it is an exchange of words."""
    first = said[0]
    system = first.message({}) if isinstance(first, (_System, _Developer)) else None
    turns = said if system is None else said[1:]
    if list(map(type, turns)) != [_User, *[_Assistant, _User] * (len(turns) // 2)]:
        return None
    if any(map(_tool_calls, turns[1::2])):
        return None
    contents = list(map(_content, turns))
    if set(map(type, contents)) == {str}:
        return Talk.of_texts(contents, system)
    return Talk.of_texts([_words(content) for content in contents], system)


def _words(content: str | list[_Text] | None) -> str:
    """What is said; nothing where it is more or less than one text."""
    if isinstance(content, list):
        return content[0].text if len(content) == 1 else ""
    return content or ""
