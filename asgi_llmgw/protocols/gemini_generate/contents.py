"""The conversation as `contents` and `systemInstruction`.

What is written for a history does not change when the history grows: prompt caches and signatures depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, assert_never

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
    CacheMark,
    ChatRequest,
    CitationPart,
    MediaPart,
    Message,
    Opaque,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)
from asgi_llmgw.json import JSONObject, JSONValue
from asgi_llmgw.protocols.base import Diagnostics, Profile, unsupported

from .media import encode_media
from .results import Call, Calls, encode_call, encode_results
from .wire import PROTOCOL, SKIP_SIGNATURE

_OPENING: Final = "(The conversation starts here.)"
_SIGNATURE: Final = "thoughtSignature"


class _Turn:
    """Neighbouring messages of one role."""

    __slots__ = ("calls", "parts", "role")

    def __init__(self, role: Literal["user", "model"]) -> None:
        self.role = role
        self.parts: list[JSONObject] = []
        self.calls: list[Call] = []


def encode_contents(request: ChatRequest, profile: Profile, lost: Diagnostics) -> JSONObject:
    """`contents`, and `systemInstruction` where there is one.

    Raises:
        InvalidRequest: no messages, a part Gemini cannot be given, or calls and results that do not match.
    """
    if not request.messages:
        raise InvalidRequest("There are no messages.", param="messages")
    talk = request.talk
    if talk is not None:
        said: list[JSONValue] = [
            {"role": role, "parts": [{"text": text}]} for role, text in talk.by_speaker("user", "model")
        ]
        if talk.system is None:
            return {"contents": said}
        history = _History(profile, lost)
        history.add(talk.system, "messages[0]")
        return history.body(said)
    history = _History(profile, lost)
    for index, message in enumerate(request.messages):
        history.add(message, f"messages[{index}]")
    return history.finish()


class _History:
    def __init__(self, profile: Profile, lost: Diagnostics) -> None:
        self._profile = profile
        self._lost = lost
        self._calls = Calls(lost)
        self._turns: list[_Turn] = []
        self._system: list[list[JSONObject]] = []

    def add(self, message: Message, path: str) -> None:
        if message.name is not None:
            self._lost.dropped(f"{path}.name", "Gemini has no names for speakers", info=True)
        match message.role:
            case "system" | "developer":
                self._add_system(message, path)
            case "user" | "tool":
                turn = self._turn("user")
                for part, where in _with_paths(message, path):
                    turn.parts += self._user_part(part, where)
            case "assistant":
                self._add_assistant(message, path)
            case _:
                assert_never(message.role)

    def finish(self) -> JSONObject:
        self._calls.check()
        contents = self._contents()
        system = self._system
        if not contents and system:
            self._lost.approximated("messages", "there are system messages only; the last one is sent as the user's")
            contents = [("user", system.pop())]
        if not contents:
            # contents without parts are refused, and so are none at all
            contents = [("user", [{"text": " "}])]
        if contents[0][0] == "model":
            self._lost.approximated("messages[0]", "Gemini wants the user to begin; a short text is put in front")
            contents.insert(0, ("user", [{"text": _OPENING}]))
        return self.body([{"role": role, "parts": list[JSONValue](parts)} for role, parts in contents])

    def body(self, contents: list[JSONValue]) -> JSONObject:
        body: JSONObject = {"contents": contents}
        instruction: list[JSONValue] = [part for parts in self._system for part in parts]
        if instruction:
            body["systemInstruction"] = {"parts": instruction}
        return body

    def _contents(self) -> list[tuple[str, list[JSONObject]]]:
        """The turns that have something to say, results after their calls, neighbours of one role joined."""
        contents: list[tuple[str, list[JSONObject]]] = []
        for turn in self._turns:
            _append(contents, turn.role, turn.parts)
            responses, after = encode_results(turn.calls, self._profile, self._lost)
            _append(contents, "user", responses + after)
        if self._profile.thought_signatures:
            for role, parts in contents:
                call = next((part for part in parts if "functionCall" in part), None) if role == "model" else None
                if call is not None:
                    call.setdefault(_SIGNATURE, SKIP_SIGNATURE)
        return contents

    def _turn(self, role: Literal["user", "model"]) -> _Turn:
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(_Turn(role))
        return self._turns[-1]

    def _add_system(self, message: Message, path: str) -> None:
        parts: list[JSONObject] = []
        for part, where in _with_paths(message, path):
            if not isinstance(part, (TextPart, RefusalPart)):
                raise unsupported(where, "Gemini takes system messages of text only.")
            self._cache(part.cache if isinstance(part, TextPart) else None, where)
            if part.text:
                parts.append({"text": part.text})
        if not parts:
            return
        if not self._turns:
            self._system.append(parts)
        elif self._profile.mid_system == "hoist":
            self._lost.approximated(path, "system messages are moved to the front")
            self._system.append(parts)
        else:
            self._lost.approximated(path, "sent as a marked text of the user's")
            self._turn("user").parts += [{"text": f"<system>\n{part['text']}\n</system>"} for part in parts]

    def _user_part(self, part: Part, path: str) -> list[JSONObject]:
        match part:
            case ToolResultPart():
                self._calls.answer(part, path)
                return []
            case ToolCallPart():
                raise InvalidRequest("Only the assistant calls tools.", param=path)
            case ReasoningPart():
                self._lost.dropped(path, "reasoning is the assistant's", info=True)
                return []
            case _:
                return self._said(part, path)

    def _add_assistant(self, message: Message, path: str) -> None:
        turn = self._turn("model")
        pending: tuple[str, JSONObject | None] | None = None
        for part, where in _with_paths(message, path):
            if isinstance(part, ReasoningPart):
                signature = self._own(part.opaque, where)
                if signature is None:
                    if part.text and part.opaque is None:
                        self._lost.dropped(where, "reasoning without its signature means nothing to Gemini", info=True)
                    continue
                _settle(turn.parts, pending)
                thought: JSONObject | None = {"text": part.text, "thought": True} if part.text else None
                turn.parts += [thought] if thought is not None else []
                pending = (signature, thought)
                continue
            for encoded in self._model_part(part, where, turn):
                if pending is not None and _SIGNATURE not in encoded and "thought" not in encoded:
                    encoded[_SIGNATURE] = pending[0]
                else:
                    _settle(turn.parts, pending)
                pending = None
                turn.parts.append(encoded)
        _settle(turn.parts, pending)

    def _model_part(self, part: Part, path: str, turn: _Turn) -> list[JSONObject]:
        if isinstance(part, ToolResultPart):
            raise InvalidRequest("The assistant does not answer tool calls.", param=path)
        if not isinstance(part, ToolCallPart):
            return self._said(part, path)
        call = self._calls.add(part, path)
        turn.calls.append(call)
        self._cache(part.cache, path)
        return [self._signed(encode_call(call, self._profile, self._lost), part.signature, path)]

    def _said(self, part: Part, path: str) -> list[JSONObject]:
        """A part either side can say; none where nothing is left of it."""
        match part:
            case TextPart():
                self._cache(part.cache, path)
                encoded = self._signed({"text": part.text}, part.signature, path)
                return [encoded] if part.text or _SIGNATURE in encoded else []
            case RefusalPart():
                return [{"text": part.text}] if part.text else []
            case MediaPart():
                self._cache(part.cache, path)
                return [self._signed(encode_media(part, path, self._lost), part.signature, path)]
            case CitationPart():
                self._lost.dropped(path, "Gemini takes no citations back", info=True)
                return []
            case UnknownPart():
                if part.protocol == PROTOCOL:
                    return [dict(part.raw)] if part.raw else []
                self._lost.dropped(path, f"{part.kind or 'this part'} belongs to another vendor")
                return []
            case _:
                return []

    def _signed(self, encoded: JSONObject, opaque: Opaque | None, path: str) -> JSONObject:
        signature = self._own(opaque, path)
        if signature is not None:
            encoded[_SIGNATURE] = signature
        return encoded

    def _own(self, opaque: Opaque | None, path: str) -> str | None:
        """The payload, if Gemini made it: nobody else's state is ever shown to it."""
        if opaque is None:
            return None
        if opaque.protocol != PROTOCOL:
            self._lost.dropped(path, "the signature belongs to another vendor", info=True)
            return None
        return opaque.payload or None

    def _cache(self, mark: CacheMark | None, path: str) -> None:
        if mark is not None:
            self._lost.dropped(f"{path}.cache_control", "Gemini caches by itself", info=True)


def _settle(parts: list[JSONObject], pending: tuple[str, JSONObject | None] | None) -> None:
    """A signature that found no part to stand on: on its own thought, or on an empty text."""
    if pending is None:
        return
    signature, thought = pending
    if thought is not None:
        thought[_SIGNATURE] = signature
    else:
        parts.append({"text": "", _SIGNATURE: signature})


def _append(contents: list[tuple[str, list[JSONObject]]], role: str, parts: Iterable[JSONObject]) -> None:
    added = list(parts)
    if added and contents and contents[-1][0] == role:
        contents[-1][1].extend(added)
    elif added:
        contents.append((role, added))


def _with_paths(message: Message, path: str) -> Iterator[tuple[Part, str]]:
    for index, part in enumerate(message.parts):
        yield part, f"{path}.content[{index}]"
