"""Reasoning state of models on Bedrock's Converse, through clients of every protocol."""

from __future__ import annotations

from typing import Final

import pytest

from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols import SERVED, Profile
from asgi_llmgw.reasoning.envelope import MARK
from asgi_llmgw.translate import StreamTranslator, translate_request, translate_response
from tests.protocols.bedrock_converse.written import event
from tests.replaying import GEMINI_PATH, next_request

KEY: Final = b"a key of the gateway's"
SIGNATURE: Final = "c2lnbmF0dXJlIG9mIHRoZSB0aG91Z2h0+/=="
HIDDEN: Final = "aGlkZGVuIHRob3VnaHQ="
THOUGHT: Final[JSONObject] = {"reasoningContent": {"reasoningText": {"text": "Rain? ", "signature": SIGNATURE}}}
REDACTED: Final[JSONObject] = {"reasoningContent": {"redactedContent": HIDDEN}}
CALL: Final[JSONObject] = {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Paris"}}}
CASES = pytest.mark.parametrize(
    "blocks",
    [
        pytest.param([THOUGHT, CALL], id="signed"),
        pytest.param([REDACTED, CALL], id="hidden"),
        pytest.param([THOUGHT, REDACTED, CALL], id="both"),
        pytest.param([THOUGHT, {"text": "I look."}, CALL], id="with_words"),
    ],
)
CLIENTS = pytest.mark.parametrize("client", SERVED)
BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])


def answered(blocks: list[JSONObject], client: Protocol, *, streamed: bool) -> bytes:
    """The answer as the client gets it."""
    if not streamed:
        message: JSONObject = {"role": "assistant", "content": [*blocks]}
        whole = dumps({"output": {"message": message}, "stopReason": "tool_use"})
        return translate_response(whole, source="bedrock_converse", target=client, carriers_key=KEY).body
    translator = StreamTranslator(source="bedrock_converse", target=client, carriers_key=KEY)
    out = translator.feed(b"".join(told(blocks))) + translator.close()
    assert translator.fault is None
    return out


def told(blocks: list[JSONObject]) -> list[bytes]:
    """The messages of these blocks."""
    messages = [event("messageStart", {"role": "assistant"})]
    for index, block in enumerate(blocks):
        deltas: list[JSONValue] = []
        match block:
            case {"reasoningContent": {"reasoningText": dict(thought)}}:
                deltas = [{"reasoningContent": {name: value}} for name, value in thought.items()]
            case {"toolUse": dict(call)}:
                start: JSONObject = {"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}}
                messages.append(event("contentBlockStart", {"contentBlockIndex": index, "start": start}))
                deltas = [{"toolUse": {"input": dumps(call["input"]).decode()}}]
            case _:
                deltas = [block]
        messages += [event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta}) for delta in deltas]
        messages.append(event("contentBlockStop", {"contentBlockIndex": index}))
    return [*messages, event("messageStop", {"stopReason": "tool_use"})]


def sent(body: bytes, client: Protocol, upstream: Protocol) -> bytes:
    path = GEMINI_PATH if client == "gemini_generate" else ""
    thinking = Profile(thought_signatures=True, tool_call_ids=True)
    return translate_request(
        body, source=client, target=upstream, path=path, model="m", profile=thinking, carriers_key=KEY
    ).body


@CASES
@CLIENTS
@BOTH
def test_state_comes_back_byte_for_byte(blocks: list[JSONObject], client: Protocol, streamed: bool) -> None:
    """R1 R5 R7 R8: the turn the model gets is the one it gave."""
    body = sent(
        next_request(client, answered(blocks, client, streamed=streamed), streamed=streamed), client, "bedrock_converse"
    )
    turns = [as_object(turn) for turn in as_list(loads_object(body)["messages"])]
    assert [turn["content"] for turn in turns if turn["role"] == "assistant"] == [blocks]


@CASES
@CLIENTS
@BOTH
def test_state_goes_to_no_other_vendor(blocks: list[JSONObject], client: Protocol, streamed: bool) -> None:
    """R3 R12: nor to the client's own vendor, where its requests are passed on as they are."""
    request = next_request(client, answered(blocks, client, streamed=streamed), streamed=streamed)
    for other in SERVED:
        body = sent(request, client, other)
        assert not [secret for secret in (SIGNATURE, HIDDEN, MARK) if secret.encode() in body], other


@CLIENTS
def test_state_of_others_is_not_sent_to_bedrock(client: Protocol) -> None:
    """R3"""
    message: JSONObject = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": SIGNATURE},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    answer = dumps(message)
    if client != "anthropic_messages":
        answer = translate_response(answer, source="anthropic_messages", target=client, carriers_key=KEY).body
    body = sent(next_request(client, answer, streamed=False), client, "bedrock_converse")
    assert SIGNATURE.encode() not in body and MARK.encode() not in body
    assert b"reasoningContent" not in body


@BOTH
def test_a_chat_client_carries_it_without_a_seal_where_there_is_no_key(streamed: bool) -> None:
    """By the conventions of its protocol, under a name of its own."""
    blocks = [THOUGHT, REDACTED, CALL]
    message: JSONObject = {"role": "assistant", "content": [*blocks]}
    whole = dumps({"output": {"message": message}, "stopReason": "tool_use"})
    if streamed:
        translator = StreamTranslator(source="bedrock_converse", target="openai_chat")
        answer = translator.feed(b"".join(told(blocks))) + translator.close()
    else:
        answer = translate_response(whole, source="bedrock_converse", target="openai_chat").body
    assert b"amazon-bedrock-converse-v1" in answer
    request = next_request("openai_chat", answer, streamed=streamed)
    body = translate_request(request, source="openai_chat", target="bedrock_converse", model="m").body
    turns = [as_object(turn) for turn in as_list(loads_object(body)["messages"])]
    assert [turn["content"] for turn in turns if turn["role"] == "assistant"] == [blocks]
