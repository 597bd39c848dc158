"""A chat request in words that belong to no vendor."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from asgi_llmgw.ir.diagnostic import Severity
from asgi_llmgw.ir.parts import CacheMark, Part, Protocol
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


class ChatRequest(msgspec.Struct, frozen=True):
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
