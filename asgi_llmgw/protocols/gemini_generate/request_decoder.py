"""A Gemini client's request, read into a `ChatRequest`. Model and method stand in the path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, get_args

from asgi_llmgw.ir import (
    AnyTool,
    ChatRequest,
    Effort,
    Extension,
    Reasoning,
    ResponseFormat,
    Sampling,
    ServerTool,
    Severity,
    Tool,
    ToolChoice,
)
from asgi_llmgw.json import JSONObject
from asgi_llmgw.protocols.base import parse_request
from asgi_llmgw.protocols.fields import invalid

from .content_decoder import ContentDecoder
from .fields import GeminiFields
from .media_decoder import resolution
from .paths import parse_path
from .schema_decoder import from_gemini_schema, plain_json_schema
from .wire import PROTOCOL, SERVICE_TIER_IN

_TOP: Final = frozenset(
    {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier", "model"}
)
_CONFIG: Final = frozenset(
    {
        "temperature",
        "topP",
        "topK",
        "seed",
        "candidateCount",
        "maxOutputTokens",
        "stopSequences",
        "presencePenalty",
        "frequencyPenalty",
        "responseLogprobs",
        "logprobs",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "responseModalities",
        "mediaResolution",
        "thinkingConfig",
    }
)
_THINKING: Final = frozenset({"includeThoughts", "thinkingBudget", "thinkingLevel"})
_DECLARATION: Final = frozenset({"name", "description", "parameters", "parametersJsonSchema"})
_CALLING: Final = frozenset({"mode", "allowedFunctionNames"})
_LOSS: Final[dict[str, Severity]] = {
    "cachedContent": "error",  # a part of the prompt
    "continuationToken": "error",
    "modelArmorConfig": "error",  # the client relies on the block
    "labels": "info",  # for the bill
    "store": "info",  # for the log
    "responseFormat": "error",
    "audioTimestamp": "info",
    "response": "info",  # what a function returns is seen when it does
    "responseJsonSchema": "info",
    "streamFunctionCallArguments": "info",
    "includeServerSideToolInvocations": "info",
}
"""How bad it is to lose a field only Gemini has; a field that is not here is a `warning`."""

_EFFORTS: Final[dict[str, Effort]] = {effort.upper(): effort for effort in get_args(Effort)}
_LEVELS: Final = ("THINKING_LEVEL_UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "MINIMAL", "XHIGH")
_MODES: Final = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
_MODALITIES: Final = ("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO")
_JSON_TYPE: Final = "application/json"


def decode_request(path: str, body: bytes) -> ChatRequest:
    """The request a client sent.

    Raises:
        InvalidRequest: it cannot be read; the error names the field.
    """
    head = parse_path(path)
    fields = GeminiFields(parse_request(body))
    _check_model(fields, head.model)
    config = fields.object("generationConfig") or GeminiFields({}, "generationConfig")
    word = config.word("mediaResolution")
    decoder = ContentDecoder(resolution(word, config.at("mediaResolution")))
    system = decoder.system(fields.data.get("systemInstruction"))
    messages = decoder.contents(fields)
    kept = decoder.extensions
    tools = tuple(_tools(fields, kept))
    choice = _tool_choice(fields, tools, kept)
    response_format = _response_format(config, kept)
    reasoning = _reasoning(config, kept)
    kept += config.others(_CONFIG, _LOSS)
    kept += fields.others(_TOP, _LOSS)
    return ChatRequest(
        model=head.model,
        messages=(*system, *messages),
        stream=head.stream,
        max_output_tokens=config.integer("maxOutputTokens", minimum=1),
        candidates=config.integer("candidateCount", minimum=1),
        sampling=_sampling(config),
        tools=tools,
        tool_choice=choice,
        response_format=response_format,
        reasoning=reasoning,
        service_tier=_service_tier(fields),
        modalities=_modalities(config),
        extensions=tuple(kept),
    )


def _check_model(fields: GeminiFields, model: str) -> None:
    """A body that names another model than the path does would be answered by which of the two?"""
    named = fields.text("model")
    if named and named.rpartition("/")[2] != model.rpartition("/")[2]:
        raise invalid("model", "The model in the body is not the one in the path.")


def _sampling(config: GeminiFields) -> Sampling:
    return Sampling(
        temperature=config.number("temperature"),
        top_p=config.number("topP"),
        top_k=config.integer("topK"),
        seed=config.integer("seed"),
        presence_penalty=config.number("presencePenalty"),
        frequency_penalty=config.number("frequencyPenalty"),
        stop=config.texts("stopSequences"),
        logprobs=config.flag("responseLogprobs"),
        top_logprobs=config.integer("logprobs", minimum=0),
    )


def _modalities(config: GeminiFields) -> tuple[str, ...]:
    listed = config.array("responseModalities")
    named = (
        GeminiFields({"x": value}, f"{config.at('responseModalities')}[{index}]").word("x", _MODALITIES)
        for index, value in enumerate(listed)
    )
    return tuple(name.lower() for name in named if name is not None)


def _service_tier(fields: GeminiFields) -> str | None:
    tier = fields.text("serviceTier")
    if tier is None or tier.lower() in ("", "unspecified"):
        return None
    return SERVICE_TIER_IN.get(tier.lower(), tier.lower())


def _reasoning(config: GeminiFields, kept: list[Extension]) -> Reasoning | None:
    thinking = config.object("thinkingConfig")
    if thinking is None:
        return None
    kept += thinking.others(_THINKING)
    budget = thinking.integer("thinkingBudget", minimum=-1)
    level = thinking.word("thinkingLevel", _LEVELS)
    if level is not None and level not in _EFFORTS:
        raise invalid(thinking.at("thinkingLevel"), f"Invalid value: '{level}' is not a thinking level.")
    if level is not None and budget is not None:
        raise invalid(thinking.path, "You can only set only one of thinking budget and thinking level.")
    effort = _EFFORTS[level] if level is not None else None
    visible = thinking.flag("includeThoughts")
    if effort is None and budget is None and visible is None:
        return None
    return Reasoning(effort, budget, visible)


def _response_format(config: GeminiFields, kept: list[Extension]) -> ResponseFormat | None:
    kind = (config.text("responseMimeType") or "").lower()
    schema, name = _schema(config, "responseSchema", "responseJsonSchema")
    if kind in ("", _JSON_TYPE):
        if schema is not None:
            return ResponseFormat("json_schema", schema)
        return ResponseFormat("json_object") if kind else None
    if kind == "text/plain":
        if schema is not None:
            raise invalid(config.at(name), f"A schema needs the response MIME type {_JSON_TYPE}.")
        return ResponseFormat("text")
    # one word of a list, XML, YAML: nobody else promises that
    kept.append(Extension(PROTOCOL, config.at("responseMimeType"), config.data["responseMimeType"], "error"))
    if schema is not None:
        kept.append(Extension(PROTOCOL, config.at(name), config.data[name], "error"))
    return None


def _schema(fields: GeminiFields, subset: str, plain: str) -> tuple[JSONObject | None, str]:
    """The schema, which stands in one of two fields, and the field's name."""
    ours, theirs = fields.raw_object(subset), fields.raw_object(plain)
    if ours is not None and theirs is not None:
        raise invalid(fields.at(plain), f"'{subset}' and '{plain}' cannot both be set.")
    if ours is not None:
        return from_gemini_schema(ours, fields.at(subset)), subset
    return (None if theirs is None else plain_json_schema(theirs)), plain


