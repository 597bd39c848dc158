"""Tools and the choice between them."""

from __future__ import annotations

from typing import Final, assert_never

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import AnyTool, ChatRequest, CustomTool, ServerTool, Tool, ToolCallPart, ToolChoice
from asgi_llmgw.json import JSONObject
from asgi_llmgw.protocols.base import Diagnostics, Profile, safe_tool_name, unsupported
from asgi_llmgw.protocols.schema import fits

from .content import ContentEncoder
from .wire import TOOL_NAME_LIMIT

_CUSTOM_SCHEMA: Final[JSONObject] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


def tool_name(raw: str) -> str:
    """The name a tool has on this wire."""
    return safe_tool_name(raw, limit=TOOL_NAME_LIMIT)


def encode_tools(request: ChatRequest, profile: Profile, content: ContentEncoder, notes: Diagnostics) -> JSONObject:
    """`toolConfig`, empty where there is none.

    Raises:
        InvalidRequest: a tool of another vendor's, two tools with one name, or a choice of a tool that is not offered.
    """
    if not request.tools:
        if request.tool_choice is not None:
            notes.dropped("tool_choice", "There are no tools to choose from.", info=True)
        return _called_tools(request, notes)
    _check_names(request.tools, notes)
    choice = request.tool_choice
    offered = _offered(request, notes)
    if choice is not None and choice.mode == "none":
        if not _called(request):
            notes.approximated("tool_choice", "The tools are left out, as none may be called.", info=True)
            return {}
        # a history with calls in it is refused without its tools
        notes.approximated("tool_choice", "The model cannot be kept from calling the tools of its conversation.")
    tools: list[JSONObject] = []
    for i, tool in offered:
        mark = tool.cache if isinstance(tool, Tool) else None
        content.add(tools, [_tool(tool, f"tools[{i}]", profile, notes)], mark, "tools", f"tools[{i}]")
    result: JSONObject = {"tools": [*tools]}
    told = _choice(choice, profile, notes)
    if told is not None:
        result["toolChoice"] = told
    if request.parallel_tool_calls is False:
        notes.dropped("parallel_tool_calls", "The vendor has no such setting.")
    return result


def forces_tool(request: ChatRequest, profile: Profile) -> bool:
    """Whether the request leaves the model no choice but to call."""
    choice = request.tool_choice
    return bool(request.tools) and profile.forced_tool_choice and choice is not None and choice.mode == "required"


def _called(request: ChatRequest) -> list[str]:
    calls = (part for message in request.messages for part in message.parts if isinstance(part, ToolCallPart))
    return list(dict.fromkeys(tool_name(part.name) for part in calls))


def _called_tools(request: ChatRequest, notes: Diagnostics) -> JSONObject:
    """A history with calls in it needs the tools that were called, even where none is offered any more (I12)."""
    names = _called(request)
    if not names:
        return {}
    notes.defaulted("tools", "The conversation holds tool calls, so their tools are declared.")
    schema: JSONObject = {"json": {"type": "object", "properties": {}}}
    return {"tools": [{"toolSpec": {"name": name, "inputSchema": schema}} for name in names]}


def _check_names(tools: tuple[AnyTool, ...], notes: Diagnostics) -> None:
    taken: dict[str, str] = {}
    for i, tool in enumerate(tools):
        if isinstance(tool, ServerTool):
            raise unsupported(f"tools[{i}]", f"The model's vendor has no counterpart of the tool {tool.kind!r}.")
        name = tool_name(tool.name)
        if name in taken:
            raise InvalidRequest(
                f"The tools {taken[name]!r} and {tool.name!r} have the same name for this model.",
                param=f"tools[{i}].name",
            )
        taken[name] = tool.name
        if name != tool.name:
            notes.renamed(f"tools[{i}].name", f"{tool.name!r} is {name!r} for this model.")


def _offered(request: ChatRequest, notes: Diagnostics) -> list[tuple[int, Tool | CustomTool]]:
    """The tools to send: all, unless the client allows only some of them."""
    everything = [(i, tool) for i, tool in enumerate(request.tools) if not isinstance(tool, ServerTool)]
    choice = request.tool_choice
    if choice is None or not choice.names:
        return everything
    known = {tool.name for _, tool in everything}
    for name in choice.names:
        if name not in known:
            raise InvalidRequest(f"tool_choice names the tool {name!r}, which is not in tools.", param="tool_choice")
    if choice.mode == "none" or (choice.mode == "required" and len(choice.names) == 1):
        return everything
    notes.approximated("tool_choice", "Only the allowed tools are sent.")
    return [(i, tool) for i, tool in everything if tool.name in choice.names]


def _choice(choice: ToolChoice | None, profile: Profile, notes: Diagnostics) -> JSONObject | None:
    if choice is None:
        return None
    match choice.mode:
        case "auto":
            return {"auto": {}}
        case "none":
            return None
        case "required" if not profile.forced_tool_choice:
            notes.approximated("tool_choice", "The model cannot be forced to call a tool.")
            return {"auto": {}}
        case "required" if len(choice.names) == 1:
            return {"tool": {"name": tool_name(choice.names[0])}}
        case "required":
            return {"any": {}}
        case _:
            assert_never(choice.mode)


def _tool(tool: Tool | CustomTool, path: str, profile: Profile, notes: Diagnostics) -> JSONObject:
    schema: JSONObject
    if isinstance(tool, CustomTool):
        schema = dict(_CUSTOM_SCHEMA)
        notes.approximated(path, "A free-text tool is a function with one string, `input`.", info=True)
        if tool.format is not None and tool.format.get("type") != "text":
            notes.dropped(f"{path}.format", "The model cannot be held to a grammar.")
    else:
        schema = _input_schema(tool.parameters, f"{path}.parameters")
    spec: JSONObject = {"name": tool_name(tool.name), "inputSchema": {"json": schema}}
    if tool.description:
        spec["description"] = tool.description
    if isinstance(tool, Tool) and tool.strict:
        if profile.native_structured_output and fits(schema):
            spec["strict"] = True
        else:
            notes.dropped(f"{path}.strict", "The model cannot promise to keep to this schema.")
    return {"toolSpec": spec}


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
