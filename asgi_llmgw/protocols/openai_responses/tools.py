"""Tools and the choice among them, both ways.

Responses keeps the fields of a tool beside its type. A function without `strict` is strict here and is not in the other
protocols, so it is always written out; `false`, which the others mean when they are silent, is read as silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, assert_never

from asgi_llmgw.ir import (
    AnyTool,
    ChatRequest,
    CustomTool,
    Extension,
    ServerTool,
    Tool,
    ToolChoice,
)
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.base import Diagnostics, Profile, safe_tool_name, unsupported
from asgi_llmgw.protocols.fields import Fields, invalid

from .wire import NAME, SOFT_TOOLS, TOOL_FIELDS, flat_name

NAMESPACES: Final = "namespaces"
"""The extension that remembers which flat name stands for which tool of which namespace."""

_MODES: Final[dict[str, Literal["auto", "none", "required"]]] = {"auto": "auto", "none": "none", "required": "required"}


class ToolDecoder:
    """Reads tools, wherever they stand; `extensions` is what only Responses knows of them."""

    def __init__(self) -> None:
        self.tools: list[AnyTool] = []
        self.extensions: list[Extension] = []
        self._namespaces: JSONObject = {}

    def add(self, tools: Iterable[Fields]) -> None:
        """Take some tools.

        Raises:
            InvalidRequest: one of them cannot be read.
        """
        for tool in tools:
            kind = tool.required_text("type")
            if kind == "namespace":
                self._namespace(tool)
            elif kind in ("function", "custom"):
                self._tool(tool, kind, None)
            elif kind in SOFT_TOOLS:
                self.extensions.append(Extension(NAME, tool.path, tool.data, "info"))
            else:
                self.tools.append(ServerTool(NAME, kind, tool.data))

    def finish(self) -> list[Extension]:
        """What has no place in the tools."""
        if self._namespaces:
            return [*self.extensions, Extension(NAME, NAMESPACES, self._namespaces, "info")]
        return self.extensions

    def _namespace(self, tool: Fields) -> None:
        namespace = tool.required_text("name")
        for inner in tool.objects("tools"):
            kind = inner.required_text("type")
            if kind not in ("function", "custom"):
                raise invalid(
                    inner.at("type"), f"Invalid value: '{kind}'. A namespace holds functions and custom tools."
                )
            self._tool(inner, kind, namespace)

    def _tool(self, tool: Fields, kind: str, namespace: str | None) -> None:
        own = tool.required_text("name")
        name = flat_name(namespace, own)
        if namespace is not None:
            self._namespaces[name] = {"namespace": namespace, "name": own}
        description = tool.text("description")
        if kind == "custom":
            self.tools.append(CustomTool(name, description, _decode_format(tool.raw_object("format"))))
        else:
            strict = tool.flag("strict") is not False
            self.tools.append(Tool(name, description, tool.raw_object("parameters"), True if strict else None))
        self.extensions += [
            Extension(NAME, tool.at(key), value, "info")
            for key, value in tool.data.items()
            if key not in TOOL_FIELDS and value not in (None, False)
        ]


def _decode_format(form: JSONObject | None) -> JSONObject | None:
    """A grammar has an object of its own in Chat Completions, whose words are the common ones."""
    if form is None or form.get("type") != "grammar" or "grammar" in form:
        return form
    return {"type": "grammar", "grammar": {key: value for key, value in form.items() if key != "type"}}


def _encode_format(form: JSONObject) -> JSONObject:
    grammar = form.get("grammar")
    return {"type": "grammar", **grammar} if isinstance(grammar, dict) else form


def decode_choice(fields: Fields, tools: Iterable[AnyTool]) -> tuple[ToolChoice | None, list[Extension]]:
    """`tool_choice`; one that names a tool of the vendor's own is an extension.

    Raises:
        InvalidRequest: it cannot be read, or names a tool that is not offered.
    """
    value = fields.data.get("tool_choice")
    if value is None:
        return None, []
    if isinstance(value, str):
        if value not in _MODES:
            raise invalid(
                "tool_choice", f"Invalid value: '{value}'. Supported values are: 'none', 'auto' and 'required'."
            )
        return ToolChoice(_MODES[value]), []
    choice = Fields.of(value, "tool_choice")
    kind = choice.required_text("type")
    if kind in ("function", "custom"):
        decoded = ToolChoice("required", (_chosen(choice),))
    elif kind == "allowed_tools":
        mode = choice.text("mode") or "auto"
        allowed = list(choice.objects("tools"))
        if mode not in ("auto", "required"):
            raise invalid(choice.at("mode"), f"Invalid value: '{mode}'. Supported values are: 'auto', 'required'.")
        if any(tool.required_text("type") not in ("function", "custom") for tool in allowed):
            return None, [Extension(NAME, "tool_choice", value, "error")]
        decoded = ToolChoice(_MODES[mode], tuple(_chosen(tool) for tool in allowed))
    else:
        return None, [Extension(NAME, "tool_choice", value, "error")]
    offered = {tool.name for tool in tools if not isinstance(tool, ServerTool)}
    unknown = next((name for name in decoded.names if name not in offered), None)
    if unknown is not None:
        raise invalid("tool_choice", f"Tool choice '{unknown}' not found in 'tools' parameter.")
    return decoded, []


def _chosen(choice: Fields) -> str:
    return flat_name(choice.text("namespace"), choice.required_text("name"))


def encode_tool(tool: AnyTool) -> JSONObject:
    """A tool as Responses has it, under its own name."""
    match tool:
        case Tool():
            encoded: JSONObject = {"type": "function", "name": tool.name}
            if tool.description is not None:
                encoded["description"] = tool.description
            return {**encoded, "parameters": tool.parameters, "strict": bool(tool.strict)}
        case CustomTool():
            encoded = {"type": "custom", "name": tool.name}
            if tool.description is not None:
                encoded["description"] = tool.description
            return encoded if tool.format is None else {**encoded, "format": _encode_format(tool.format)}
        case ServerTool():
            return tool.raw
        case _:
            assert_never(tool)


def encode_choice(choice: ToolChoice, tools: Iterable[AnyTool]) -> JSONValue:
    """A choice as Responses has it."""
    if not choice.names or choice.mode == "none":
        return choice.mode
    custom = {tool.name for tool in tools if isinstance(tool, CustomTool)}
    named: list[JSONValue] = [
        {"type": "custom" if name in custom else "function", "name": safe_tool_name(name)} for name in choice.names
    ]
    if choice.mode == "required" and len(named) == 1:
        return named[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": named}


def encode_tools(data: JSONObject, request: ChatRequest, profile: Profile, diagnostics: Diagnostics) -> None:
    """Put the tools of a request, and the choice among them, into its body.

    Raises:
        InvalidRequest: a tool means nothing here, or a choice names none of them.
    """
    soft: list[JSONValue] = [
        extension.value
        for extension in request.extensions
        if extension.protocol == NAME
        and isinstance(extension.value, dict)
        and extension.value.get("type") in SOFT_TOOLS
    ]
    if not request.tools and not soft:
        if request.tool_choice is not None:
            diagnostics.dropped("tool_choice", "there are no tools to choose from", info=True)
        if request.parallel_tool_calls is not None:
            diagnostics.dropped("parallel_tool_calls", "there are no tools to call", info=True)
        return
    names: dict[str, str] = {}
    encoded: list[JSONValue] = []
    for index, tool in enumerate(request.tools):
        path = f"tools[{index}]"
        body = encode_tool(tool)
        if isinstance(tool, ServerTool):
            if tool.protocol != NAME:
                raise unsupported(path, f"the tool '{tool.kind}' is run by its vendor and does not exist here")
        else:
            body["name"] = _wire_name(tool.name, path, names, diagnostics)
        if isinstance(tool, Tool) and tool.cache is not None:
            diagnostics.dropped(f"{path}.cache", "the prefix is cached without being asked", info=True)
        encoded.append(body)
    data["tools"] = [*encoded, *soft]
    _encode_choice(data, request, profile, diagnostics)
    if request.parallel_tool_calls is not None:
        data["parallel_tool_calls"] = request.parallel_tool_calls


def _wire_name(name: str, path: str, names: dict[str, str], diagnostics: Diagnostics) -> str:
    safe = safe_tool_name(name)
    if names.setdefault(safe, name) != name:
        raise unsupported(f"{path}.name", f"two tool names are the same for this vendor: '{safe}'")
    if safe != name:
        diagnostics.renamed(f"{path}.name", safe)
    return safe


def _encode_choice(data: JSONObject, request: ChatRequest, profile: Profile, diagnostics: Diagnostics) -> None:
    choice = request.tool_choice
    if choice is None:
        return
    known = {tool.name for tool in request.tools if not isinstance(tool, ServerTool)}
    missing = next((name for name in choice.names if name not in known), None)
    if missing is not None:
        raise unsupported("tool_choice", f"the tool '{missing}' is not among the tools")
    if choice.mode == "required" and not profile.forced_tool_choice:
        diagnostics.approximated("tool_choice", "the model cannot be forced to call a tool")
        choice = ToolChoice("auto", choice.names)
    data["tool_choice"] = encode_choice(choice, request.tools)


def namespaces(request: ChatRequest | None) -> dict[str, tuple[str, str]]:
    """Namespace and name of each flat name of a request."""
    found: dict[str, tuple[str, str]] = {}
    for extension in request.extensions if request is not None else ():
        if extension.protocol == NAME and extension.path == NAMESPACES and isinstance(extension.value, dict):
            for flat, value in extension.value.items():
                if isinstance(value, dict):
                    found[flat] = (str(value.get("namespace")), str(value.get("name")))
    return found