def _tools(fields: GeminiFields, kept: list[Extension]) -> Iterator[AnyTool]:
    """Functions, and what the vendor runs itself, each under a key of its own."""
    for tool in fields.objects("tools"):
        for function in tool.objects("functionDeclarations"):
            schema, _ = _schema(function, "parameters", "parametersJsonSchema")
            kept += function.others(_DECLARATION, _LOSS)
            yield Tool(function.required_text("name"), function.text("description"), schema)
        for kind, value in tool.data.items():
            if kind != "functionDeclarations" and value is not None:
                yield ServerTool(PROTOCOL, kind, {kind: value})


def _tool_choice(fields: GeminiFields, tools: tuple[AnyTool, ...], kept: list[Extension]) -> ToolChoice | None:
    config = fields.object("toolConfig")
    if config is None:
        return None
    kept += config.others(frozenset({"functionCallingConfig"}), _LOSS)
    calling = config.object("functionCallingConfig")
    if calling is None:
        return None
    kept += calling.others(_CALLING, _LOSS)
    names = calling.texts("allowedFunctionNames")
    offered = {tool.name for tool in tools if isinstance(tool, Tool)}
    unknown = next((name for name in names if name not in offered), None)
    if unknown is not None:
        raise invalid(calling.at("allowedFunctionNames"), f"The function '{unknown}' is not among the tools.")
    mode = calling.word("mode", _MODES)
    match mode:
        case None:
            return ToolChoice("auto", names) if names else None
        case "AUTO":
            return ToolChoice("auto", names)
        case "ANY":
            return ToolChoice("required", names)
        case "NONE":
            return ToolChoice("none")
        case "VALIDATED" if names:
            return ToolChoice("auto", names)
        case "VALIDATED":
            # whether a vendor's own checks take these schemas is not known, so it is not asked for them
            kept.append(Extension(PROTOCOL, calling.at("mode"), mode, "info"))
            return None
        case _:
            raise invalid(calling.at("mode"), f"Invalid value: '{mode}'. Use AUTO, ANY, NONE or VALIDATED.")
