from __future__ import annotations

import base64
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_llmgw.ir import (
    Base64Source,
    ChatRequest,
    ChatResponse,
    Choice,
    FinishReason,
    MediaPart,
    Message,
    Opaque,
    OutputPart,
    Part,
    Protocol,
    ReasoningDelta,
    ReasoningPart,
    TextDelta,
    TextPart,
    ToolCallPart,
    ToolInputDelta,
    accumulate,
    check_stream,
    explode,
)
from asgi_llmgw.reasoning.answers import carrier, carry_response, state_of
from asgi_llmgw.reasoning.envelope import MARK, Envelope, Place, open_envelope, seal, unseal
from asgi_llmgw.reasoning.requests import addressed_to, restore_state
from tests.strategies import PROTOCOL, TEXT, build, maybe, responses, tellings

KEY = b"k" * 32
STATE = Opaque("anthropic_messages", "signature", "EqQBCgIYAhIM1gbc==")
KINDS = st.sampled_from(["signature", "redacted", "encrypted", "thought_signature"])
STATES = build(Opaque, protocol=PROTOCOL, kind=KINDS, payload=TEXT, id=maybe(TEXT))
PLACES = st.sampled_from(["reasoning", "call", "text", "empty", "media"])
ENVELOPES = build(Envelope, opaque=STATES, place=PLACES, call_id=TEXT, length=st.integers(0, 10**9))


def standard(text: str) -> str:
    return text.replace("-", "+").replace("_", "/")


@given(ENVELOPES, st.binary(min_size=1, max_size=64))
def test_what_was_sealed_comes_back_unchanged(envelope: Envelope, key: bytes) -> None:
    """R1."""
    sealed = seal(envelope, key)
    assert open_envelope(sealed, key) == envelope
    assert unseal(sealed, key) == envelope.opaque


@given(STATES)
def test_sealed_text_survives_clients_that_read_it_as_bytes(state: Opaque) -> None:
    """R5: SDKs decode base64 and encode it again, in either alphabet, with or without padding."""
    sealed = seal(state, KEY)
    raw = base64.urlsafe_b64decode(sealed)
    for spelled in (base64.urlsafe_b64encode(raw), base64.b64encode(raw)):
        text = spelled.decode()
        assert text.startswith(MARK)
        assert unseal(text, KEY) == unseal(text.rstrip("="), KEY) == unseal(text + "==", KEY) == state


