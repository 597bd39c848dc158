"""A client's request, read into a `ChatRequest`."""

from __future__ import annotations

from typing import Final, Literal

from asgi_llmgw.ir import (
    AnyTool,
    ChatRequest,
    Extension,
    Message,
    Reasoning,
    ResponseFormat,
    Sampling,
    ServerTool,
    Severity,
    Tool,
    ToolChoice,
)
from asgi_llmgw.json import JSONValue, as_list, as_object, as_str
from asgi_llmgw.protocols.base import parse_request
from asgi_llmgw.protocols.fields import Fields, invalid, missing

from .kept import Kept, cache_mark
from .message_decoder import MessageDecoder, decode_system
from .plain_request import decode_plain
from .request import check_repeated
from .wire import NAME, REQUEST_TIERS, EffortWord

_MODES: Final[dict[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "any": "required",
    "tool": "required",
    "none": "none",
}
_EFFORTS: Final[dict[str, EffortWord]] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_SAMPLING: Final = frozenset({"temperature", "top_p", "top_k", "stop_sequences"})
_UNSAID: Final = Sampling()
_VISIBLE: Final = {"summarized": True, "omitted": False}


def decode_request(body: bytes) -> ChatRequest:
    """The request a client sent.

    Raises:
        InvalidRequest: it cannot be read.
    """
    plain = decode_plain(body)
    if plain is not None:
        check_repeated(body)
        return plain
    fields = Fields(parse_request(body))
    check_repeated(body)
    kept = Kept()
    model = fields.required_text("model")
    if not model:
        raise invalid("model", "'model' must be a string with the name of a model.")
    messages, tools = _conversation(fields, kept)
    choice, parallel = _tool_choice(fields, tools)
    config = fields.object("output_config")
    return ChatRequest(
        model=model,
        messages=messages,
        stream=fields.flag("stream") or False,
        max_output_tokens=_max_tokens(fields, kept),
        sampling=_sampling(fields),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=_response_format(fields, config),
        reasoning=_reasoning(fields, config, kept),
        service_tier=_service_tier(fields),
        end_user=_end_user(fields),
        cache=cache_mark(fields),
        extensions=_extensions(fields, kept),
    )


def _conversation(fields: Fields, kept: Kept) -> tuple[tuple[Message, ...], tuple[AnyTool, ...]]:
    if not fields.has("messages"):
        raise missing("messages")
    if not fields.array("messages"):
        raise invalid("messages", "At least one message is required.")
    decoder = MessageDecoder(kept)
    messages = (*decode_system(fields, kept), *decoder.decode(fields))
    tools = [_tool(tool) for tool in [*fields.objects("tools"), *decoder.definitions]]
    return messages, tuple(tools)


def _sampling(fields: Fields) -> Sampling:
    if not fields.any_of(_SAMPLING):
        return _UNSAID
    return Sampling(
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        stop=fields.texts("stop_sequences"),
    )


def _max_tokens(fields: Fields, kept: Kept) -> int:
    limit = fields.integer("max_tokens", minimum=0)
    if limit is None:
        raise missing("max_tokens")
    if limit == 0:
        kept.keep("max_tokens", 0, "error")  # warms the cache and answers nothing, which nobody else does
    return limit


def _tool(tool: Fields) -> AnyTool:
    kind = tool.text("type")
    if kind not in (None, "custom"):
        return ServerTool(NAME, kind or "", tool.take_all())
    name = tool.required_text("name")
    parameters = tool.raw_object("input_schema")
    if parameters is None:
        raise missing(tool.at("input_schema"))
    return Tool(name, tool.text("description"), parameters, tool.flag("strict"), cache_mark(tool))


def _tool_choice(fields: Fields, tools: tuple[AnyTool, ...]) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and whether several tools may be called at once."""
    choice = fields.object("tool_choice")
    if choice is None:
        return None, None
    kind = choice.required_text("type")
    if kind not in _MODES:
        supported = ", ".join(map(repr, _MODES))
        raise invalid(choice.at("type"), f"Invalid value: '{kind}'. Supported values are: {supported}.")
    names: tuple[str, ...] = ()
    if kind == "tool":
        names = (choice.required_text("name"),)
        if names[0] not in map(_name, tools):
            raise invalid("tool_choice", f"The tool '{names[0]}' is not among the tools.")
    single = choice.flag("disable_parallel_tool_use")
    return ToolChoice(_MODES[kind], names), None if single is None else not single


def _name(tool: AnyTool) -> str | None:
    return as_str(tool.raw.get("name")) if isinstance(tool, ServerTool) else tool.name


def _response_format(fields: Fields, config: Fields | None) -> ResponseFormat | None:
    """`output_config.format`, or `output_format` as it was called before."""
    form = fields.object("output_format")
    if config is not None:
        form = config.object("format") or form
    if form is None:
        return None
    kind = form.required_text("type")
    if kind != "json_schema":
        raise invalid(form.at("type"), f"Invalid value: '{kind}'. Supported values are: 'json_schema'.")
    schema = form.raw_object("schema")
    if schema is None:
        raise missing(form.at("schema"))
    return ResponseFormat("json_schema", schema)


def _reasoning(fields: Fields, config: Fields | None, kept: Kept) -> Reasoning | None:
    effort = _effort(config)
    thinking = fields.object("thinking")
    if thinking is None:
        return None if effort is None else Reasoning(effort)
    kind = thinking.required_text("type")
    visible = _visible(thinking)
    match kind:
        case "enabled":
            budget = thinking.integer("budget_tokens", minimum=0)
            if budget is None:
                raise missing(thinking.at("budget_tokens"))
            # who turns thinking on this way is shown it unless they say otherwise
            return Reasoning(effort, budget, True if visible is None else visible)
        case "adaptive":
            return Reasoning(effort, -1 if effort is None else None, visible)
        case "disabled" | "between_tools":
            if effort is not None:
                kept.keep("output_config.effort", effort, "info")
            if kind == "between_tools":
                kept.keep("thinking", thinking.take_all())
            return Reasoning("none")
        case _:
            supported = "'enabled', 'adaptive', 'disabled' and 'between_tools'"
            raise invalid(thinking.at("type"), f"Invalid value: '{kind}'. Supported values are: {supported}.")


def _visible(thinking: Fields) -> bool | None:
    display = thinking.text("display")
    if display is None:
        return None
    if display not in _VISIBLE:
        supported = ", ".join(map(repr, _VISIBLE))
        raise invalid(thinking.at("display"), f"Invalid value: '{display}'. Supported values are: {supported}.")
    return _VISIBLE[display]


def _effort(config: Fields | None) -> EffortWord | None:
    word = config.text("effort") if config is not None else None
    if word is None:
        return None
    if word not in _EFFORTS:
        raise invalid(
            "output_config.effort",
            f"Invalid value: '{word}'. Supported values are: {', '.join(map(repr, _EFFORTS))}.",
        )
    return _EFFORTS[word]


def _service_tier(fields: Fields) -> str | None:
    tier = fields.text("service_tier")
    if tier is None:
        return None
    if tier not in REQUEST_TIERS:
        supported = ", ".join(map(repr, REQUEST_TIERS))
        raise invalid("service_tier", f"Invalid value: '{tier}'. Supported values are: {supported}.")
    return REQUEST_TIERS[tier]


def _end_user(fields: Fields) -> str | None:
    metadata = fields.object("metadata")
    if metadata is None:
        return None
    return metadata.text("user_id")


def _extensions(fields: Fields, kept: Kept) -> tuple[Extension, ...]:
    """What is left; the last to read."""
    management = fields.raw_object("context_management")
    if management:
        kept.keep("context_management", management, _management_loss(management.get("edits")))
    speed = fields.text("speed")
    if speed is not None:
        kept.keep("speed", speed, "info" if speed == "standard" else "warning")
    kept.keep_unread(fields)
    return tuple(kept.extensions)


def _management_loss(edits: JSONValue) -> Severity:
    """Old thoughts are never sent to other vendors, so clearing them is nothing to them; other edits shorten a
    conversation, which then only stays as long as the client sent it."""
    kinds = [as_str(as_object(edit).get("type")) or "" for edit in as_list(edits)]
    return "info" if all(kind.startswith("clear_thinking") for kind in kinds) else "warning"
