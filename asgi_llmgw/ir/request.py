"""A chat request in words that belong to no vendor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import cycle
from typing import Final, Literal, TypeAlias

import msgspec

from asgi_llmgw.ir.diagnostic import Severity
from asgi_llmgw.ir.parts import CacheMark, Part, Protocol, TextPart
from asgi_llmgw.json import JSONObject, JSONValue

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Message(msgspec.Struct, frozen=True):
    """One turn. A `tool` turn holds `ToolResultPart`s only; system turns stand where the client put them."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True):
    """A function the client offers. `parameters` is JSON Schema as the client wrote it, None when there is none."""

    name: str
    description: str | None = None
    parameters: JSONObject | None = None
    strict: bool | None = None
    cache: CacheMark | None = None


class CustomTool(msgspec.Struct, frozen=True):
    """A tool that takes free text instead of JSON arguments. `format` is the grammar, in OpenAI's words."""

    name: str
    description: str | None = None
    format: JSONObject | None = None


class ServerTool(msgspec.Struct, frozen=True):
    """A tool that the vendor runs itself; only its own protocol can say it."""

    protocol: Protocol
    kind: str
    raw: JSONObject


AnyTool: TypeAlias = Tool | CustomTool | ServerTool


class ToolChoice(msgspec.Struct, frozen=True):
    """Which tools the model may or must call.

    `names` limits `auto` and `required` to some of the tools; `required` with one name forces that tool.
    """

    mode: Literal["auto", "none", "required"]
    names: tuple[str, ...] = ()


class ResponseFormat(msgspec.Struct, frozen=True):
    """The form the answer must have. `schema` is JSON Schema, only with `json_schema`."""

    kind: Literal["text", "json_object", "json_schema"]
    schema: JSONObject | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Sampling(msgspec.Struct, frozen=True):
    """How the next token is chosen."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    logit_bias: JSONObject | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class Reasoning(msgspec.Struct, frozen=True):
    """How much the model thinks, and whether the thoughts are shown.

    `effort` and `budget_tokens` say the same thing in two ways: a decoder sets the one it was given. A budget of -1
    leaves the amount to the model.
    """

    effort: Effort | None = None
    budget_tokens: int | None = None
    visible: bool | None = None


class Extension(msgspec.Struct, frozen=True):
    """A request field that only one protocol has.

    The same protocol writes it again. Elsewhere `loss` decides: `info` and `warning` drop it with a diagnostic, `error`
    refuses the request, because the answer would be wrong without it.
    """

    protocol: Protocol
    path: str
    value: JSONValue
    loss: Severity = "warning"


class Talk(msgspec.Struct, frozen=True):
    """A conversation of nothing but words: behind a system prompt, if there is one, user and assistant take turns.

    Each says one visible text that has no mark, no signature and no name on it. The first and the last of `turns` are
    the user's.
    """

    turns: tuple[str, ...]
    system: Message | None = None

    @classmethod
    def of(cls, messages: tuple[Message, ...]) -> Talk | None:
        """These messages, unless there is more to them."""
        system = messages[0] if messages and messages[0].role in ("system", "developer") else None
        turns: list[str] = []
        for message, speaker in zip(messages if system is None else messages[1:], cycle(_SPEAKERS), strict=False):
            parts = message.parts
            if message.role != speaker or message.name is not None or len(parts) != 1:
                return None
            part = parts[0]
            if type(part) is not TextPart or part.cache or part.signature or part.phase or not part.text.strip():
                return None
            turns.append(part.text)
        return cls(tuple(turns), system) if len(turns) % 2 else None

    @classmethod
    def of_texts(cls, turns: Sequence[str], system: Message | None = None) -> Talk | None:
        """What user and assistant say in turn, if all of it is visible and the user is the last."""
        return cls(tuple(turns), system) if len(turns) % 2 and all(map(str.strip, turns)) else None

    def messages(self) -> tuple[Message, ...]:
        """The messages that this is the talk of."""
        parts = zip(map(TextPart, self.turns))  # one part for each message
        said = map(Message, cycle(_SPEAKERS), parts)
        return tuple(said) if self.system is None else (self.system, *said)

    def by_speaker(self, user: str = "user", assistant: str = "assistant") -> Iterator[tuple[str, str]]:
        """Who says what, in order, under the names that the two have."""
        return zip(cycle((user, assistant)), self.turns, strict=False)


_SPEAKERS: Final[tuple[Role, Role]] = ("user", "assistant")


class ChatRequest(msgspec.Struct, frozen=True, dict=True):
    """What a client asks a chat model for.

    Args:
        max_output_tokens: reasoning included, as in all four protocols.
        candidates: how many answers are wanted (`n`).
        include_usage: whether a streaming client wants the usage told (None where the protocol always tells it).
        legacy_functions: the client speaks the old `functions` form of Chat Completions and wants its answer in it.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool | None = None
    max_output_tokens: int | None = None
    candidates: int | None = None
    sampling: Sampling = Sampling()
    tools: tuple[AnyTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    end_user: str | None = None
    metadata: JSONObject | None = None
    prompt_cache_key: str | None = None
    cache: CacheMark | None = None
    modalities: tuple[str, ...] = ()
    legacy_functions: bool = False
    extensions: tuple[Extension, ...] = ()

    @cached_property
    def talk(self) -> Talk | None:
        """The messages as a mere exchange of words, None where there is more to them: then they have to be searched for
        calls, reasoning state, cache marks and media."""
        return Talk.of(self.messages)

    def knowing(self, talk: Talk) -> ChatRequest:
        """This request, of whose messages it is known already what they come to."""
        self.__dict__["talk"] = talk
        return self

    def for_model(self, model: str) -> ChatRequest:
        """The same request to another model."""
        request = msgspec.structs.replace(self, model=model)
        # what is known of the messages stays known
        request.__dict__.update(self.__dict__)
        return request