@given(STATES, st.data())
def test_tampering_is_noticed(state: Opaque, data: st.DataObject) -> None:
    """R3."""
    raw = bytearray(base64.urlsafe_b64decode(seal(state, KEY)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    assert unseal(base64.urlsafe_b64encode(raw).decode(), KEY) is None


@given(STATES, st.integers(0, 200))
def test_a_cut_is_noticed(state: Opaque, length: int) -> None:
    """R2."""
    sealed = seal(state, KEY)
    assert unseal(sealed[: min(length, len(sealed) - 1)], KEY) is None


@given(STATES, st.binary(min_size=1, max_size=64).filter(lambda key: key.rstrip(b"\0") != KEY))
def test_another_key_opens_nothing(state: Opaque, key: bytes) -> None:
    assert unseal(seal(state, KEY), key) is None


@pytest.mark.parametrize("text", ["", "EqQBCgIYAhIM", MARK, f"{MARK}é", f"{MARK}!!!!", f"{MARK}AAAA", STATE.payload])
def test_what_is_not_sealed_is_not_ours(text: str) -> None:
    assert unseal(text, KEY) is None


def test_the_mark_means_the_same_in_both_alphabets() -> None:
    assert MARK.isalnum() and len(MARK) % 4 == 0
    assert seal(STATE, KEY).startswith(MARK) and standard(seal(STATE, KEY)).startswith(MARK)


@given(st.data(), responses(), PROTOCOL, PROTOCOL)
def test_a_stream_stays_a_stream(data: st.DataObject, answer: ChatResponse, source: Protocol, target: Protocol) -> None:
    told = carrier(source, target, KEY)
    events = [out for event in data.draw(tellings(answer)) for out in told.event(event)]
    carried = accumulate(check_stream(events))
    assert [choice.finish for choice in carried.choices] == [choice.finish for choice in answer.choices]
    if target in ("anthropic_messages", "openai_responses"):
        states = [state_of(part) for choice in carried.choices for part in choice.parts]
        assert {state.protocol for state in states if state is not None} <= {target}


@given(responses(), PROTOCOL, PROTOCOL)
def test_no_delta_is_held_back(answer: ChatResponse, source: Protocol, target: Protocol) -> None:
    told = carrier(source, target, KEY)
    for event in explode(answer):
        out = list(told.event(event))
        if isinstance(event, (TextDelta, ReasoningDelta, ToolInputDelta)):
            (same,) = out
            assert msgspec.structs.replace(same, index=event.index) == event


@given(responses(), PROTOCOL, PROTOCOL)
def test_a_whole_answer_and_a_stream_carry_the_same(answer: ChatResponse, source: Protocol, target: Protocol) -> None:
    told = carrier(source, target, KEY)
    streamed = accumulate(out for event in explode(answer) for out in told.event(event))
    assert carry_response(answer, source, target, KEY) == streamed


def request(*parts: Part) -> ChatRequest:
    return ChatRequest("m", (Message("user", (TextPart("hi"),)), Message("assistant", parts)))


def restored(source: Protocol, *parts: Part) -> tuple[Part, ...]:
    return restore_state(request(*parts), source, KEY)[0].messages[1].parts


def carried(place: Place, call_id: str = "", length: int = 0) -> ReasoningPart:
    envelope = Envelope(THOUGHT, place, call_id, length)
    return ReasoningPart("", Opaque("anthropic_messages", "redacted", seal(envelope, KEY)))


THOUGHT = Opaque("gemini_generate", "thought_signature", "CiwBjz1rX==")
FIRST, SECOND = ToolCallPart("call_1", "look", "{}"), ToolCallPart("call_2", "look", "{}")


def test_state_finds_its_call_by_id() -> None:
    signed = msgspec.structs.replace(SECOND, signature=THOUGHT)
    assert restored("anthropic_messages", carried("call", "call_2"), FIRST, SECOND) == (FIRST, signed)


def test_state_finds_the_next_call_where_ids_were_changed() -> None:
    signed = msgspec.structs.replace(FIRST, signature=THOUGHT)
    assert restored("anthropic_messages", carried("call", "other"), FIRST, SECOND) == (signed, SECOND)
    assert restored("anthropic_messages", FIRST, carried("call", "other")) == (signed,)


def test_state_that_came_through_another_protocol_goes_to_no_vendor_of_its_own() -> None:
    """R12."""
    resold = msgspec.structs.replace(STATE, via="openai_chat")
    asked = request(ReasoningPart("", resold), ReasoningPart("hm", resold), FIRST)
    cleaned, lost = addressed_to(asked, "anthropic_messages")
    assert cleaned.messages[1].parts == (ReasoningPart("hm"), FIRST)
    assert [item.path for item in lost] == ["messages[1].content[0]", "messages[1].content[1]"]
    assert addressed_to(asked, "openai_chat") == (asked, ())


def test_a_joined_text_is_signed_where_it_was_signed() -> None:
    """Google checks a signature at the very part it came with."""
    parts = restored("openai_responses", TextPart("unsigned and signed"), carried("text", length=6))
    assert parts == (TextPart("unsigned and "), TextPart("signed", signature=THOUGHT))


@pytest.mark.parametrize("place", ["call", "text", "empty", "media"])
def test_state_whose_place_is_gone_stands_on_an_empty_text(place: Place) -> None:
    """R7."""
    assert restored("anthropic_messages", carried(place)) == (TextPart("", signature=THOUGHT),)


def test_a_picture_gets_its_signature_back() -> None:
    picture = MediaPart("image", Base64Source("AAAA"), "image/png")
    signed = msgspec.structs.replace(picture, signature=THOUGHT)
    assert restored("openai_responses", picture, carried("media")) == (signed,)


def test_state_of_the_clients_own_vendor_is_left_alone() -> None:
    thought = ReasoningPart("hm", STATE)
    assert restored("anthropic_messages", thought) == (thought,)


def test_another_vendors_state_must_be_sealed() -> None:
    """R3: a client cannot make up state for a vendor whose protocol it does not speak."""
    forged = ReasoningPart("hm", THOUGHT)
    changed, lost = restore_state(request(forged, FIRST), "anthropic_messages", KEY)
    assert changed.messages[1].parts == (ReasoningPart("hm"), FIRST)
    assert [item.path for item in lost] == ["messages[1].content[0]"]


def test_clients_of_chat_completions_may_bring_state_by_convention() -> None:
    thought = ReasoningPart("hm", STATE)
    assert restored("openai_chat", thought) == (thought,)


@pytest.mark.parametrize("source", ["anthropic_messages", "openai_chat"])
def test_what_another_gateway_sealed_is_sent_to_nobody(source: Protocol) -> None:
    foreign = Opaque("anthropic_messages", "signature", seal(THOUGHT, b"another key"))
    assert restored(source, ReasoningPart("", foreign), FIRST) == (FIRST,)


@pytest.mark.parametrize("place", ["call", "text", "empty", "media"])
def test_thousands_of_states_take_no_longer_than_their_number_asks(place: Place) -> None:
    """A client may send the same sealed state again and again."""
    calls = [msgspec.structs.replace(FIRST, id=f"call_{number}") for number in range(2000)]
    sealed = [carried(place, "other", 1)] * 2000
    started = time.process_time()
    parts = restored("anthropic_messages", *calls, *sealed)
    assert sum(state_of(part) is not None for part in parts) == (2000 if place != "call" else 1)
    assert time.process_time() - started < 1


SIGNED = st.builds(Opaque, st.just("gemini_generate"), st.just("thought_signature"), st.text("abc=", min_size=1))
SAID = st.one_of(
    st.builds(TextPart, st.text("ab ", min_size=1), signature=maybe(SIGNED)),
    st.builds(TextPart, st.just(""), signature=SIGNED),
    st.builds(ReasoningPart, st.text("ab "), SIGNED),
    st.builds(
        MediaPart, st.just("image"), st.just(Base64Source("AAAA")), st.just("image/png"), signature=maybe(SIGNED)
    ),
    st.builds(ToolCallPart, st.uuids().map(str), st.just("look"), st.just("{}"), signature=maybe(SIGNED)),
)


@given(st.lists(SAID, max_size=8), st.sampled_from(["anthropic_messages", "openai_responses", "openai_chat"]))
def test_every_part_gets_back_what_it_had(parts: list[OutputPart], client: Protocol) -> None:
    """R1, R5, R7: however many parts there are, and in whichever order."""
    answer = ChatResponse((Choice(tuple(parts), FinishReason("stop")),))
    told = carry_response(answer, "gemini_generate", client, KEY).choices[0].parts
    # empty texts without state are what clients never see
    kept = [part for part in restored(client, *told) if part != TextPart("")]
    assert kept == parts
