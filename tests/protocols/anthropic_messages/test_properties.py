"""What holds for every request: the vendor's types accept it, its bytes are stable, only our errors come out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from asgi_llmgw import ir
from asgi_llmgw.errors import GatewayError
from asgi_llmgw.ir import ChatRequest, Message, TextPart
from asgi_llmgw.json import JSONObject, loads_object
from asgi_llmgw.protocols.anthropic_messages import CODEC
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.sse import ServerSentEvent

from .samples import OWN, PNG, REQUESTS, assistant, body_of, call, chat, result, system, user

_STREAMING = TypeAdapter[object](MessageCreateParamsStreaming)
_WHOLE = TypeAdapter[object](MessageCreateParamsNonStreaming)
PROFILES = {
    "budget": Profile(),
    "adaptive": Profile(thinking="adaptive", sampling=False, forced_tool_choice=False, mid_system="system"),
    "old": Profile(thinking="none", native_structured_output=False, mid_system="user"),
}


def accepted(body: JSONObject) -> object:
    """What the SDK's types keep of a body: unknown members are gone from it, so that they show."""
    return plain((_STREAMING if body.get("stream") else _WHOLE).validate_python(body))


def plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return plain(value.model_dump(exclude_unset=True))
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    return value


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", REQUESTS)
def test_the_vendors_own_types_accept_every_body(name: str, profile: str) -> None:
    body = loads_object(CODEC.encode_request(REQUESTS[name], profile=PROFILES[profile]).body)
    # these went out of the types with the API version that has them no more
    rest = {key: value for key, value in body.items() if key not in ("temperature", "top_p", "top_k")}
    assert accepted(rest) == rest


def test_the_types_would_show_a_mistake() -> None:
    body = body_of(chat())
    assert accepted({**body, "temprature": 1}) != {**body, "temprature": 1}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", REQUESTS)
def test_the_same_request_gives_the_same_bytes(name: str, profile: str) -> None:
    """J10, trap 22"""
    first = CODEC.encode_request(REQUESTS[name], profile=PROFILES[profile])
    assert CODEC.encode_request(copy.deepcopy(REQUESTS[name]), profile=PROFILES[profile]) == first


_CONVERSATION = (
    system("Be brief."),
    user("a"),
    assistant("b", call("bad|id"), call("")),
    Message("tool", (ir.ToolResultPart("", (TextPart("2"),)),)),
    result("bad|id"),
    assistant("c", ir.MediaPart("image", ir.Base64Source(PNG), "image/png")),
    user("d"),
    system("Rule."),
    assistant(call("bad|id")),
    result("bad|id"),
    user("e"),
)


@pytest.mark.parametrize("mid_system", ["user", "system"])
def test_a_longer_conversation_begins_with_the_bytes_of_the_shorter(mid_system: str) -> None:
    """Trap 22: at every point where the model is asked."""
    tools = (ir.Tool("look"),)
    bodies = [
        CODEC.encode_request(
            chat(*_CONVERSATION[:end], tools=tools), profile=Profile(mid_system=mid_system)
        ).body.partition(b'"tools":')[0]
        for end in (2, 5, 8, 10, 11)
    ]
    for shorter, longer in pairwise(bodies):
        # the last message may still grow, its blocks may not change
        assert longer.startswith(shorter.removesuffix(b"]}],"))


_Kind = TypeVar("_Kind")


def built(
    kind: Callable[..., _Kind], *values: st.SearchStrategy[object], **named: st.SearchStrategy[object]
) -> st.SearchStrategy[_Kind]:
    """Like `st.builds`, which cannot read the recursive annotations."""
    return st.tuples(st.tuples(*values), st.fixed_dictionaries(named)).map(lambda both: kind(*both[0], **both[1]))


