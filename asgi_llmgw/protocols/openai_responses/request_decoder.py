"""A Responses request, read into a `ChatRequest`."""

from __future__ import annotations

from asgi_llmgw.ir import (
    ChatRequest,
    Extension,
    Message,
    Reasoning,
    ResponseFormat,
    Sampling,
    TextPart,
)
from asgi_llmgw.json import JSONValue, repeated_member
from asgi_llmgw.protocols.base import parse_request
from asgi_llmgw.protocols.fields import Fields, invalid
from asgi_llmgw.protocols.openai.words import EFFORTS

from .input_decoder import InputDecoder
from .tools import ToolDecoder, decode_choice
from .wire import ENCRYPTED, LOGPROBS, NAME, REQUEST_FIELDS, STATE_FIELDS, UNSAID, extension_loss

_FORMAT_FIELDS = frozenset({"type", "name", "schema", "description", "strict"})


def check_repeated(body: bytes) -> None:
    """Refuse a body whose readers could differ in what it asks for.

    Raises:
        InvalidRequest: a decisive member stands twice.
    """
    name = repeated_member(body, ("model", "stream", "max_output_tokens"))
    if name is not None:
        raise invalid(name, f"The parameter '{name}' is given twice.", "repeated_parameter")


def decode_request(body: bytes) -> ChatRequest:
    """The request a client sent.

    Raises:
        InvalidRequest: it cannot be read.
    """
    check_repeated(body)
    fields = Fields(parse_request(body))
    model = fields.required_text("model")
    tools = ToolDecoder()
    tools.add(fields.objects("tools"))
    items = InputDecoder(tools, stateful=any(fields.has(key) for key in STATE_FIELDS))
    messages = items.decode(fields)
    instructions = fields.text("instructions")
    if instructions:
        messages = (Message("system", (TextPart(instructions),)), *messages)
    choice, chosen = decode_choice(fields, tools.tools)
    text = fields.object("text")
    reasoning, thoughts = _reasoning(fields)
    return ChatRequest(
        model=model,
        messages=messages,
        stream=fields.flag("stream") or False,
        max_output_tokens=fields.integer("max_output_tokens", minimum=1),
        sampling=_sampling(fields),
        tools=tuple(tools.tools),
        tool_choice=choice,
        parallel_tool_calls=fields.flag("parallel_tool_calls"),
        response_format=_response_format(text) if text is not None else None,
        reasoning=reasoning,
        verbosity=text.text("verbosity") if text is not None else None,
        service_tier=fields.text("service_tier"),
        end_user=fields.text("safety_identifier") or fields.text("user"),
        metadata=fields.raw_object("metadata"),
        prompt_cache_key=fields.text("prompt_cache_key"),
        extensions=(*_extensions(fields), *_of_text(text), *thoughts, *chosen, *tools.finish(), *items.extensions),
    )


def _sampling(fields: Fields) -> Sampling:
    return Sampling(
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        logprobs=True if LOGPROBS in fields.texts("include") else None,
        top_logprobs=fields.integer("top_logprobs", minimum=0),
    )


def _response_format(text: Fields) -> ResponseFormat | None:
    form = text.object("format")
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
    return ResponseFormat(
        "json_schema",
        schema=form.raw_object("schema"),
        name=form.text("name"),
        description=form.text("description"),
        strict=form.flag("strict"),
    )


def _reasoning(fields: Fields) -> tuple[Reasoning | None, list[Extension]]:
    """Effort, and whether thoughts are shown: a summary is asked for, or not."""
    nested = fields.object("reasoning")
    if nested is None:
        return None, []
    effort = nested.text("effort")
    if effort is not None and effort not in EFFORTS:
        raise invalid(
            nested.at("effort"), f"Invalid value: '{effort}'. Supported values are: {', '.join(map(repr, EFFORTS))}."
        )
    summary = nested.text("summary") or nested.text("generate_summary")
    kept = _others(nested, frozenset({"effort", "summary", "generate_summary"}), loss_info=True)
    if summary not in (None, "auto"):
        kept.append(Extension(NAME, nested.at("summary"), summary, "info"))
    if effort is None and summary is None:
        return None, kept
    return Reasoning(EFFORTS[effort] if effort is not None else None, visible=True if summary else None), kept


def _others(fields: Fields | None, known: frozenset[str], *, loss_info: bool = False) -> list[Extension]:
    """The members nobody reads."""
    items = fields.data.items() if fields is not None else ()
    return [
        Extension(NAME, fields.at(key), value, "info" if loss_info else "warning")
        for key, value in items
        if fields is not None and key not in known and value is not None
    ]


def _of_text(text: Fields | None) -> list[Extension]:
    form = text.object("format") if text is not None else None
    return [*_others(text, frozenset({"format", "verbosity"})), *_others(form, _FORMAT_FIELDS)]


def _extensions(fields: Fields) -> list[Extension]:
    kept = [
        Extension(NAME, key, value, extension_loss(key, value))
        for key, value in fields.data.items()
        if key not in REQUEST_FIELDS and value is not None and not _unsaid(key, value)
    ]
    if fields.has("safety_identifier") and fields.has("user"):
        kept.append(Extension(NAME, "user", fields.text("user"), "info"))
    include: list[JSONValue] = [name for name in fields.texts("include") if name not in (ENCRYPTED, LOGPROBS)]
    if include:
        kept.append(Extension(NAME, "include", include, "info"))
    return kept + _others(fields.object("stream_options"), frozenset(), loss_info=True)


def _unsaid(key: str, value: JSONValue) -> bool:
    return key in UNSAID and UNSAID[key] == value
