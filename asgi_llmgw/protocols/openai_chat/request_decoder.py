"""A Chat Completions request, read into a `ChatRequest`."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    AnyTool,
    ChatRequest,
    CustomTool,
    Extension,
    Message,
    Reasoning,
    ResponseFormat,
    Sampling,
    ServerTool,
    Tool,
    ToolChoice,
)
from asgi_llmgw.json import repeated_member
from asgi_llmgw.protocols.base import parse_request
from asgi_llmgw.protocols.fields import Fields, invalid, missing, wrong_type
from asgi_llmgw.protocols.openai.words import EFFORTS
from asgi_llmgw.protocols.plain import plain_message

from .message_decoder import PLAIN_ROLES, MessageDecoder, cache_mark
from .plain_request import decode_plain
from .wire import NAME, extension_loss

_MODES: Final[dict[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",  # as Mistral calls it
}

_SAMPLING: Final = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "stop",
        "logit_bias",
        "logprobs",
        "top_logprobs",
    }
)
_UNSAID: Final = Sampling()
_REASONING: Final = frozenset({"reasoning_effort", "include_reasoning", "reasoning", "thinking"})

_OPEN_BUDGET: Final = -1  # thinking is switched on, its amount left to the model


def check_repeated(body: bytes) -> None:
    """Refuse a body whose readers could differ in what it asks for.

    Raises:
        InvalidRequest: a decisive member stands twice.
    """
    name = repeated_member(body, ("model", "stream", "max_tokens", "max_completion_tokens"))
    if name is not None:
        raise invalid(name, f"The parameter '{name}' is given twice.", "repeated_parameter")


def decode_request(body: bytes) -> ChatRequest:
    """The request a client sent.

    Raises:
        InvalidRequest: it cannot be read.
    """
    check_repeated(body)
    plain = decode_plain(body)
    if plain is not None:
        return plain
    fields = Fields(parse_request(body))
    model = fields.required_text("model")
    stream = fields.flag("stream") or False
    options = fields.object("stream_options")
    include_usage = options is not None and bool(options.flag("include_usage"))
    tools = _tools(fields)
    request = ChatRequest(
        model=model,
        messages=_messages(fields),
        stream=stream,
        include_usage=include_usage if stream else None,
        max_output_tokens=_max_output_tokens(fields),
        candidates=fields.integer("n", minimum=1),
        sampling=_sampling(fields),
        tools=tools,
        tool_choice=_tool_choice(fields, tools),
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        response_format=_response_format(fields),
        reasoning=_reasoning(fields),
        verbosity=fields.text("verbosity"),
        service_tier=fields.text("service_tier"),
        end_user=fields.text("safety_identifier") or fields.text("user"),
        metadata=fields.raw_object("metadata"),
        prompt_cache_key=fields.text("prompt_cache_key"),
        cache=cache_mark(fields),
        modalities=fields.texts("modalities"),
        legacy_functions=fields.has("functions"),
    )
    kept = [Extension(NAME, path, value, extension_loss(path, value)) for path, value in fields.unread()]
    return msgspec.structs.replace(request, extensions=tuple(kept)) if kept else request


def _messages(fields: Fields) -> tuple[Message, ...]:
    if not fields.has("messages"):
        raise missing("messages")
    messages = fields.array("messages")
    if not messages:
        raise InvalidRequest(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param="messages",
            code="empty_array",
        )
    decoder = MessageDecoder()
    return tuple(
        [
            plain_message(message, PLAIN_ROLES) or decoder.decode(fields.member("messages", index, message))
            for index, message in enumerate(messages)
        ]
    )


def _max_output_tokens(fields: Fields) -> int | None:
    current = fields.integer("max_completion_tokens", minimum=1)
    older = fields.integer("max_tokens", minimum=1)
    if current is not None and older is not None and current != older:
        raise invalid("max_tokens", "'max_tokens' and 'max_completion_tokens' differ: give one of them.")
    return older if current is None else current


def _sampling(fields: Fields) -> Sampling:
    if not fields.any_of(_SAMPLING):
        return _UNSAID
    stop = fields.value("stop")
    if stop is not None and not isinstance(stop, (str, list)):
        raise wrong_type("stop", "a string or an array of strings", stop)
    return Sampling(
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        seed=fields.integer("seed"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        stop=(stop,) if isinstance(stop, str) else fields.texts("stop"),
        logit_bias=fields.raw_object("logit_bias"),
        logprobs=fields.flag("logprobs"),
        top_logprobs=fields.integer("top_logprobs", minimum=0),
    )


def _tools(fields: Fields) -> tuple[AnyTool, ...]:
    tools: list[AnyTool] = [_tool(tool) for tool in fields.objects("tools")]
    for function in fields.objects("functions"):
        name = function.required_text("name")
        tools.append(Tool(name, function.text("description"), function.raw_object("parameters")))
    return tuple(tools)


def _tool(tool: Fields) -> AnyTool:
    kind = tool.required_text("type")
    if kind == "function":
        function = tool.required_object("function")
        return Tool(
            function.required_text("name"),
            function.text("description"),
            function.raw_object("parameters"),
            function.flag("strict"),
            cache_mark(tool) or cache_mark(function),
        )
    if kind == "custom":
        custom = tool.required_object("custom")
        return CustomTool(custom.required_text("name"), custom.text("description"), custom.raw_object("format"))
    return ServerTool(NAME, kind, tool.take_all())


def _tool_choice(fields: Fields, tools: tuple[AnyTool, ...]) -> ToolChoice | None:
    key = "tool_choice" if fields.has("tool_choice") else "function_call"
    value = fields.value(key)
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _MODES:
            raise invalid(key, f"Invalid value: '{value}'. Supported values are: 'none', 'auto' and 'required'.")
        return ToolChoice(_MODES[value])
    choice = _named_choice(key, fields.inner(value, key))
    offered = {tool.name for tool in tools if not isinstance(tool, ServerTool)}
    unknown = next((name for name in choice.names if name not in offered), None)
    if offered and unknown is not None:
        raise invalid(key, f"Tool choice '{unknown}' not found in 'tools' parameter.")
    return choice


def _named_choice(key: str, choice: Fields) -> ToolChoice:
    if key == "function_call":
        return ToolChoice("required", (choice.required_text("name"),))
    kind = choice.required_text("type")
    if kind in ("function", "custom"):
        return ToolChoice("required", (_tool_name(choice, kind),))
    if kind == "allowed_tools":
        allowed = choice.required_object("allowed_tools")
        mode = allowed.text("mode") or "auto"
        if mode not in ("auto", "required"):
            raise invalid(allowed.at("mode"), f"Invalid value: '{mode}'. Supported values are: 'auto', 'required'.")
        names = tuple(_tool_name(tool, tool.required_text("type")) for tool in allowed.objects("tools"))
        return ToolChoice(_MODES[mode], names)
    raise invalid(
        choice.at("type"),
        f"Invalid value: '{kind}'. Supported values are: 'function', 'custom' and 'allowed_tools'.",
    )


def _tool_name(choice: Fields, kind: str) -> str:
    """The name stands in an object named after the kind, with some clients beside it."""
    inner = choice.object(kind)
    return (inner or choice).required_text("name")


def _response_format(fields: Fields) -> ResponseFormat | None:
    form = fields.object("response_format")
    if form is None:
        return None
    kind = form.required_text("type")
    if kind == "text":
        return ResponseFormat("text")
    if kind == "json_object":
        return ResponseFormat("json_object")
    if kind != "json_schema":
        raise invalid(
            form.at("type"),
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema' and 'text'.",
        )
    schema = form.required_object("json_schema")
    return ResponseFormat(
        "json_schema",
        schema=schema.raw_object("schema"),
        name=schema.text("name"),
        description=schema.text("description"),
        strict=schema.flag("strict"),
    )


def _reasoning(fields: Fields) -> Reasoning | None:
    """OpenAI's `reasoning_effort`, OpenRouter's `reasoning`, or `thinking` as DeepSeek, Z.ai and LiteLLM have it."""
    if not fields.any_of(_REASONING):
        return None
    effort = fields.text("reasoning_effort")
    path = "reasoning_effort"
    budget: int | None = None
    visible = fields.flag("include_reasoning")
    nested = fields.object("reasoning")
    if nested is not None:
        if effort is None:
            effort, path = nested.text("effort"), nested.at("effort")
        hidden = nested.flag("exclude")
        visible = visible if hidden is None else not hidden
        enabled = nested.flag("enabled")
        if effort is None:
            effort = "none" if enabled is False else None
            budget = nested.integer("max_tokens", minimum=0)
            budget = _OPEN_BUDGET if budget is None and enabled else budget
    thinking = fields.object("thinking")
    if thinking is not None:
        kind = thinking.text("type")
        if effort is None and budget is None:
            effort = "none" if kind == "disabled" else None
            budget = thinking.integer("budget_tokens", minimum=0)
            budget = _OPEN_BUDGET if budget is None and kind in ("enabled", "adaptive") else budget
    if effort is not None and effort not in EFFORTS:
        raise invalid(path, f"Invalid value: '{effort}'. Supported values are: {', '.join(map(repr, EFFORTS))}.")
    if effort is None and budget is None and visible is None:
        return None
    return Reasoning(EFFORTS[effort] if effort is not None else None, budget if effort is None else None, visible)