TEXT = st.sampled_from(["", " ", "x", "é\u2028", '{"a":1}', "[1]", "a|b", "x" * 300])
KEY = st.sampled_from(["type", "properties", "items", "anyOf", "$ref", "$defs", "enum", "required", "minimum", "a"])
LEAF: st.SearchStrategy[object] = st.none() | st.booleans() | st.integers() | TEXT | st.just("object") | st.just("#/a")
JSON = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4))
OBJECT = st.dictionaries(KEY, JSON, max_size=4)
PROTOCOL = st.sampled_from(["openai_chat", OWN])
CACHE = st.none() | built(ir.CacheMark, st.none() | st.sampled_from(["5m", "30m", "?"]))
OPAQUE = st.none() | built(ir.Opaque, PROTOCOL, st.sampled_from(["signature", "redacted", "encrypted"]), TEXT)
SOURCE = (
    built(ir.Base64Source, TEXT | st.just(PNG))
    | built(ir.TextSource, TEXT)
    | built(ir.UrlSource, TEXT)
    | built(ir.FileSource, TEXT, PROTOCOL)
)
MEDIA = built(
    ir.MediaPart,
    st.sampled_from(["image", "document", "image", "document", "audio"]),
    SOURCE,
    st.none() | st.sampled_from(["image/png", "application/pdf", "text/plain", ""]),
    title=st.none() | TEXT,
    cite=st.none() | st.booleans(),
    cache=CACHE,
)
PLAIN = built(ir.TextPart, TEXT, CACHE)
UNKNOWN = built(ir.UnknownPart, PROTOCOL, OBJECT, TEXT)
CALL = built(
    ir.ToolCallPart, st.sampled_from(["", "a", "b|"]), TEXT, TEXT, st.sampled_from(["function", "custom"]), cache=CACHE
)
RESULT = built(
    ir.ToolResultPart,
    st.sampled_from(["", "a", "b|"]),
    st.lists(PLAIN | MEDIA | UNKNOWN, max_size=2).map(tuple),
    name=st.none() | TEXT,
    is_error=st.none() | st.booleans(),
)
PART = (
    PLAIN
    | MEDIA
    | UNKNOWN
    | CALL
    | RESULT
    | built(ir.ReasoningPart, TEXT, OPAQUE)
    | built(ir.RefusalPart, TEXT)
    | built(ir.CitationPart, protocol=st.none() | PROTOCOL, raw=st.none() | OBJECT)
)
ROLE = st.sampled_from(["user", "assistant", "tool", "system", "developer"])
MESSAGE = built(ir.Message, ROLE, st.lists(PART, max_size=3).map(tuple)) | built(
    ir.Message, ROLE, st.lists(PLAIN, max_size=2).map(tuple)
)


def answered(parts: Sequence[ir.Part]) -> tuple[Message, ...]:
    """An assistant's turn and, the other way round, the results of its calls."""
    calls = [part for part in reversed(parts) if isinstance(part, ir.ToolCallPart)]
    answers = tuple(ir.ToolResultPart(call.id, (TextPart(call.arguments),), call.name) for call in calls)
    return Message("assistant", (*parts,)), Message("user", (TextPart("x"),)), Message("tool", answers)


ROUND = st.lists(PLAIN | CALL | MEDIA | UNKNOWN, max_size=3).map(answered)
SPOKEN = built(ir.Message, ROLE, st.lists(PLAIN, max_size=2).map(tuple)).map(lambda message: (message,))
MESSAGES = st.lists(MESSAGE, max_size=5).map(tuple) | st.lists(ROUND | SPOKEN, min_size=1, max_size=4).map(
    lambda rounds: tuple(message for group in rounds for message in group)
)
TOOL: st.SearchStrategy[ir.AnyTool] = (
    built(ir.Tool, TEXT, st.none() | TEXT, st.none() | OBJECT, st.none() | st.booleans(), CACHE)
    | built(ir.CustomTool, TEXT, st.none() | TEXT, st.none() | OBJECT)
    | built(ir.ServerTool, PROTOCOL, TEXT, OBJECT)
)
NUMBER = st.none() | st.floats() | st.integers(-5, 5)
REQUEST = built(
    ChatRequest,
    TEXT,
    MESSAGES,
    stream=st.booleans(),
    max_output_tokens=st.none() | st.integers(-1, 50_000),
    candidates=st.none() | st.just(1),
    sampling=built(ir.Sampling, NUMBER, NUMBER, stop=st.lists(TEXT, max_size=2).map(tuple)),
    tools=st.lists(TOOL, max_size=3).map(tuple),
    tool_choice=st.none()
    | built(ir.ToolChoice, st.sampled_from(["auto", "none", "required"]), st.lists(TEXT, max_size=2).map(tuple)),
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none()
    | built(ir.ResponseFormat, st.sampled_from(["text", "json_object", "json_schema"]), st.none() | OBJECT),
    reasoning=st.none()
    | built(
        ir.Reasoning,
        st.none() | st.sampled_from(["none", "minimal", "high", "max"]),
        st.none() | st.integers(-1, 50_000),
        st.none() | st.booleans(),
    ),
    end_user=st.none() | TEXT,
    service_tier=st.none() | TEXT,
    cache=CACHE,
    extensions=st.lists(built(ir.Extension, PROTOCOL, st.sampled_from(["a", "a.b", "model.x"]), JSON), max_size=2).map(
        tuple
    ),
)


