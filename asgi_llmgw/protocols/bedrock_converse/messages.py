"""Turns: a conversation in which user and assistant alternate, and every call is answered at once."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, assert_never

import msgspec

from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.ir import (
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
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, loads
from asgi_llmgw.protocols.base import Diagnostics, Profile, unsupported
from asgi_llmgw.protocols.calls import Call, CallBook

from .content import ContentEncoder, text_block
from .tools import tool_name

_OPENING: Final = "(The conversation continues.)"
_SEE_DOCUMENT: Final = "(See the document.)"
_Role: TypeAlias = Literal["user", "assistant"]


class Turn(msgspec.Struct):
    """One message of the wire while it is built.

    `calls` are the calls of an assistant turn; `moved` is what the assistant may not hold and the next user turn gets.
    """

    role: _Role
    blocks: list[JSONObject] = msgspec.field(default_factory=list)
    calls: list[Call] = msgspec.field(default_factory=list)
    moved: list[JSONObject] = msgspec.field(default_factory=list)


def encode_conversation(
    request: ChatRequest, profile: Profile, content: ContentEncoder, notes: Diagnostics
) -> tuple[list[JSONObject], list[Turn]]:
    """The blocks of `system` and the turns of `messages`.

    Raises:
        InvalidRequest: there is no message, or something in one has no counterpart.
    """
    if not request.messages:
        raise InvalidRequest("There are no messages.", param="messages")
    writer = _Writer(CallBook(request.messages, notes), profile, content, notes)
    for m, message in enumerate(request.messages):
        writer.add(m, message)
    turns = _joined(writer.answered())
    if turns and turns[-1].role == "assistant":
        _trim_prefill(turns[-1])
    if not turns or turns[0].role != "user":
        notes.defaulted("messages[0]", "The first message must be the user's, so a fixed one is put before.")
        turns.insert(0, Turn("user", [text_block(_OPENING)]))
    for turn in turns:
        if any("document" in block for block in turn.blocks) and not any("text" in block for block in turn.blocks):
            notes.defaulted("messages", "A document must come with text, so a fixed one is put beside it.")
            turn.blocks.append(text_block(_SEE_DOCUMENT))
    return writer.system, turns


class _Writer:
    """Collects turns, message by message. What it makes of a message never depends on a later one."""

    def __init__(self, book: CallBook, profile: Profile, content: ContentEncoder, notes: Diagnostics) -> None:
        self.system: list[JSONObject] = []
        self._turns: list[Turn] = []
        self._book = book
        self._profile = profile
        self._content = content
        self._notes = notes

    def add(self, m: int, message: Message) -> None:
        if message.name is not None and message.role != "tool":
            self._notes.dropped(f"messages[{m}].name", "Messages have no names here.", info=True)
        match message.role:
            case "system" | "developer":
                self._system(m, message)
            case "assistant":
                turn = self._turn("assistant")
                for p, part in enumerate(message.parts):
                    self._assistant_part(turn, part, m, p)
            case "user" | "tool":
                turn = self._turn("user")
                for p, part in enumerate(message.parts):
                    self._user_part(turn, part, f"messages[{m}].content[{p}]")
            case _:
                assert_never(message.role)

    def answered(self) -> list[Turn]:
        """All turns, and after every assistant's one that begins with the results of its calls, in their order."""
        result: list[Turn] = []
        for turn in self._turns:
            result.append(turn)
            answers = Turn("user")
            for call in turn.calls:
                if call.answer is not None:
                    part, path = call.answer.part, call.answer.path
                    # inside of a result is no place for a cache point
                    marks = (part.cache, *(inner.cache for inner in part.content if not isinstance(inner, UnknownPart)))
                    mark = next((mark for mark in marks if mark is not None), None)
                    block = self._content.result(part, call.id, path)
                    self._content.add(answers.blocks, block, mark, "messages", path)
            answers.blocks += turn.moved
            result.append(answers)
        return result

    def _turn(self, role: _Role) -> Turn:
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(Turn(role))
        return self._turns[-1]

    def _system(self, m: int, message: Message) -> None:
        hoist = not self._turns or self._profile.mid_system == "hoist"
        if self._turns:
            said = "is moved to the front" if hoist else "is sent as marked user text"
            self._notes.approximated(f"messages[{m}]", f"A later system message {said}.")
        target = self.system if hoist else self._turn("user").blocks
        for p, part in enumerate(message.parts):
            path = f"messages[{m}].content[{p}]"
            match part:
                case TextPart():
                    blocks = self._content.text(part, path)
                    mark = part.cache
                case UnknownPart():
                    blocks, mark = self._content.unknown(part, path), None
                case _:
                    raise unsupported(path, "A system message can hold text only.")
            marked = blocks if hoist else [_marked(block) for block in blocks]
            self._content.add(target, marked, mark if blocks else None, "system" if hoist else "messages", path)

    def _user_part(self, turn: Turn, part: Part, path: str) -> None:
        match part:
            case TextPart():
                blocks = self._content.text(part, path)
                self._content.add(turn.blocks, blocks, part.cache, "messages", path)
            case MediaPart():
                self._content.add(turn.blocks, self._content.media(part, path), part.cache, "messages", path)
            case UnknownPart():
                turn.blocks += self._content.unknown(part, path)
            case RefusalPart():
                turn.blocks += self._content.text(TextPart(part.text), path)
            case ToolResultPart():
                pass  # it goes to its call
            case ReasoningPart() | ToolCallPart() | CitationPart():
                self._notes.dropped(path, "A user's message cannot hold this.")
            case _:
                assert_never(part)

    def _assistant_part(self, turn: Turn, part: Part, m: int, p: int) -> None:
        path = f"messages[{m}].content[{p}]"
        match part:
            case TextPart():
                blocks = self._content.text(part, path)
                self._content.add(turn.blocks, blocks, part.cache, "messages", path)
            case RefusalPart():
                turn.blocks += self._content.text(TextPart(part.text), path)
            case ReasoningPart():
                turn.blocks += self._reasoning(part, path)
            case ToolCallPart():
                call = self._book.call(m, p)
                turn.calls.append(call)
                block = _tool_use(part, call.id, path, self._notes)
                self._content.add(turn.blocks, [block], part.cache, "messages", path)
            case CitationPart():
                self._notes.dropped(path, "The citation has no form here.", info=True)
            case MediaPart():
                self._move_media(turn, part, path)
            case UnknownPart():
                turn.blocks += self._content.unknown(part, path)
            case ToolResultPart():
                pass  # it goes to its call
            case _:
                assert_never(part)

    def _reasoning(self, part: ReasoningPart, path: str) -> list[JSONObject]:
        """Thinking goes back as it came, or not at all: a signature is never made up (R1, R3)."""
        match part.opaque:
            case Opaque(protocol="bedrock_converse", kind="signature", payload=payload):
                return [{"reasoningContent": {"reasoningText": {"text": part.text, "signature": payload}}}]
            case Opaque(protocol="bedrock_converse", kind="redacted", payload=payload):
                return [{"reasoningContent": {"redactedContent": payload}}]
            case _:
                self._notes.dropped(path, "Thinking that this vendor has not signed cannot be sent back.", info=True)
                return []

    def _move_media(self, turn: Turn, part: MediaPart, path: str) -> None:
        if part.kind == "audio" and part.transcript:
            self._notes.approximated(path, "Speech goes back as its transcript.")
            turn.blocks += self._content.text(TextPart(part.transcript), path)
        elif part.kind in ("audio", "video"):
            self._notes.dropped(path, f"An assistant's message cannot hold {part.kind}.")
        else:
            self._notes.approximated(path, "The assistant's picture is shown in the user's next message.")
            turn.moved += self._content.media(part, path)


