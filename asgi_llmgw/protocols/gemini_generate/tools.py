"""Tools, the choice between them, and their names."""

from __future__ import annotations

import re
from typing import Final, assert_never

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import ChatRequest, CustomTool, ServerTool, Tool
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.base import Diagnostics, Profile, safe_tool_name, unsupported

from .schema import gemini_schema
from .wire import PROTOCOL

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}\Z")
_FREE_TEXT: Final[JSONObject] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}


def gemini_tool_name(raw: str) -> str:
    """A name Gemini takes: unchanged if it fits, else a pure function of it."""
    if _NAME.match(raw):
        return raw
    name = safe_tool_name(raw, limit=127)
    return name if _NAME.match(name) else f"_{name}"


def encode_tools(request: ChatRequest, profile: Profile, lost: Diagnostics) -> list[JSONValue]:
    """`tools`: the functions in one entry, then what the vendor runs itself.

    Raises:
        InvalidRequest: a tool of another vendor's, or two functions of one name.
    """
    if not request.tools:
        return []
    declarations: list[JSONValue] = []
    server: list[JSONValue] = []
    sources: dict[str, str] = {}
    for index, tool in enumerate(request.tools):
        path = f"tools[{index}]"
        match tool:
            case ServerTool():
                if tool.protocol != PROTOCOL:
                    raise unsupported(path, f"The tool {tool.kind} is run by another vendor; Gemini does not have it.")
                server.append(dict(tool.raw))
                continue
            case Tool():
                declaration = _function(tool, path, profile, lost)
            case CustomTool():
                declaration = _custom(tool, path, profile, lost)
            case _:
                assert_never(tool)
        name = gemini_tool_name(tool.name)
        if name in sources:
            raise InvalidRequest(f"The tools {sources[name]!r} and {tool.name!r} have one name in Gemini.", param=path)
        if name != tool.name:
            lost.renamed(f"{path}.name", f"sent as {name}")
        sources[name] = tool.name
        declarations.append({"name": name, **declaration})
    functions: list[JSONValue] = [{"functionDeclarations": declarations}] if declarations else []
    return functions + server


def encode_tool_config(request: ChatRequest, lost: Diagnostics) -> JSONObject:
    """`functionCallingConfig`, empty where nothing has to be said.

    Raises:
        InvalidRequest: the choice names a tool that is not offered.
    """
    names = {tool.name for tool in request.tools if isinstance(tool, (Tool, CustomTool))}
    choice = request.tool_choice
    if not names:
        if choice is not None:
            lost.dropped("tool_choice", "there are no functions to choose from", info=True)
        return {}
    for name in choice.names if choice is not None else ():
        if name not in names:
            raise InvalidRequest(f"tool_choice names {name!r}, which is not among the tools.", param="tool_choice")
    allowed: list[JSONValue] = [gemini_tool_name(name) for name in choice.names] if choice is not None else []
    strict = _all_strict(request)
    if any(tool.strict for tool in request.tools if isinstance(tool, Tool)) and (
        not strict or (choice is not None and choice.mode != "auto")
    ):
        lost.dropped("tools[].strict", "Gemini validates all functions of a request or none", info=True)
    if choice is None:
        return {"mode": "VALIDATED"} if strict else {}
    match choice.mode:
        case "none":
            return {"mode": "NONE"}
        case "required":
            return {"mode": "ANY", "allowedFunctionNames": allowed} if allowed else {"mode": "ANY"}
        case "auto":
            # only VALIDATED lets the model answer in words and takes a list of functions
            if allowed:
                return {"mode": "VALIDATED", "allowedFunctionNames": allowed}
            return {"mode": "VALIDATED" if strict else "AUTO"}
        case _:
            assert_never(choice.mode)


def _all_strict(request: ChatRequest) -> bool:
    functions = [tool for tool in request.tools if not isinstance(tool, ServerTool)]
    return bool(functions) and all(isinstance(tool, Tool) and tool.strict is True for tool in functions)


def _function(tool: Tool, path: str, profile: Profile, lost: Diagnostics) -> JSONObject:
    if tool.cache is not None:
        lost.dropped(f"{path}.cache_control", "Gemini caches by itself", info=True)
    declaration: JSONObject = {}
    if tool.description is not None:
        declaration["description"] = tool.description
    return {**declaration, **_parameters(tool.parameters, f"{path}.parameters", profile, lost)}


def _custom(tool: CustomTool, path: str, profile: Profile, lost: Diagnostics) -> JSONObject:
    lost.approximated(path, "sent as a function with one text property `input`")
    if tool.format is not None:
        lost.dropped(f"{path}.format", "Gemini has no grammars")
    declaration: JSONObject = {}
    if tool.description is not None:
        declaration["description"] = tool.description
    return {**declaration, **_parameters(_FREE_TEXT, path, profile, lost)}


def _parameters(schema: JSONObject | None, path: str, profile: Profile, lost: Diagnostics) -> JSONObject:
    if not schema:
        return {}
    if profile.json_schema:
        return {"parametersJsonSchema": schema}
    subset = gemini_schema(schema, path, lost)
    # an object without properties is refused, and says no more than no parameters at all
    return {"parameters": subset} if subset.get("properties") or subset.get("type") != "OBJECT" else {}
