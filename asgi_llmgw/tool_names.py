"""Tools come back under the names and in the form the client gave them.

Some protocols take fewer characters in a tool's name than others, free-text tools are OpenAI's alone and travel
elsewhere as functions with one argument, and old clients of Chat Completions know `functions` only. All of that is
changed on the way down by pure functions and undone here.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    CustomTool,
    OutputPart,
    PartEnd,
    PartStart,
    ResponseStart,
    StreamEvent,
    Tool,
    ToolCallPart,
    ToolInputDelta,
)
from asgi_llmgw.json import JSONError, as_object, as_str, loads
from asgi_llmgw.protocols import UpstreamCodec


class ToolNames:
    """What the calls in an answer are called and shaped like for the client. Keeps the state of one stream.

    Args:
        renamed: the client's name for each name on the wire that differs.
        custom: the client's names of its free-text tools.
        legacy_functions: the client wants its calls in the old form.
    """

    __slots__ = ("_custom", "_held", "_legacy_functions", "_renamed")

    def __init__(self, renamed: dict[str, str], custom: frozenset[str], *, legacy_functions: bool = False) -> None:
        self._renamed = renamed
        self._custom = custom
        self._legacy_functions = legacy_functions
        self._held: dict[int, list[str]] = {}

    @classmethod
    def of(cls, request: ChatRequest, target: UpstreamCodec) -> ToolNames | None:
        """For the answers to this request; None where nothing has to be undone."""
        if not request.tools and not request.legacy_functions:
            return None
        named = [tool for tool in request.tools if isinstance(tool, (Tool, CustomTool))]
        renamed = {target.tool_name(tool.name): tool.name for tool in named}
        renamed = {wire: name for wire, name in renamed.items() if wire != name}
        custom = frozenset(tool.name for tool in named if isinstance(tool, CustomTool))
        if not (renamed or custom or request.legacy_functions):
            return None
        return cls(renamed, custom, legacy_functions=request.legacy_functions)

    def response(self, answer: ChatResponse) -> ChatResponse:
        """A whole answer as the client knows its tools."""
        choices = tuple(
            msgspec.structs.replace(choice, parts=tuple(self._part(part) for part in choice.parts))
            for choice in answer.choices
        )
        return msgspec.structs.replace(answer, choices=choices, legacy_functions=self._legacy_functions)

    def event(self, event: StreamEvent) -> Iterable[StreamEvent]:
        """One event of a stream, the same way; a free text is told when it is whole."""
        match event:
            case ResponseStart():
                return (msgspec.structs.replace(event, legacy_functions=self._legacy_functions),)
            case PartStart(part=ToolCallPart() as part):
                call = self._named(part)
                if call.kind != part.kind:
                    self._held[event.index] = [part.arguments]
                    call = msgspec.structs.replace(call, arguments="")
                return (PartStart(event.index, call, event.choice),)
            case ToolInputDelta() if self.holds(event):
                return ()
            case PartEnd() if event.index in self._held:
                text = _unwrapped("".join(self._held.pop(event.index)))
                return (ToolInputDelta(event.index, text), event) if text else (event,)
            case _:
                return (event,)

    def holds(self, delta: ToolInputDelta) -> bool:
        """Whether a fragment is one of a free text, which is kept until that is whole."""
        held = self._held.get(delta.index)
        if held is None:
            return False
        held.append(delta.fragment)
        return True

    def _part(self, part: OutputPart) -> OutputPart:
        if not isinstance(part, ToolCallPart):
            return part
        call = self._named(part)
        if call.kind != part.kind:
            call = msgspec.structs.replace(call, arguments=_unwrapped(call.arguments))
        return call

    def _named(self, part: ToolCallPart) -> ToolCallPart:
        name = self._renamed.get(part.name, part.name)
        kind = "custom" if name in self._custom else part.kind
        return msgspec.structs.replace(part, name=name, kind=kind)


def _unwrapped(arguments: str) -> str:
    """The free text inside `{"input": …}`; arguments of any other form are the text themselves."""
    try:
        text = as_str(as_object(loads(arguments)).get("input"))
    except JSONError:
        return arguments
    return arguments if text is None else text
