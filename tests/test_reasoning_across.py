"""Reasoning state through clients of every other protocol: to the vendor it came from, and to nobody else."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from asgi_llmgw.carried_answers import state_of
from asgi_llmgw.carriers import MARK
from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.ir import Protocol, accumulate, check_stream, explode
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols import PROTOCOLS, Profile, StreamContext, codec
from asgi_llmgw.sse import SSEDecoder
from asgi_llmgw.translate import StreamTranslator, translate_request, translate_response
from tests.replaying import GEMINI_PATH, next_request
from tests.samples import frame as sse_frame
from tests.wire import needs_wire, recordings

KEY = b"a key of the gateway's"
THINKING = Profile(thought_signatures=True, tool_call_ids=True)
SIGNATURE = "EqQBCgIYAhIMH+4/aA=="
REDACTED = "EvEBCoYBGAIi/redacted=="
ENCRYPTED = "gAAAAABo-encrypted_1=="
THOUGHT = "CiwBjz1rX+/thought=="
FINAL = "CkEBjz1rX/final+text=="
USAGE: JSONObject = {"input_tokens": 9, "output_tokens": 3}


class Upstream(NamedTuple):
    """An answer that holds state and a call, and what has to stand in the next request."""

    answer: bytes
    replayed: list[JSONObject]
    secrets: tuple[str, ...]


def claude(*blocks: JSONObject) -> bytes:
    message: JSONObject = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "usage": USAGE}
    return dumps({**message, "content": [*blocks], "stop_reason": "tool_use", "stop_sequence": None})


def gpt(*items: JSONObject) -> bytes:
    head: JSONObject = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt"}
    counts: JSONObject = {**USAGE, "total_tokens": 12, "input_tokens_details": {"cached_tokens": 0}}
    return dumps({**head, "output": [*items], "usage": counts})


def gemini(*parts: JSONObject) -> bytes:
    candidate: JSONObject = {"content": {"role": "model", "parts": [*parts]}, "finishReason": "STOP", "index": 0}
    return dumps({"candidates": [candidate], "modelVersion": "gemini", "responseId": "r"})


THINK: JSONObject = {"type": "thinking", "thinking": "I need\n the weather. ", "signature": SIGNATURE}
REDACT: JSONObject = {"type": "redacted_thinking", "data": REDACTED}
TOOL_USE: JSONObject = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
REASON: JSONObject = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "The weather."}],
    "encrypted_content": ENCRYPTED,
}
SENT_REASON: JSONObject = {key: value for key, value in REASON.items() if key != "id"}
SILENT: JSONObject = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAAAABo-silent=="}
SENT_SILENT: JSONObject = {key: value for key, value in SILENT.items() if key != "id"}
FUNCTION: JSONObject = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city":"Oslo"}',
    "status": "completed",
}
SENT_FUNCTION: JSONObject = {key: value for key, value in FUNCTION.items() if key not in ("id", "status")}
CALL: JSONObject = {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Oslo"}}}
SECOND: JSONObject = {"functionCall": {"id": "call_2", "name": "weather", "args": {"city": "Rome"}}}

UPSTREAMS: dict[str, tuple[Protocol, Upstream]] = {
    "claude_thinks": (
        "anthropic_messages",
        Upstream(claude(THINK, TOOL_USE), [THINK, TOOL_USE], (SIGNATURE,)),
    ),
    "claude_redacts": (
        "anthropic_messages",
        Upstream(claude(THINK, REDACT, TOOL_USE), [THINK, REDACT, TOOL_USE], (SIGNATURE, REDACTED)),
    ),
    "gpt_summarises": ("openai_responses", Upstream(gpt(REASON, FUNCTION), [SENT_REASON, SENT_FUNCTION], (ENCRYPTED,))),
    "gpt_is_silent": (
        "openai_responses",
        Upstream(gpt(SILENT, FUNCTION), [SENT_SILENT, SENT_FUNCTION], ("gAAAAABo-silent==",)),
    ),
    "gemini_signs_a_call": (
        "gemini_generate",
        Upstream(
            gemini({**CALL, "thoughtSignature": THOUGHT}, SECOND),
            [{**CALL, "thoughtSignature": THOUGHT}, SECOND],
            (THOUGHT,),
        ),
    ),
    "gemini_signs_its_last_words": (
        "gemini_generate",
        Upstream(
            gemini({"text": "Sunny."}, {"text": "", "thoughtSignature": FINAL}),
            [{"text": "Sunny."}, {"text": "", "thoughtSignature": FINAL}],
            (FINAL,),
        ),
    ),
}
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


def as_stream(protocol: Protocol, answer: bytes) -> bytes:
    """The answer as its own vendor streams it."""
    if protocol == "gemini_generate":
        return sse_frame(loads_object(answer))
    vendor = codec(protocol)
    encoder = vendor.stream_encoder(StreamContext())
    frames = [frame for event in explode(vendor.decode_response(answer)) for frame in encoder.feed(event)]
    return b"".join(frame.encode(vendor.frame_newline) for frame in [*frames, *encoder.close()])


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


def turn_of(body: bytes, protocol: Protocol) -> list[JSONValue]:
    """What the assistant said, in a request to the vendor."""
    data = loads_object(body)
    if protocol == "openai_responses":
        items = as_list(data["input"])
        return [item for item in items if as_object(item).get("type") in ("reasoning", "function_call")]
    turns = as_list(data["contents" if protocol == "gemini_generate" else "messages"])
    said = next(turn for turn in map(as_object, turns) if turn["role"] in ("model", "assistant"))
    return as_list(said["parts" if protocol == "gemini_generate" else "content"])


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


SIGNING: tuple[Protocol, ...] = ("anthropic_messages", "openai_responses", "gemini_generate")
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
