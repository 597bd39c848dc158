"""A vendor that follows a script: asked with tools it has a file written, given the result it says it is done.

It speaks any of the protocols there is a codec for, whole and streamed, and takes every model and key. Which tool
writes files, and with which arguments, differs from agent to agent; the table below knows the ones we try.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from asgi_llmgw._types import Receive, Scope, Send
from asgi_llmgw.asgi import path_with_query, read_body, send_response
from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    Choice,
    CustomTool,
    FinishReason,
    OutputPart,
    Protocol,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
    explode,
)
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols import StreamContext, codec

FILE: Final = "hello.txt"
CONTENT: Final = "Hello from the scripted vendor: äöü 🌍\n"
DONE: Final = "I have written the file."

_SHELL: Final = f"printf '%s' '{CONTENT}' > {FILE}"
_PATCH: Final = f"*** Begin Patch\n*** Add File: {FILE}\n+{CONTENT}*** End Patch\n"

WRITERS: Final[dict[str, Callable[[Path], JSONValue]]] = {
    "Write": lambda home: {"file_path": str(home / FILE), "content": CONTENT},
    "write_file": lambda home: {"file_path": str(home / FILE), "content": CONTENT},
    "write": lambda home: {"filePath": str(home / FILE), "content": CONTENT},
    "writeFile": lambda home: {"path": FILE, "content": CONTENT},
    "exec_command": lambda home: {"cmd": _SHELL},
    "shell_command": lambda home: {"command": _SHELL},
    "shell": lambda home: {"command": ["bash", "-lc", _SHELL]},
    "apply_patch": lambda home: _PATCH,
}
"""For a tool's name, the arguments that make it write `FILE`."""


class ScriptedVendor:
    """An ASGI app that speaks one protocol.

    Args:
        protocol: which one.
        home: the folder the agent works in.
        text_only: what to say to an agent that edits by text instead of by tools.
    """

    def __init__(self, protocol: Protocol, home: Path, *, text_only: str | None = None) -> None:
        self._codec = codec(protocol)
        self._home = home
        self._text_only = text_only
        self.requests: list[ChatRequest] = []
        self.problems: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": message["type"] + ".complete"})
            return
        body = await read_body(receive)
        if scope["method"] != "POST":
            await send_response(send, 404, b"{}")
            return
        try:
            request = self._codec.decode_request(path_with_query(scope), body)
        except Exception as error:
            self.problems.append(f"{error!r}: {body[:2000]!r}")
            await send_response(send, 400, b'{"error":{"message":"the scripted vendor cannot read this"}}')
            return
        self.requests.append(request)
        answer = self._answer(request)
        context = StreamContext(model=request.model, include_usage=True)
        if not request.stream:
            whole = self._codec.encode_response(answer, context=context).body
            await send_response(send, 200, whole, headers=((b"content-type", b"application/json"),))
            return
        encoder = self._codec.stream_encoder(context)
        frames = [frame for event in explode(answer) for frame in encoder.feed(event)] + list(encoder.close())
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for frame in frames:
            await send(
                {"type": "http.response.body", "body": frame.encode(self._codec.frame_newline), "more_body": True}
            )
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _answer(self, request: ChatRequest) -> ChatResponse:
        call = self._call(request)
        part: OutputPart = call if call is not None else TextPart(self._text_only or DONE)
        finish = FinishReason("tool_calls" if call is not None else "stop")
        parts = (TextPart("I will write it."), part) if call is not None else (part,)
        return ChatResponse((Choice(parts, finish),), id="scripted-1", model=request.model, usage=Usage(100, 20))

    def _call(self, request: ChatRequest) -> ToolCallPart | None:
        """The call that writes the file, unless it was made already or there is no tool for it."""
        if any(isinstance(part, ToolResultPart) for message in request.messages for part in message.parts):
            return None
        offered = {tool.name: tool for tool in request.tools if isinstance(tool, (Tool, CustomTool))}
        for name, arguments in WRITERS.items():
            tool = offered.get(name)
            if tool is None:
                continue
            value = arguments(self._home)
            if isinstance(value, str):
                if isinstance(tool, CustomTool):
                    return ToolCallPart("call_1", name, value, kind="custom")
                value = _single(tool, value)
            return ToolCallPart("call_1", name, json.dumps(value))
        return None


def _single(tool: Tool, text: str) -> JSONObject:
    """The text as the one argument the tool has."""
    properties = (tool.parameters or {}).get("properties")
    name = next(iter(properties)) if isinstance(properties, dict) and properties else "input"
    return {name: text}
