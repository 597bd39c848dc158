"""Tools and the choice between them."""

from __future__ import annotations

from typing import Final, assert_never

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import AnyTool, ChatRequest, CustomTool, ServerTool, Tool, ToolCallPart, ToolChoice
from asgi_llmgw.json import JSONObject, as_str
from asgi_llmgw.protocols.base import Diagnostics, Profile, safe_tool_name, unsupported
from asgi_llmgw.protocols.schema import fits

from .content import cache_control
from .wire import MAX_STRICT_TOOLS, NAME, TOOL_NAME_LIMIT

_CUSTOM_SCHEMA: Final[JSONObject] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


def tool_name(raw: str) -> str:
    """The name a tool has on this wire."""
    return safe_tool_name(raw, limit=TOOL_NAME_LIMIT)


def encode_tools(request: ChatRequest, profile: Profile, notes: Diagnostics) -> JSONObject:
    """The members `tools` and `tool_choice`, where there are any.

    Raises:
        InvalidRequest: a tool of another vendor's, two tools with one name, or a choice of a tool that is not offered.
    """
    if not request.tools:
        if request.tool_choice is not None:
            notes.dropped("tool_choice", "There are no tools to choose from.", info=True)
        return _called_tools(request, notes)
    _check_names(request.tools, notes)
    offered = _offered(request, notes)
    encoder = _ToolEncoder(notes)
    result: JSONObject = {"tools": [encoder.encode(tool, f"tools[{i}]") for i, tool in offered]}
    choice = _choice(request.tool_choice, profile, notes)
    if request.parallel_tool_calls is False:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice is not None:
        result["tool_choice"] = choice
    return result


def forces_tool(request: ChatRequest, profile: Profile) -> bool:
    """Whether the request leaves the model no choice but to call."""
    choice = request.tool_choice
    return bool(request.tools) and profile.forced_tool_choice and choice is not None and choice.mode == "required"


def _called_tools(request: ChatRequest, notes: Diagnostics) -> JSONObject:
    """A history with calls in it needs the tools that were called, even where none is offered any more."""
    if request.talk is not None:
        return {}
    names = dict.fromkeys(
        tool_name(part.name) for message in request.messages for part in message.parts if isinstance(part, ToolCallPart)
    )
    if not names:
        return {}
    notes.defaulted("tools", "The conversation holds tool calls, so their tools are declared, not to be called.")
    return {
        "tools": [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in names],
        "tool_choice": {"type": "none"},
    }


def _check_names(tools: tuple[AnyTool, ...], notes: Diagnostics) -> None:
    taken: dict[str, str] = {}
    for i, tool in enumerate(tools):
        if isinstance(tool, ServerTool):
            continue
        name = tool_name(tool.name)
        if name in taken:
            raise InvalidRequest(
                f"The tools {taken[name]!r} and {tool.name!r} have the same name for this model.",
                param=f"tools[{i}].name",
            )
        taken[name] = tool.name
        if name != tool.name:
            notes.renamed(f"tools[{i}].name", f"{tool.name!r} is {name!r} for this model.")


def _name(tool: AnyTool) -> str | None:
    return as_str(tool.raw.get("name")) if isinstance(tool, ServerTool) else tool.name


def _offered(request: ChatRequest, notes: Diagnostics) -> list[tuple[int, AnyTool]]:
    """The tools to send: all, unless the client allows only some of them."""
    everything = list(enumerate(request.tools))
    choice = request.tool_choice
    if choice is None or not choice.names:
        return everything
    known = {_name(tool) for tool in request.tools}
    for name in choice.names:
        if name not in known:
            raise InvalidRequest(f"tool_choice names the tool {name!r}, which is not in tools.", param="tool_choice")
    if choice.mode == "none" or (choice.mode == "required" and len(choice.names) == 1):
        return everything
    notes.approximated("tool_choice", "Only the allowed tools are sent.")
    return [(i, tool) for i, tool in everything if _name(tool) in choice.names]


def _choice(choice: ToolChoice | None, profile: Profile, notes: Diagnostics) -> JSONObject | None:
    if choice is None:
        return None
    match choice.mode:
        case "auto" | "none":
            return {"type": choice.mode}
        case "required" if not profile.forced_tool_choice:
            # no hint in the system prompt: models that refuse a forced choice also bind their thinking to the prompt
            notes.approximated("tool_choice", "The model cannot be forced to call a tool.")
            return {"type": "auto"}
        case "required" if len(choice.names) == 1:
            return {"type": "tool", "name": tool_name(choice.names[0])}
        case "required":
            return {"type": "any"}
        case _:
            assert_never(choice.mode)


class _ToolEncoder:
    def __init__(self, notes: Diagnostics) -> None:
        self._notes = notes
        self._strict = 0

    def encode(self, tool: AnyTool, path: str) -> JSONObject:
        match tool:
            case Tool():
                return self._function(tool, path)
            case CustomTool():
                return self._custom(tool, path)
            case ServerTool():
                if tool.protocol != NAME:
                    raise unsupported(path, f"The model's vendor has no counterpart of the tool {tool.kind!r}.")
                return dict(tool.raw)
            case _:
                assert_never(tool)

    def _function(self, tool: Tool, path: str) -> JSONObject:
        schema = _input_schema(tool.parameters, f"{path}.parameters")
        result: JSONObject = {"name": tool_name(tool.name)}
        if tool.description:
            result["description"] = tool.description
        result["input_schema"] = schema
        if tool.strict:
            if self._strict < MAX_STRICT_TOOLS and fits(schema):
                self._strict += 1
                result["strict"] = True
            else:
                self._notes.dropped(f"{path}.strict", "The model cannot promise to keep to this schema.")
        if tool.cache is not None:
            result["cache_control"] = cache_control(tool.cache, f"{path}.cache_control", self._notes)
        return result

    def _custom(self, tool: CustomTool, path: str) -> JSONObject:
        self._notes.approximated(path, "A free-text tool is a function with one string, `input`.", info=True)
        if tool.format is not None and tool.format.get("type") != "text":
            self._notes.dropped(f"{path}.format", "The model cannot be held to a grammar.")
        result: JSONObject = {"name": tool_name(tool.name)}
        if tool.description:
            result["description"] = tool.description
        result["input_schema"] = dict(_CUSTOM_SCHEMA)
        return result


def _input_schema(parameters: JSONObject | None, path: str) -> JSONObject:
    """The schema with the root that is required here; all else stays as the client wrote it."""
    if not parameters:
        return {"type": "object", "properties": {}}
    kind = parameters.get("type")
    if kind == "object":
        return parameters
    if kind is None or (isinstance(kind, str) and kind.lower() == "object"):
        return {**parameters, "type": "object"}
    if isinstance(kind, list) and "object" in kind:
        return {**parameters, "type": "object"}
    raise InvalidRequest("The parameters of a tool must be an object schema.", param=path)
