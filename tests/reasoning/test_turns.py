from __future__ import annotations

import msgspec

from asgi_llmgw.ir import (
    ChatRequest,
    ChatResponse,
    Choice,
    FinishReason,
    Message,
    Opaque,
    OutputPart,
    Part,
    PartEnd,
    PartStart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from asgi_llmgw.reasoning.turns import Turn, TurnRecorder, missing_turns, pack_turn, turn_of, unpack_turn, with_turns

SIGNED = Opaque("anthropic_messages", "signature", "EqQB==")
THOUGHT = Opaque("gemini_generate", "thought_signature", "CiwB==")
CALL = ToolCallPart("call_1", "look", "{}")
OTHER = ToolCallPart("call_2", "look", "{}")


def remembered(*parts: OutputPart) -> Turn | None:
    return turn_of(ChatResponse((Choice(parts, FinishReason("tool_calls")),)))


def restored(turn: Turn | None, *parts: Part) -> tuple[Part, ...]:
    assert turn is not None
    request = ChatRequest("m", (Message("user", (TextPart("hi"),)), Message("assistant", parts)))
    assert missing_turns(request) == (turn.name,)
    return with_turns(request, {turn.name: turn}).messages[1].parts


def test_thoughts_stand_where_they_were_thought() -> None:
    """R1, R10: between the words and the call as much as before them."""
    told = (ReasoningPart("one", SIGNED), TextPart("Well."), ReasoningPart("two", SIGNED), CALL, OTHER)
    assert restored(remembered(*told), TextPart("Well."), CALL, OTHER) == told


def test_text_and_calls_get_their_signatures() -> None:
    """R5."""
    call = msgspec.structs.replace(CALL, signature=THOUGHT)
    told = (TextPart("Well.", signature=THOUGHT), call, OTHER)
    assert restored(remembered(*told), TextPart("Well."), CALL, OTHER) == told


def test_a_signature_without_words_keeps_its_place() -> None:
    """R7."""
    told = (CALL, TextPart("", signature=THOUGHT))
    assert restored(remembered(*told), CALL) == told


def test_what_the_client_changed_stays_changed() -> None:
    """The words and the calls are the client's to edit; what it calls by the same id is the same call."""
    turn = remembered(ReasoningPart("", SIGNED), TextPart("Well."), CALL, OTHER)
    edited = msgspec.structs.replace(CALL, arguments='{"x":1}')
    added = ToolCallPart("call_3", "look", "{}")
    assert restored(turn, TextPart("Hm."), edited, added) == (ReasoningPart("", SIGNED), TextPart("Hm."), edited, added)


def test_a_state_that_comes_late_is_noticed() -> None:
    recorder = TurnRecorder()
    for event in (PartStart(0, CALL), PartEnd(0, THOUGHT)):
        recorder.observe(event)
    turn = recorder.turn()
    assert turn is not None and turn.items[0].signature == THOUGHT


def test_nothing_is_remembered_that_nobody_wants_back() -> None:
    assert remembered(ReasoningPart("hm"), CALL) is None
    assert remembered(ReasoningPart("hm", SIGNED), TextPart("Well.")) is None


def test_other_answers_to_the_same_question_are_not_mixed_in() -> None:
    recorder = TurnRecorder()
    for event in (PartStart(0, CALL), PartEnd(0), PartStart(1, ReasoningPart("", SIGNED), 1), PartEnd(1)):
        recorder.observe(event)
    assert recorder.turn() is None


def test_a_turn_that_nobody_remembers_is_left_alone() -> None:
    request = ChatRequest("m", (Message("assistant", (CALL,)),))
    assert with_turns(request, {}) is request
    other = remembered(ReasoningPart("", SIGNED), OTHER)
    assert other is not None and with_turns(request, {other.name: other}) == request


def test_a_store_gives_back_what_it_was_given_or_nothing() -> None:
    turn = remembered(ReasoningPart("one", SIGNED), CALL)
    assert turn is not None and unpack_turn(pack_turn(turn)) == turn
    assert unpack_turn(b"junk") is None and unpack_turn(b"[]") is None and unpack_turn(b"\xff") is None
