"""What the demo provider has to know of a request, read from any of the wire protocols it speaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from asgi_llmgw.json import JSONObject, JSONValue, as_int, as_list, as_object, as_str, dumps_text


@dataclass(frozen=True, slots=True)
class DemoTool:
    """A tool it may call."""

    name: str
    schema: JSONObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request.

    Args:
        said: the last thing the user said.
        tool_result: what the tool answered, where the conversation ends with that.
        tools: those that may be called, reduced to the allowed ones.
        must_call: a tool call is forced.
        schema: the answer must be JSON of this schema.
        turns: the length of the conversation, from which ids are made.
        words: all that was sent.
    """

    model: str
    stream: bool
    said: str = ""
    tool_result: str | None = None
    tools: tuple[DemoTool, ...] = ()
    must_call: bool = False
    schema: JSONObject | None = None
    max_words: int | None = None
    include_usage: bool = False
    turns: int = 0
    words: int = 0


def read_chat(body: JSONObject) -> Prompt:
    """A request of OpenAI's Chat Completions."""
    messages = [as_object(message) for message in as_list(body.get("messages"))]
    last = messages[-1] if messages else {}
    functions = [as_object(as_object(tool).get("function")) for tool in as_list(body.get("tools"))]
    choice = body.get("tool_choice")
    named = as_str(as_object(as_object(choice).get("function")).get("name"))
    wanted = as_object(body.get("response_format"))
    limit = as_int(body.get("max_completion_tokens"))
    return Prompt(
        model=as_str(body.get("model")) or "demo",
        stream=body.get("stream") is True,
        said=_last([message for message in messages if message.get("role") == "user"]),
        tool_result=_text(last.get("content")) if last.get("role") == "tool" else None,
        tools=_tools(functions, "parameters", allowed={named} if named else None, none=choice == "none"),
        must_call=choice == "required" or named is not None,
        schema=_schema(wanted.get("type"), as_object(wanted.get("json_schema")).get("schema")),
        max_words=as_int(body.get("max_tokens")) if limit is None else limit,
        include_usage=as_object(body.get("stream_options")).get("include_usage") is True,
        turns=len(messages),
        words=_words(_text(message.get("content")) for message in messages),
    )


def read_messages(body: JSONObject) -> Prompt:
    """A request of Anthropic's Messages."""
    messages = [as_object(message) for message in as_list(body.get("messages"))]
    blocks = [as_object(block) for block in as_list(messages[-1].get("content"))] if messages else []
    results = [_text(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
    choice = as_object(body.get("tool_choice"))
    named = as_str(choice.get("name"))
    wanted = as_object(as_object(body.get("output_config")).get("format") or body.get("output_format"))
    return Prompt(
        model=as_str(body.get("model")) or "demo",
        stream=body.get("stream") is True,
        said=_last([message for message in messages if message.get("role") == "user"]),
        tool_result=" ".join(results) if results else None,
        tools=_tools(
            [as_object(tool) for tool in as_list(body.get("tools"))],
            "input_schema",
            allowed={named} if named else None,
            none=choice.get("type") == "none",
        ),
        must_call=choice.get("type") in ("any", "tool"),
        schema=_schema(wanted.get("type"), wanted.get("schema")),
        max_words=as_int(body.get("max_tokens")),
        turns=len(messages),
        words=_words([_text(body.get("system")), *(_text(message.get("content")) for message in messages)]),
    )


def read_gemini(body: JSONObject, *, model: str, stream: bool) -> Prompt:
    """A request of Gemini's generateContent, which keeps the model and the method in the path."""
    contents = [as_object(content) for content in as_list(body.get("contents"))]
    parts = [as_object(part) for part in as_list(contents[-1].get("parts"))] if contents else []
    results = [as_object(part.get("functionResponse")) for part in parts if "functionResponse" in part]
    declared = [
        as_object(function)
        for tool in as_list(body.get("tools"))
        for function in as_list(_either(as_object(tool), "functionDeclarations", "function_declarations"))
    ]
    calling = as_object(as_object(body.get("toolConfig")).get("functionCallingConfig"))
    allowed = {as_str(name) for name in as_list(calling.get("allowedFunctionNames"))}
    config = as_object(body.get("generationConfig"))
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    kind = None if config.get("responseMimeType") != "application/json" else "json_schema" if schema else "json_object"
    system = as_object(body.get("systemInstruction"))
    return Prompt(
        model=model,
        stream=stream,
        said=_last([content for content in contents if content.get("role", "user") == "user"]),
        tool_result=dumps_text([result.get("response") for result in results]) if results else None,
        tools=_tools(
            declared,
            "parametersJsonSchema",
            "parameters_json_schema",
            "parameters",
            allowed=allowed or None,
            none=calling.get("mode") == "NONE",
        ),
        must_call=calling.get("mode") == "ANY",
        schema=_schema(kind, schema),
        max_words=as_int(config.get("maxOutputTokens")),
        turns=len(contents),
        words=_words(_text(content.get("parts")) for content in [system, *contents]),
    )


def _text(content: JSONValue) -> str:
    """The text of a content: a string, or parts that have text."""
    if isinstance(content, str):
        return content
    return " ".join(filter(None, (as_str(as_object(part).get("text")) for part in as_list(content))))


def _last(messages: list[JSONObject]) -> str:
    if not messages:
        return ""
    return _text(messages[-1].get("content") or messages[-1].get("parts"))


def _words(texts: Iterable[str]) -> int:
    return sum(len(text.split()) for text in texts)


def _either(item: JSONObject, *names: str) -> JSONValue:
    return next((item[name] for name in names if name in item), None)


def _tools(
    functions: list[JSONObject], *schema: str, allowed: set[str] | set[str | None] | None, none: bool
) -> tuple[DemoTool, ...]:
    if none:
        return ()
    return tuple(
        DemoTool(name, as_object(_either(function, *schema)))
        for function in functions
        if (name := as_str(function.get("name"))) and (allowed is None or name in allowed)
    )


def _schema(kind: JSONValue, schema: JSONValue) -> JSONObject | None:
    if kind == "json_schema":
        return as_object(schema)
    return {"type": "object"} if kind == "json_object" else None
