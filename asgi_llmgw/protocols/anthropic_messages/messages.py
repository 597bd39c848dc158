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
    Talk,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)
from asgi_llmgw.json import JSONError, JSONObject, JSONValue, loads
from asgi_llmgw.protocols.base import Diagnostics, Profile, unsupported
from asgi_llmgw.protocols.calls import Call, CallBook

from .content import encode_media, encode_result, encode_text, encode_unknown, text_block, with_cache
from .tools import tool_name
from .wire import NAME

_OPENING: Final = "(The conversation continues.)"
_Role: TypeAlias = Literal["user", "assistant", "system"]


class Turn(msgspec.Struct):
    """One message of the wire while it is built.

    `calls` are the calls of an assistant turn; `moved` is what the assistant may not hold and the next user turn gets.
    """

    role: _Role
    blocks: list[JSONObject] = msgspec.field(default_factory=list)
    calls: list[Call] = msgspec.field(default_factory=list)
    moved: list[JSONObject] = msgspec.field(default_factory=list)


class Conversation(msgspec.Struct):
    """The blocks of `system` and all `messages`.

    `thoughtless`: the last thing said are results of calls that the model made, as far as it is told, without thinking.
    """

    system: list[JSONObject]
    messages: list[JSONValue]
    thoughtless: bool = False


def encode_conversation(request: ChatRequest, profile: Profile, notes: Diagnostics) -> Conversation:
    """All that was said.

    Raises:
        InvalidRequest: there is no message, or something in one has no counterpart.
    """
    if not request.messages:
        raise InvalidRequest("There are no messages.", param="messages")
    if request.talk is not None:
        return _talk(request.talk, profile, notes)
    writer = _Writer(CallBook(request.messages, notes), profile, notes)
    for m, message in enumerate(request.messages):
        writer.add(m, message)
    turns = _joined(_legal(_answered(writer.turns, notes)))
    if turns and turns[-1].role == "assistant":
        _trim_prefill(turns[-1])
    if not turns or turns[0].role != "user":
        notes.defaulted("messages[0]", "The first message must be the user's, so a fixed one is put before.")
        turns.insert(0, Turn("user", [text_block(_OPENING)]))
    messages: list[JSONValue] = [{"role": turn.role, "content": [*turn.blocks]} for turn in turns]
    return Conversation(writer.system, messages, _thoughtless(turns))


def _talk(talk: Talk, profile: Profile, notes: Diagnostics) -> Conversation:
    """What is said in turn needs no putting in order."""
    system: list[JSONObject] = []
    if talk.system is not None:
        writer = _Writer(CallBook((), notes), profile, notes)
        writer.add(0, talk.system)
        system = writer.system
    messages: list[JSONValue] = [
        {"role": role, "content": [{"type": "text", "text": text}]} for role, text in talk.by_speaker()
    ]
    return Conversation(system, messages)


def _thoughtless(turns: list[Turn]) -> bool:
    spoken = [turn for turn in turns if turn.role != "system"]
    if spoken[-1].blocks[0].get("type") != "tool_result":
        return False
    return spoken[-2].blocks[0].get("type") not in ("thinking", "redacted_thinking")


