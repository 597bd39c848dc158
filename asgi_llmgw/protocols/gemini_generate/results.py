"""Calls and their results: Gemini wants the results of a turn together, in the order of its calls, one for each."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import MediaPart, TextPart, ToolCallPart, ToolResultPart, UnknownPart
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, as_object, loads
from asgi_llmgw.protocols.base import Diagnostics, Profile, safe_tool_call_id

from .media import encode_media
from .tools import gemini_tool_name
from .wire import PROTOCOL, RESULT_MEDIA

_MAX_DEPTH = 48
_REFERENCES = ("$ref", "$defs")

_Key: TypeAlias = tuple[str, str | None]
"""The id of a call; for calls without one, their name, or nothing where a result does not tell it."""


class Call:
    """A call of the history, with the result that answers it once one is found."""

    __slots__ = ("part", "path", "result", "result_path")

    def __init__(self, part: ToolCallPart, path: str) -> None:
        self.part = part
        self.path = path
        self.result: ToolResultPart | None = None
        self.result_path = ""


class Calls:
    """All calls of a history so far, for results that may come late, twice or without an id."""

    __slots__ = ("_calls", "_last", "_lost", "_waiting")

    def __init__(self, lost: Diagnostics) -> None:
        self._calls: list[Call] = []
        self._waiting: dict[_Key, deque[Call]] = {}
        self._last: dict[_Key, Call] = {}
        self._lost = lost

    def add(self, part: ToolCallPart, path: str) -> Call:
        """Note a call."""
        call = Call(part, path)
        self._calls.append(call)
        keys: tuple[_Key, ...] = ((part.id, None),) if part.id else (("", None), ("", part.name))
        for key in keys:
            self._waiting.setdefault(key, deque()).append(call)
            self._last[key] = call
        return call

    def answer(self, result: ToolResultPart, path: str) -> None:
        """Give a result to its call: the latest of that id which waits for one, or for missing ids, the first.

        Raises:
            InvalidRequest: there is no such call.
        """
        key = (result.call_id, None if result.call_id else result.name)
        if key not in self._last:
            detail = f"There is no tool call {result.call_id!r} before this result."
            raise InvalidRequest(detail, param=path, code="tool_result_without_call")
        call = self._next(key)
        if call is None:
            call = self._last[key]
            self._lost.dropped(call.result_path, "a later result answers the same call")
        call.result, call.result_path = result, path

    def _next(self, key: _Key) -> Call | None:
        """The call under this key that waits for a result, taken out of its queue; each is looked at once."""
        waiting = self._waiting[key]
        while waiting:
            call = waiting.pop() if key[0] else waiting.popleft()
            if call.result is None:
                return call
        return None

    def check(self) -> None:
        """Make sure that every call is answered.

        Raises:
            InvalidRequest: one is not; we do not invent results.
        """
        for call in self._calls:
            if call.result is None:
                detail = f"The tool call {call.part.id!r} ({call.part.name}) has no result."
                raise InvalidRequest(detail, param=call.path, code="tool_call_without_result")


def encode_call(call: Call, profile: Profile, lost: Diagnostics) -> JSONObject:
    """The `functionCall` part of a call, without its signature."""
    part = call.part
    body: JSONObject = {"name": gemini_tool_name(part.name), "args": _arguments(call, lost)}
    if profile.tool_call_ids and part.id:
        body["id"] = safe_tool_call_id(part.id)
    return {"functionCall": body}


def encode_results(calls: list[Call], profile: Profile, lost: Diagnostics) -> tuple[list[JSONObject], list[JSONObject]]:
    """The `functionResponse` parts of one turn, and the parts that have to follow them."""
    responses: list[JSONObject] = []
    after: list[JSONObject] = []
    for call in calls:
        if call.result is None:
            continue
        body: JSONObject = {"name": gemini_tool_name(call.part.name), "response": _payload(call.result)}
        if profile.tool_call_ids and call.part.id:
            body["id"] = safe_tool_call_id(call.part.id)
        inside, outside = _media(call, profile, lost)
        if inside:
            body["parts"] = list(inside)
        if outside:
            after += [{"text": f"What the tool {call.part.name} returned:"}, *outside]
        responses.append({"functionResponse": body})
        if call.result.cache is not None:
            lost.dropped(f"{call.result_path}.cache_control", "Gemini caches by itself", info=True)
    return responses, after


def _arguments(call: Call, lost: Diagnostics) -> JSONObject:
    text = call.part.arguments
    if call.part.kind == "custom":
        return {"input": text}
    if not text.strip():
        return {}
    value: JSONValue
    try:
        value = loads(text)
    except JSONError:
        value = text
    if isinstance(value, dict) and fits(value):
        return value
    lost.approximated(f"{call.path}.arguments", "Gemini takes objects only; sent as the value of `input`")
    return {"input": value if fits(value) else text}


def _payload(result: ToolResultPart) -> JSONObject:
    """JSON as JSON, everything else as text; never JSON that Gemini would read as a reference to a schema."""
    told = (_words(part) for part in result.content)
    text = "\n".join(words for words in told if words is not None)
    if result.is_error:
        return {"error": text}
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = loads(text)
        except JSONError:
            return {"output": text}
        if isinstance(value, (dict, list)) and fits(value, without=_REFERENCES):
            return {"output": value}
    return {"output": text}


def _words(part: TextPart | MediaPart | UnknownPart) -> str | None:
    if isinstance(part, TextPart):
        return part.text
    return part.words or None if isinstance(part, UnknownPart) and part.protocol != PROTOCOL else None


def fits(value: JSONValue, without: tuple[str, ...] = ()) -> bool:
    """Whether a value from inside a text is flat enough to be sent as JSON, and has none of these keys."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        following: list[JSONValue] = []
        for node in level:
            if isinstance(node, dict):
                if any(name in node for name in without):
                    return False
                following += node.values()
            elif isinstance(node, list):
                following += node
        if not following:
            return True
        level = following
    return False


def _media(call: Call, profile: Profile, lost: Diagnostics) -> tuple[list[JSONObject], list[JSONObject]]:
    """What is no text: inside the response where the model takes that, after it otherwise."""
    inside: list[JSONObject] = []
    outside: list[JSONObject] = []
    for index, part in enumerate(call.result.content if call.result is not None else ()):
        path = f"{call.result_path}.content[{index}]"
        if isinstance(part, UnknownPart):
            if part.protocol != PROTOCOL:
                if part.words:
                    lost.approximated(path, f"{part.kind} told in words", info=True)
                else:
                    lost.dropped(path, f"{part.kind or 'this part'} belongs to another vendor")
                continue
            encoded = dict(part.raw)
        elif isinstance(part, MediaPart):
            encoded = encode_media(part, path, lost)
        else:
            continue
        media = as_object(encoded.get("inlineData") or encoded.get("fileData"))
        if profile.function_response_media and media.get("mimeType") in RESULT_MEDIA:
            inside.append(encoded)
        else:
            outside.append(encoded)
    if outside:
        lost.approximated(call.result_path, "media of a tool result follow it in the same turn", info=True)
    return inside, outside
