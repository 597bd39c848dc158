"""`contents` and `systemInstruction`, read into messages.

One streamed turn may come back in several contents, and one text in several parts: neighbours that are one turn, or
one unsigned text, are joined again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    Extension,
    MediaPart,
    Message,
    Opaque,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)
from asgi_llmgw.json import JSONObject, JSONValue, as_object, dumps_text
from asgi_llmgw.protocols.fields import invalid, missing

from .carriers import is_foreign, own_signature, unpack
from .fields import GeminiFields
from .media_decoder import decode_file, decode_inline, resolution
from .wire import PROTOCOL

_ROLES: Final = {"user": "user", "model": "model", "function": "user"}
_ONLY_OURS: Final = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
_DATA: Final = frozenset({"text", "inlineData", "fileData", "functionCall", "functionResponse", *_ONLY_OURS})
_PART: Final = frozenset({*_DATA, "thought", "thoughtSignature", "mediaResolution"})
_CONTENT: Final = frozenset({"role", "parts"})
_CALL: Final = frozenset({"id", "name", "args"})
_RESPONSE: Final = frozenset({"id", "name", "response", "parts"})


class ContentDecoder:
    """Reads contents in order; results find the calls before them.

    Args:
        detail: the resolution the request asks for, where a part has none of its own.

    Attributes:
        extensions: what stood on contents and parts and means something to nobody else.
    """

    __slots__ = ("_calls", "_detail", "extensions")

    def __init__(self, detail: str | None = None) -> None:
        self._detail = detail
        self._calls = _Calls(frozenset())
        self.extensions: list[Extension] = []

    def system(self, value: JSONValue) -> list[Message]:
        """`systemInstruction`: a content, whose role says nothing, a part, or text alone.

        Raises:
            InvalidRequest: it is not text.
        """
        path = "systemInstruction"
        if value is None:
            return []
        if isinstance(value, str):
            return [Message("system", (TextPart(value),))] if value else []
        content = GeminiFields.of(value, path)
        if "parts" not in content.data and "text" in content.data:
            content = GeminiFields({"parts": [content.raw]}, path)
        self.extensions += content.others(_CONTENT)
        parts: list[Part] = []
        for part in content.objects("parts"):
            text = part.text("text")
            if text is None:
                raise invalid(part.path, "A system instruction is made of text.")
            self.extensions += part.others(_PART)
            parts += [TextPart(text)] if text else []
        return [Message("system", tuple(parts))] if parts else []

    def contents(self, fields: GeminiFields) -> list[Message]:
        """The conversation.

        Raises:
            InvalidRequest: it cannot be read, or a result answers no call.
        """
        value = fields.data.get("contents")
        if isinstance(value, str):
            return [Message("user", (TextPart(value),))]
        contents = list(fields.objects("contents"))
        if not contents:
            raise missing("contents")
        self._calls = _Calls(frozenset(_ids(contents)))
        messages: list[Message] = []
        turn = _Turn()
        for content in contents:
            role = content.text("role") or "user"
            if role not in _ROLES:
                raise invalid(content.at("role"), f"Invalid value: '{role}'. Please use a valid role: user, model.")
            self.extensions += content.others(_CONTENT)
            if _ROLES[role] == "model":
                self._model(content, turn)
            elif said := list(self._user(content)):
                messages += [*turn.finish(), *said]
        messages += turn.finish()
        if not messages:
            raise invalid("contents", "Invalid 'contents': there is nothing in them.")
        return messages

    def _model(self, content: GeminiFields, turn: _Turn) -> None:
        if not turn.begun:
            self._calls.turn()
        for part in content.objects("parts"):
            for decoded in self._model_part(part):
                turn.add(decoded)

    def _user(self, content: GeminiFields) -> Iterator[Message]:
        """Results make a turn of their own, between what else the user says."""
        said: list[Part] = []
        results: list[Part] = []
        for part in content.objects("parts"):
            decoded = self._user_part(part)
            if isinstance(decoded, ToolResultPart):
                results.append(decoded)
            elif decoded is not None:
                said.append(decoded)
        if results:
            yield Message("tool", tuple(results))
        if said:
            yield Message("user", tuple(said))

    def _user_part(self, part: GeminiFields) -> Part | None:
        kind = self._kind(part)
        if part.has("thoughtSignature"):
            self.extensions.append(
                Extension(PROTOCOL, part.at("thoughtSignature"), part.data["thoughtSignature"], "info")
            )
        if kind == "functionResponse":
            return self._result(GeminiFields.of(part.data[kind], part.at(kind)))
        if kind == "functionCall":
            raise invalid(part.at(kind), "Only the model calls functions.")
        return self._said(kind, part, None)

    def _model_part(self, part: GeminiFields) -> Iterator[Part]:
        kind = self._kind(part)
        if kind == "functionResponse":
            raise invalid(part.at(kind), "The model does not answer function calls.")
        signature: Opaque | None = None
        payload = part.text("thoughtSignature")
        if payload:
            foreign = unpack(payload)
            signature = own_signature(payload) if foreign is None else None
            yield from foreign or ()
        thinking = part.flag("thought")
        if kind == "functionCall":
            yield self._call(GeminiFields.of(part.data[kind], part.at(kind)), signature)
        elif kind == "text" and thinking:
            yield ReasoningPart(part.required_text(kind), signature)
        elif kind is None and signature is not None:
            yield TextPart("", signature=signature)
        elif kind is not None and (decoded := self._said(kind, part, signature)) is not None:
            yield decoded

    def _kind(self, part: GeminiFields) -> str | None:
        """Which one of its fields holds the data."""
        found = [name for name, value in part.data.items() if name in _DATA and value is not None]
        if len(found) > 1:
            raise invalid(part.path, f"A part has one of {', '.join(found)}, not all of them.")
        self.extensions += part.others(_PART)
        return found[0] if found else None

    def _said(self, kind: str | None, part: GeminiFields, signature: Opaque | None) -> Part | None:
        """A part either side can say."""
        match kind:
            case None:
                return None
            case "text":
                return TextPart(part.required_text(kind), signature=signature)
            case "inlineData":
                blob = GeminiFields.of(part.data[kind], part.at(kind))
                media = decode_inline(blob, self._seen(part), self.extensions)
            case "fileData":
                file = GeminiFields.of(part.data[kind], part.at(kind))
                media = decode_file(file, self._seen(part), self.extensions)
            case _:
                return UnknownPart(PROTOCOL, part.raw, kind)
        return media if signature is None else msgspec.structs.replace(media, signature=signature)

    def _seen(self, part: GeminiFields) -> str | None:
        """The resolution of one part, which stands in an object, or that of the request."""
        value = part.data.get("mediaResolution")
        own = part if isinstance(value, str) else part.object("mediaResolution")
        if own is None:
            return self._detail
        if own is not part:
            self.extensions += own.others(frozenset({"level"}))
        key = "mediaResolution" if own is part else "level"
        return resolution(own.word(key), own.at(key)) or self._detail

    def _call(self, call: GeminiFields, signature: Opaque | None) -> ToolCallPart:
        name = call.required_text("name")
        arguments = call.raw_object("args") or {}
        self.extensions += call.others(_CALL)
        call_id = self._calls.add(call.text("id") or "", name)
        return ToolCallPart(call_id, name, dumps_text(arguments), signature=signature)

    def _result(self, response: GeminiFields) -> ToolResultPart:
        call = self._calls.answer(response.text("id") or "", response.text("name") or "")
        if call is None:
            name = response.required_text("name")
            detail = f"There is no function call of '{name}' before this response."
            raise InvalidRequest(detail, param=response.path, code="tool_result_without_call")
        call_id, name = call
        self.extensions += response.others(_RESPONSE)
        text, is_error = _payload(response.raw_object("response") or {})
        content: list[TextPart | MediaPart | UnknownPart] = [] if text is None else [TextPart(text)]
        for part in response.objects("parts"):
            kind = self._kind(part)
            decoded = self._said(kind, part, None)
            if isinstance(decoded, (MediaPart, UnknownPart, TextPart)):
                content.append(decoded)
        return ToolResultPart(call_id, tuple(content), name, is_error)


class _Turn:
    """Collects what the model says in one turn; unsigned texts that stand together are one, and so are thoughts."""

    __slots__ = ("_parts", "_texts", "_thinking")

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._texts: list[str] = []
        self._thinking = False

    @property
    def begun(self) -> bool:
        """Whether anything was said."""
        return bool(self._parts or self._texts)

    def add(self, part: Part) -> None:
        """Take one part."""
        match part:
            case TextPart(signature=None):
                self._say(part.text, thinking=False)
            case ReasoningPart(opaque=None):
                self._say(part.text, thinking=True)
            case _:
                if isinstance(part, ReasoningPart) and is_foreign(part) and self._thinking:
                    # the same thoughts, which the client kept beside the signature they travelled in
                    self._texts.clear()
                self._settle()
                self._parts.append(part)

    def finish(self) -> list[Message]:
        """The message this turn is, if anything was said; what follows is another turn."""
        self._settle()
        parts, self._parts = self._parts, []
        return [Message("assistant", tuple(parts))] if parts else []

    def _say(self, text: str, *, thinking: bool) -> None:
        if self._thinking != thinking:
            self._settle()
            self._thinking = thinking
        if text:
            self._texts.append(text)

    def _settle(self) -> None:
        if self._texts:
            text = "".join(self._texts)
            self._parts.append(ReasoningPart(text) if self._thinking else TextPart(text))
            self._texts.clear()


class _Calls:
    """Gives ids to calls that have none, the same in every request of the conversation, and finds calls by results."""

    __slots__ = ("_answered", "_count", "_given", "_last", "_names", "_turn", "_waiting")

    def __init__(self, given: frozenset[str]) -> None:
        self._given = given
        self._count = 0
        self._turn = 0
        self._names: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self._waiting: dict[str, deque[tuple[str, int]]] = {}
        self._answered: set[str] = set()

    def turn(self) -> None:
        """The model speaks again: results without an id are for its new calls."""
        self._turn += 1

    def add(self, call_id: str, name: str) -> str:
        """The id of a call."""
        if not call_id:
            call_id = f"call_{self._count}"
            while call_id in self._given:
                call_id += "_"
        self._count += 1
        self._names[call_id] = self._names.get(call_id, name)
        self._last[name] = call_id
        self._answered.discard(call_id)
        self._waiting.setdefault(name, deque()).append((call_id, self._turn))
        return call_id

    def answer(self, call_id: str, name: str) -> tuple[str, str] | None:
        """Id and name of a result's call: by id, else the first of that name that waits, else the last told."""
        if call_id not in self._names:
            call_id = self._first(name) or self._last.get(name, "")
        if not call_id:
            return None
        self._answered.add(call_id)
        return call_id, self._names[call_id]

    def _first(self, name: str) -> str:
        waiting = self._waiting.get(name) or deque()
        while waiting:
            call_id, turn = waiting.popleft()
            if turn == self._turn and call_id not in self._answered:
                return call_id
        return ""


def _ids(contents: Iterable[GeminiFields]) -> Iterator[str]:
    """The ids that clients gave to calls."""
    for content in contents:
        for part in content.array("parts"):
            fields = as_object(part)
            call_id = as_object(fields.get("functionCall") or fields.get("function_call")).get("id")
            if isinstance(call_id, str) and call_id:
                yield call_id


def _payload(response: JSONObject) -> tuple[str | None, bool | None]:
    """What a function answered, as text: `output` or `error` alone by convention, else the whole object."""
    said = {key: value for key, value in response.items() if value is not None}
    if not said:
        return None, None
    if len(said) == 1:
        ((key, value),) = said.items()
        if key in ("output", "error"):
            text = value if isinstance(value, str) else dumps_text(value)
            return text or None, True if key == "error" else None
    return dumps_text(response), None