class _Writer:
    """Collects turns, message by message. What it makes of a message never depends on a later one (trap 22)."""

    def __init__(self, book: CallBook, profile: Profile, notes: Diagnostics) -> None:
        self.system: list[JSONObject] = []
        self.turns: list[Turn] = []
        self._book = book
        self._profile = profile
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

    def _turn(self, role: _Role) -> Turn:
        if not self.turns or self.turns[-1].role != role:
            self.turns.append(Turn(role))
        return self.turns[-1]

    def _system(self, m: int, message: Message) -> None:
        blocks = self._system_blocks(m, message)
        if not self.turns:
            self.system += blocks
        elif self._profile.mid_system == "system":
            self._turn("system").blocks += blocks
        elif self._profile.mid_system == "user":
            self._notes.approximated(f"messages[{m}]", "A later system message is sent as marked user text.")
            self._turn("user").blocks += [_marked(block) for block in blocks]
        else:
            self._notes.approximated(f"messages[{m}]", "A later system message is moved to the front.")
            self.system += blocks

    def _system_blocks(self, m: int, message: Message) -> list[JSONObject]:
        blocks: list[JSONObject] = []
        for p, part in enumerate(message.parts):
            path = f"messages[{m}].content[{p}]"
            match part:
                case TextPart():
                    block = encode_text(part, path, self._notes)
                case UnknownPart():
                    block = encode_unknown(part, path, self._notes)
                case _:
                    raise unsupported(path, "A system message can hold text only.")
            if block is not None:
                blocks.append(block)
        return blocks

    def _user_part(self, turn: Turn, part: Part, path: str) -> None:
        block: JSONObject | None = None
        match part:
            case TextPart():
                block = encode_text(part, path, self._notes)
            case MediaPart():
                block = encode_media(part, path, self._notes)
            case UnknownPart():
                block = encode_unknown(part, path, self._notes)
            case RefusalPart():
                block = encode_text(TextPart(part.text), path, self._notes)
            case ToolResultPart():
                pass  # it goes to its call
            case ReasoningPart() | ToolCallPart() | CitationPart():
                self._notes.dropped(path, "A user's message cannot hold this.")
            case _:
                assert_never(part)
        if block is not None:
            turn.blocks.append(block)

    def _assistant_part(self, turn: Turn, part: Part, m: int, p: int) -> None:
        path = f"messages[{m}].content[{p}]"
        block: JSONObject | None = None
        match part:
            case TextPart():
                block = encode_text(part, path, self._notes)
            case RefusalPart():
                block = encode_text(TextPart(part.text), path, self._notes)
            case ReasoningPart():
                block = self._reasoning(part, path)
            case ToolCallPart():
                call = self._book.call(m, p)
                turn.calls.append(call)
                block = _tool_use(part, call.id, path, self._notes)
            case CitationPart():
                self._cite(turn, part, path)
            case MediaPart():
                self._move_media(turn, part, path)
            case UnknownPart():
                block = encode_unknown(part, path, self._notes)
            case ToolResultPart():
                pass  # it goes to its call
            case _:
                assert_never(part)
        if block is not None:
            turn.blocks.append(block)

    def _reasoning(self, part: ReasoningPart, path: str) -> JSONObject | None:
        """Thinking goes back as it came, or not at all: a signature is never made up (R1, R3)."""
        if self._profile.thinking != "none":
            match part.opaque:
                case Opaque(protocol="anthropic_messages", kind="signature", payload=payload):
                    return {"type": "thinking", "thinking": part.text, "signature": payload}
                case Opaque(protocol="anthropic_messages", kind="redacted", payload=payload):
                    return {"type": "redacted_thinking", "data": payload}
                case _:
                    pass
        self._notes.dropped(path, "Thinking that this vendor has not signed cannot be sent back.", info=True)
        return None

    def _cite(self, turn: Turn, part: CitationPart, path: str) -> None:
        block = turn.blocks[-1] if turn.blocks else None
        if part.protocol != NAME or part.raw is None or block is None or block.get("type") != "text":
            self._notes.dropped(path, "The citation has no form here.", info=True)
            return
        citations = block.setdefault("citations", [])
        if isinstance(citations, list):
            citations.append(part.raw)

    def _move_media(self, turn: Turn, part: MediaPart, path: str) -> None:
        if part.kind == "audio" and part.transcript:
            self._notes.approximated(path, "Speech goes back as its transcript.")
            turn.blocks.append(text_block(part.transcript))
        elif part.kind in ("audio", "video"):
            self._notes.dropped(path, f"The model takes no {part.kind}.")
        else:
            self._notes.approximated(path, "The assistant's picture is shown in the user's next message.")
            turn.moved.append(encode_media(part, path, self._notes))


def _tool_use(part: ToolCallPart, call_id: str, path: str, notes: Diagnostics) -> JSONObject:
    block: JSONObject = {
        "type": "tool_use",
        "id": call_id,
        "name": tool_name(part.name),
        "input": _input(part, path, notes),
    }
    return with_cache(block, part.cache, path, notes)


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


def _answered(turns: list[Turn], notes: Diagnostics) -> list[Turn]:
    """After every assistant turn a user turn that begins with the results of its calls, in their order."""
    result: list[Turn] = []
    for turn in turns:
        result.append(turn)
        blocks = [
            encode_result(call.answer.part, call.id, call.answer.path, notes)
            for call in turn.calls
            if call.answer is not None
        ]
        if blocks or turn.moved:
            result.append(Turn("user", blocks + turn.moved))
    return result


def _legal(turns: list[Turn]) -> list[Turn]:
    """System turns where they may stand: after a user's or what the vendor's own tool answered, before an assistant's
    or at the end. Others are user text."""
    turns = [turn for turn in turns if turn.blocks]
    result: list[Turn] = []
    for i, turn in enumerate(turns):
        if turn.role == "system":
            after_user = bool(result) and (result[-1].role == "user" or _answered_by_vendor(result[-1]))
            before_assistant = i + 1 == len(turns) or turns[i + 1].role == "assistant"
            result.append(turn if after_user and before_assistant else _as_user(turn))
        else:
            result.append(turn)
    return result


def _answered_by_vendor(turn: Turn) -> bool:
    kind = turn.blocks[-1].get("type")
    return turn.role == "assistant" and isinstance(kind, str) and kind.endswith("_tool_result")


def _as_user(turn: Turn) -> Turn:
    return Turn("user", [_marked(block) for block in turn.blocks])


def _marked(block: JSONObject) -> JSONObject:
    if block.get("type") != "text":
        return block
    return {**block, "text": f"<system>\n{block['text']}\n</system>"}


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
    last = turn.blocks[-1]
    text = last.get("text")
    if last.get("type") == "text" and isinstance(text, str):
        last["text"] = text.rstrip()
