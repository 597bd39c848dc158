"""Reasoning state through clients of every other protocol: to the vendor it came from, and to nobody else."""

from __future__ import annotations

import pytest

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import Protocol, accumulate, check_stream
from asgi_llmgw.json import dumps
from asgi_llmgw.protocols import PROTOCOLS, Profile, codec
from asgi_llmgw.reasoning.answers import state_of
from asgi_llmgw.reasoning.envelope import MARK
from asgi_llmgw.sse import SSEDecoder
from asgi_llmgw.translate import StreamTranslator, translate_request, translate_response
from tests.reasoning.cases import CALL, SIGNING, TOOL_CALL, UPSTREAMS, Upstream, as_stream, gemini, many, turn_of
from tests.replaying import GEMINI_PATH, next_request
from tests.wire import needs_wire, recordings

KEY = b"a key of the gateway's"
THINKING = Profile(thought_signatures=True, tool_call_ids=True)
PAIRS = [
    pytest.param(protocol, upstream, client, streamed, id=f"{name}-{client}-{'stream' if streamed else 'whole'}")
    for name, (protocol, upstream) in UPSTREAMS.items()
    for client in PROTOCOLS
    if client != protocol
    for streamed in (False, True)
]


def told(protocol: Protocol, answer: bytes, client: Protocol, *, streamed: bool) -> bytes:
    """The answer as the client gets it."""
    if not streamed:
        return translate_response(answer, source=protocol, target=client, carriers_key=KEY).body
    translator = StreamTranslator(source=protocol, target=client, carriers_key=KEY)
    out = translator.feed(as_stream(protocol, answer)) + translator.close()
    assert translator.fault is None
    return out


def sent(body: bytes, client: Protocol, upstream: Protocol) -> bytes:
    path = GEMINI_PATH if client == "gemini_generate" else ""
    translated = translate_request(
        body, source=client, target=upstream, path=path, model="m", profile=THINKING, carriers_key=KEY
    )
    return translated.body


def state_in(protocol: Protocol, stream: bytes) -> list[str]:
    """The payloads of all state in a vendor's stream."""
    decoder, frames = codec(protocol).stream_decoder(), SSEDecoder()
    try:
        events = [event for part in frames.feed(stream) for event in decoder.feed(part)]
        answer = accumulate(check_stream([*events, *decoder.close()]))
    except UpstreamError:
        return []
    states = [state_of(part) for choice in answer.choices[:1] for part in choice.parts]
    return [state.payload for state in states if state is not None]


@pytest.mark.parametrize(("protocol", "upstream", "client", "streamed"), PAIRS)
def test_state_comes_back_byte_for_byte(
    protocol: Protocol, upstream: Upstream, client: Protocol, streamed: bool
) -> None:
    """R1, R5, R7, R8."""
    answer = told(protocol, upstream.answer, client, streamed=streamed)
    body = sent(next_request(client, answer, streamed=streamed), client, protocol)
    assert turn_of(body, protocol) == upstream.replayed


@pytest.mark.parametrize(("protocol", "upstream", "client", "streamed"), PAIRS)
def test_state_goes_to_no_other_vendor(
    protocol: Protocol, upstream: Upstream, client: Protocol, streamed: bool
) -> None:
    """R3, R12: nor to the client's own vendor, where its requests are passed on as they are."""
    answer = told(protocol, upstream.answer, client, streamed=streamed)
    request = next_request(client, answer, streamed=streamed)
    for other in PROTOCOLS:
        body = sent(request, client, other) if other != protocol else b""
        assert not [secret for secret in (*upstream.secrets, MARK, "YXNnaS1sbG1ndy8x") if secret.encode() in body]


RECORDED = [
    pytest.param(recording.stream, protocol, client, id=f"{recording.id}-{client}")
    for protocol in SIGNING
    for recording in recordings(protocol)
    if recording.stream is not None and recording.status == 200
    if state_in(protocol, recording.stream)
    for client in PROTOCOLS
    if client != protocol
]


@needs_wire
@pytest.mark.parametrize(("stream", "protocol", "client"), RECORDED)
def test_recorded_state_comes_back_byte_for_byte(stream: bytes, protocol: Protocol, client: Protocol) -> None:
    """R1, R5, R7, R8: what vendors really sent."""
    translator = StreamTranslator(source=protocol, target=client, carriers_key=KEY)
    answer = translator.feed(stream) + translator.close()
    if translator.fault is not None:
        pytest.skip("the recording is cut")
    body = sent(next_request(client, answer, streamed=True), client, protocol)
    assert [state for state in state_in(protocol, stream) if dumps(state) not in body] == []
    for other in PROTOCOLS:
        foreign = sent(next_request(client, answer, streamed=True), client, other) if other != protocol else b""
        assert MARK.encode() not in foreign
        assert [state for state in state_in(protocol, stream) if dumps(state) in foreign] == []


def test_the_recordings_hold_state() -> None:
    assert not recordings("anthropic_messages") or len(RECORDED) > 10


UNPROVEN: dict[Protocol, bytes] = {
    "openai_chat": many(TOOL_CALL, reasoning_content="The weather."),
    "gemini_generate": gemini({"text": "The weather.", "thought": True}, CALL),
}


@pytest.mark.parametrize("client", ["anthropic_messages", "openai_responses"])
@pytest.mark.parametrize("protocol", UNPROVEN)
@pytest.mark.parametrize("streamed", [False, True])
def test_thoughts_that_nobody_vouches_for_are_not_passed_on(
    protocol: Protocol, client: Protocol, streamed: bool
) -> None:
    """R2, R3: the client's own vendor refuses a thought without a signature, and an item that it does not know."""
    answer = told(protocol, UNPROVEN[protocol], client, streamed=streamed)
    assert b"The weather." in answer
    request = next_request(client, answer, streamed=streamed)
    assert b"The weather." not in sent(request, client, client)
    assert MARK.encode() not in sent(request, client, protocol)