@settings(max_examples=100, deadline=None)
@given(REQUEST, st.sampled_from(list(PROFILES.values())))
def test_only_our_errors_come_out(request: ChatRequest, profile: Profile) -> None:
    """Law 7; and whatever is written alternates and answers its calls (I2)."""
    try:
        encoded = CODEC.encode_request(request, profile=profile)
    except GatewayError as error:
        assert error.status == 400
        return
    body = loads_object(encoded.body)
    check_alternation(body)
    assert encoded == CODEC.encode_request(request, profile=profile)


def check_alternation(body: JSONObject) -> None:
    messages = body["messages"]
    assert isinstance(messages, list) and messages
    before: JSONObject = {}
    for message in messages:
        assert isinstance(message, dict)
        content = message["content"]
        assert isinstance(content, list) and content
        assert message["role"] != before.get("role")
        before = message
    first = messages[0]
    assert isinstance(first, dict) and first["role"] == "user"


@settings(max_examples=100, deadline=None)
@given(OBJECT.map(lambda value: {"type": "object", **value}) | st.dictionaries(st.text(max_size=9), JSON))
def test_junk_from_the_vendor_raises_only_our_errors(value: JSONObject) -> None:
    """Law 7"""
    raw = msgspec.json.encode({"content": [{"type": "text", **value}], **value}) if printable(value) else b"\xff{"
    for decode in (CODEC.decode_response, lambda body: CODEC.decode_error(500, body)):
        try:
            decode(raw)
        except GatewayError as error:
            assert error.message


EVENT = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
        "x",
    ]
)
KIND = st.sampled_from(["text", "thinking", "tool_use", "redacted_thinking", "y"])
DELTA = st.sampled_from(["text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta", "z"])
ASCII = st.none() | st.integers(-2, 2) | st.sampled_from(["", "a", "{}"])
FRAME = st.fixed_dictionaries(
    {
        "type": EVENT,
        "index": st.integers(-1, 2) | ASCII,
        "content_block": st.fixed_dictionaries({"type": KIND, "id": ASCII, "text": ASCII, "input": ASCII}) | ASCII,
        "delta": st.fixed_dictionaries({"type": DELTA, "text": ASCII, "partial_json": ASCII, "stop_reason": ASCII})
        | ASCII,
        "usage": st.dictionaries(st.sampled_from(["input_tokens", "output_tokens"]), ASCII) | ASCII,
        "message": st.fixed_dictionaries({"id": ASCII, "usage": ASCII}) | ASCII,
    }
)


@settings(max_examples=100, deadline=None)
@given(st.lists(FRAME, max_size=12))
def test_whatever_the_vendor_streams_the_events_keep_to_the_grammar(frames: list[dict[str, object]]) -> None:
    """Law 4, F156"""
    decoder = CODEC.stream_decoder()
    events = [
        event for frame in frames for event in decoder.feed(ServerSentEvent(msgspec.json.encode(frame), "x"))
    ] + list(decoder.close())
    assert list(ir.check_stream(events)) == events


def printable(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except (UnicodeEncodeError, ValueError, TypeError):
        return False
    return True