def _tool_use(part: ToolCallPart, call_id: str, path: str, notes: Diagnostics) -> JSONObject:
    return {"toolUse": {"toolUseId": call_id, "name": tool_name(part.name), "input": _input(part, path, notes)}}


def _input(part: ToolCallPart, path: str, notes: Diagnostics) -> JSONObject:
    """The arguments as the object that is required here; whatever else they are is wrapped into one."""
    if part.kind == "custom":
        return {"input": part.arguments}
    if not part.arguments.strip():
        return {}
    value: JSONValue
    try:
        value = loads(part.arguments)
    except JSONError:
        value = part.arguments
    if isinstance(value, dict):
        return value
    notes.approximated(f"{path}.arguments", "Arguments that are not an object are sent as its member `input`.")
    return {"input": value}


def _marked(block: JSONObject) -> JSONObject:
    text = block.get("text")
    return block if text is None else text_block(f"<system>\n{text}\n</system>")


def _joined(turns: list[Turn]) -> list[Turn]:
    """Neighbours of one role as one turn, empty ones left out."""
    result: list[Turn] = []
    for turn in turns:
        if not turn.blocks:
            continue
        if result and result[-1].role == turn.role:
            result[-1] = Turn(turn.role, result[-1].blocks + turn.blocks)
        else:
            result.append(turn)
    return result


def _trim_prefill(turn: Turn) -> None:
    """White space at the end of a prefill is refused."""
    for block in reversed(turn.blocks):
        if "cachePoint" not in block:
            block |= text_block(str(block["text"]).rstrip()) if "text" in block else {}
            return
