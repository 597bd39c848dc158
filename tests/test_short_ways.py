"""Whatever is read or written in a short way comes out as in the general one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import GatewayError
from asgi_llmgw.json import JSONObject, JSONValue, dumps, loads_object
from asgi_llmgw.protocols import PROTOCOLS, SPOKEN, Profile, StreamContext, codec
from asgi_llmgw.protocols.openai_chat.usage import decode_usage, plain_usage
from asgi_llmgw.reasoning.requests import restore_state
from asgi_llmgw.reasoning.turns import missing_turns
from asgi_llmgw.translate import ReadRequest, write_request
from tests.strategies import COUNT, TEXT, WORD, maybe
from tests.test_laws import FOLDERS, mutations
from tests.wire import needs_wire, recordings

EVERY = pytest.mark.parametrize("protocol", PROTOCOLS)
EVERY_SPOKEN = pytest.mark.parametrize("protocol", SPOKEN)
TYPED = pytest.mark.parametrize("protocol", ["openai_chat", "anthropic_messages"])
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CONTEXT = StreamContext(clock=lambda: 1_700_000_000.0, new_id=lambda prefix: f"{prefix}1")
SETTINGS: list[tuple[str, str | bool]] = [
    ("stream", True),
    ("stream", False),
    ("user", "Ann"),
    ("user", ""),
    ("reasoning_effort", "low"),
    ("reasoning_effort", "much"),
    ("parallel_tool_calls", False),
]
MAYBE_EMPTY = TEXT.filter(bool) | st.sampled_from(["", "word"])
SHORT = (
    "anthropic_messages.message_decoder.plain_message",
    "anthropic_messages.request.plain_head",
    "anthropic_messages.request_decoder.decode_plain",
    "anthropic_messages.response.only_these",
    "gemini_generate.response.only_these",
    "openai_chat.codec.plain_head",
    "openai_chat.request_decoder.plain_message",
    "openai_chat.request_decoder.decode_plain",
    "openai_chat.response.plain_answer",
    "openai_chat.usage.plain_usage",
    "openai_responses.codec.plain_head",
)


@contextmanager
def in_general() -> Iterator[None]:
    """No short way is open."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SHORT:
            patch.setattr(f"asgi_llmgw.protocols.{name}", lambda *_: None)
        patch.setattr(ir.ChatRequest, "talk", None)
        yield


def outcome(work: Callable[[], object]) -> str:
    """What comes of it, or what is said of it; as text, in which 1, 1.0 and true differ."""
    try:
        return repr(work())
    except GatewayError as error:
        return repr((type(error), error.message, error.kind, error.param, error.code))


def same_both_ways(work: Callable[[], object]) -> None:
    short = outcome(work)
    with in_general():
        assert outcome(work) == short


def opens(protocol: ir.Protocol, module: str, name: str, body: bytes) -> bool:
    """Whether this part of a codec reads this body in its short way."""
    within = f"asgi_llmgw.protocols.{protocol}.{module}"
    short, taken = getattr(import_module(within), name), list[object]()

    def noting(*args: object) -> object:
        taken.append(short(*args))
        return taken[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{within}.{name}", noting)
        outcome(partial(codec(protocol).decode_request, "/", body))
        outcome(partial(codec(protocol).decode_response, body))
    return any(found is not None for found in taken)


@st.composite
def conversations(draw: st.DrawFn) -> list[JSONValue]:
    roles = ["user", "assistant"] * draw(st.integers(1, 3))
    said: list[JSONValue] = [{"role": "system", "content": draw(MAYBE_EMPTY)} for _ in range(draw(st.integers(0, 1)))]
    for role in roles[: draw(st.integers(1, 6))]:
        said.append({"role": role, "content": draw(MAYBE_EMPTY)})
    return said


SCHEMA: JSONObject = {"type": "object", "properties": {}}


@st.composite
def calling(draw: st.DrawFn) -> JSONObject:
    """What an agent sends: tools, calls and their results, and texts in a list."""
    arguments = draw(st.sampled_from(["{}", "", '{"a":1}']))
    call: JSONObject = {"id": "1", "type": "function", "function": {"name": draw(MAYBE_EMPTY), "arguments": arguments}}
    calls: list[JSONValue] = [call]
    messages: list[JSONValue] = [
        {"role": "user", "content": [{"type": "text", "text": draw(MAYBE_EMPTY)}]},
        {"role": "assistant", "content": draw(maybe(MAYBE_EMPTY)), "tool_calls": calls, "refusal": None},
        {"role": "tool", "tool_call_id": draw(st.sampled_from(["1", "2"])), "content": draw(MAYBE_EMPTY)},
        {"role": "assistant", "content": draw(maybe(MAYBE_EMPTY)), "annotations": []},
    ]
    function: JSONObject = {"name": "f", "description": draw(maybe(TEXT)), "parameters": SCHEMA}
    choice = draw(st.sampled_from([None, "auto", "none", "required", "any"]))
    options: JSONObject = {"include_usage": draw(st.booleans())}
    tools: list[JSONValue] = [{"type": "function", "function": function}]
    return {"messages": messages, "tools": tools, "tool_choice": choice, "stream_options": options}


MARKS: list[JSONValue] = [None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, {"ttl": "5m"}]


@st.composite
def using(draw: st.DrawFn) -> JSONObject:
    """The same to Anthropic."""

    def text() -> JSONObject:
        said = draw(MAYBE_EMPTY | st.just("x-anthropic-billing-header: cc_version=1"))
        return {"type": "text", "text": said, "cache_control": draw(st.sampled_from(MARKS))}

    texts: st.SearchStrategy[list[JSONValue]] = st.lists(st.builds(text), max_size=2)
    words: st.SearchStrategy[JSONValue] = MAYBE_EMPTY | texts
    call: JSONObject = {"type": "tool_use", "id": "1", "name": draw(MAYBE_EMPTY), "input": {"a": 2**70, "b": 1.0}}
    answer = draw(st.none() | words)
    result: JSONObject = {"type": "tool_result", "tool_use_id": draw(st.sampled_from(["1", "2"])), "content": answer}
    if draw(st.booleans()):
        result["is_error"] = draw(st.sampled_from([True, False, None]))
    messages: list[JSONValue] = [
        {"role": "user", "content": draw(words)},
        {"role": "assistant", "content": [*draw(texts), call]},
        {"role": "user", "content": [result, *draw(texts)]},
        {"role": "assistant", "content": draw(words)},
    ]
    tool: JSONObject = {"name": "f", "description": draw(maybe(TEXT)), "input_schema": SCHEMA, "type": "custom"}
    user: JSONObject = {"user_id": draw(maybe(TEXT))}
    return {"messages": messages, "tools": [tool], "system": draw(words), "metadata": user}


@st.composite
def bodies(draw: st.DrawFn, protocol: ir.Protocol) -> bytes:
    """Requests as most are, and such as are nearly so."""
    body: JSONObject = {
        "model": draw(MAYBE_EMPTY),
        "messages": draw(conversations()),
        "max_tokens": draw(st.integers(1, 9) | st.sampled_from([0, -1, 1.0, 2**70, True])),
    }
    if protocol == "anthropic_messages" and draw(st.booleans()):
        body["system"] = draw(MAYBE_EMPTY)
    numbers = st.sampled_from([0, 1, 0.5, -1e-7, 2**70, 10**400, None, True, "1"])
    for name in draw(st.sets(st.sampled_from(["temperature", "top_p", "top_k", "n", "max_completion_tokens"]))):
        body[name] = draw(numbers)
    for name, value in draw(st.sets(st.sampled_from(SETTINGS))):
        body[name] = value
    if draw(st.booleans()):
        body["stop_sequences"] = [draw(TEXT)]
    if draw(st.booleans()):
        body |= draw(calling() if protocol == "openai_chat" else using())
    changed = draw(st.just(body) | mutations(body))
    data = dumps(changed)
    return draw(st.just(data) | st.sampled_from([b"\xef\xbb\xbf" + data, data + b" ", data[:-1] + b',"top_p":1}']))


@TYPED
@given(data=st.data())
@MANY
def test_a_request_is_read_alike(protocol: ir.Protocol, data: st.DataObject) -> None:
    body = data.draw(bodies(protocol))
    for read in (codec(protocol).decode_request, codec(protocol).peek):
        same_both_ways(partial(read, "/", body))


@needs_wire
@EVERY
def test_recorded_requests_are_read_alike(protocol: ir.Protocol, report: Callable[[str, int], None]) -> None:
    found = [recording for recording in recordings(protocol) if recording.request is not None]
    for recording in found:
        for read in (codec(protocol).decode_request, codec(protocol).peek):
            same_both_ways(partial(read, recording.path, recording.request or b""))
    report(f"{protocol} requests read both ways", len(found))


@needs_wire
@EVERY
def test_recorded_answers_are_read_alike(protocol: ir.Protocol, report: Callable[[str, int], None]) -> None:
    answers = [recording.response for recording in recordings(*FOLDERS[protocol]) if recording.response is not None]
    for answer in answers:
        same_both_ways(partial(codec(protocol).decode_response, answer))
    report(f"{protocol} answers read both ways", len(answers))


@needs_wire
@TYPED
def test_the_short_way_is_open_to_what_agents_really_ask(protocol: ir.Protocol) -> None:
    asked = [recording.request for recording in recordings(protocol) if recording.request is not None]
    taken = [body for body in asked if opens(protocol, "request_decoder", "decode_plain", body)]
    assert any(b'"tool' in body for body in taken)
    assert len(taken) >= 10


@needs_wire
@pytest.mark.parametrize(
    ("protocol", "name", "least"),
    [
        ("openai_chat", "plain_answer", 5),
        ("anthropic_messages", "only_these", 5),
        ("gemini_generate", "only_these", 5),
    ],
)
def test_the_short_way_is_open_to_what_vendors_really_answer(protocol: ir.Protocol, name: str, least: int) -> None:
    answers = [recording.response for recording in recordings(*FOLDERS[protocol]) if recording.response is not None]
    assert sum(opens(protocol, "response", name, answer) for answer in answers) >= least


@TYPED
def test_the_short_way_is_open_to_a_request_as_most_are(protocol: ir.Protocol) -> None:
    said: list[JSONValue] = [{"role": "user", "content": "Hé"}, {"role": "assistant", "content": "Ho"}]
    plain = dumps({"model": "m", "messages": said, "max_tokens": 5, "stream": True, "temperature": 1})
    assert opens(protocol, "request_decoder", "decode_plain", plain)


@st.composite
def plain_answers(draw: st.DrawFn) -> ir.ChatResponse:
    ending = ir.FinishReason(draw(st.sampled_from(["stop", "length", "content_filter"])))
    usage = ir.Usage(draw(COUNT), draw(COUNT), cache_read_tokens=draw(maybe(st.just(0))))
    choice = ir.Choice((ir.TextPart(draw(TEXT)),), ending)
    return ir.ChatResponse((choice,), draw(WORD), draw(WORD), draw(maybe(COUNT)), draw(maybe(st.just(usage))))


@EVERY
@given(data=st.data(), answer=plain_answers())
@MANY
def test_an_answer_is_read_alike(protocol: ir.Protocol, data: st.DataObject, answer: ir.ChatResponse) -> None:
    body = codec(protocol).encode_response(answer, context=CONTEXT).body
    changed = dumps(data.draw(mutations(loads_object(body))))
    for read in (body, changed, changed + b"]"):
        same_both_ways(partial(codec(protocol).decode_response, read))


ODD_COUNT: st.SearchStrategy[JSONValue] = COUNT | st.sampled_from([None, -1, 2.0, 2.5, True, "3", 2**53, 2**70, [], {}])
CHAT_DETAILS = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens", "other")
CHAT_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens", "cached_tokens")


def counts(names: tuple[str, ...], most: int) -> st.SearchStrategy[JSONObject]:
    return st.dictionaries(st.sampled_from(names), COUNT | ODD_COUNT, max_size=most)


@given(usage=counts(CHAT_COUNTS, 5), prompt=counts(CHAT_DETAILS, 3), completion=ODD_COUNT | counts(CHAT_DETAILS, 3))
@MANY
def test_a_usage_is_read_alike(usage: JSONObject, prompt: JSONObject, completion: JSONValue) -> None:
    told = {**usage, "prompt_tokens_details": prompt, "completion_tokens_details": completion}
    for value in (usage, told):
        same_both_ways(partial(decode_usage, value))


def test_the_short_way_is_open_to_a_usage_as_most_are() -> None:
    usage: JSONObject = {"prompt_tokens": 3, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0}}
    assert plain_usage(usage) is not None and plain_usage({"prompt_tokens": -1}) is None


PLAIN = ir.TextPart("word ")
ODD_PARTS: list[tuple[ir.Part, ...]] = [
    (),
    (ir.TextPart(""),),
    (ir.TextPart(" \n"),),
    (PLAIN, PLAIN),
    (ir.TextPart("word", cache=ir.CacheMark("1h")),),
    (ir.TextPart("word", signature=ir.Opaque("gemini_generate", "thought_signature", "c2lnbg==")),),
    (ir.TextPart("word", phase="commentary"),),
    (ir.RefusalPart("no"),),
]


@st.composite
def spoken(draw: st.DrawFn) -> tuple[ir.Message, ...]:
    """A mere exchange of words, or what is so but for one thing."""
    system: list[list[ir.Role]] = [[], ["system"], ["developer"]]
    turns: list[ir.Role] = ["user", "assistant", "user", "assistant", "user"]
    roles = [*draw(st.sampled_from(system)), *turns[: draw(st.integers(1, 5))]]
    messages = [ir.Message(role, (draw(st.sampled_from([PLAIN, ir.TextPart("Hé")])),)) for role in roles]
    at = draw(st.integers(0, len(messages) - 1))
    one = messages[at]
    match draw(st.sampled_from(["nothing", "parts", "name", "role", "more", "fewer"])):
        case "parts":
            messages[at] = ir.Message(one.role, draw(st.sampled_from(ODD_PARTS)))
        case "name":
            messages[at] = ir.Message(one.role, one.parts, "Ann")
        case "role":
            messages[at] = ir.Message(draw(st.sampled_from(["system", "user", "assistant"])), one.parts)
        case "more":
            messages.insert(at, one)
        case "fewer":
            del messages[at]
        case _:
            pass
    return tuple(messages)


def written(protocol: ir.Protocol, profile: Profile, messages: tuple[ir.Message, ...]) -> object:
    """All that becomes of these messages on their way to another vendor."""
    asked = ir.ChatRequest("m", messages, reasoning=ir.Reasoning("low"))
    restored, lost = restore_state(asked, "openai_chat", b"key")
    out = write_request(ReadRequest(restored), target=protocol, model="other", profile=profile)
    return lost, missing_turns(restored), out.body, out.path, out.diagnostics


@EVERY_SPOKEN
@given(messages=spoken(), profile=st.sampled_from([Profile(), Profile(system_role="developer", mid_system="user")]))
@MANY
def test_a_conversation_is_written_alike(
    protocol: ir.Protocol, messages: tuple[ir.Message, ...], profile: Profile
) -> None:
    same_both_ways(partial(written, protocol, profile, messages))


@EVERY_SPOKEN
@pytest.mark.parametrize("parts", ODD_PARTS, ids=range(len(ODD_PARTS)))
def test_an_odd_message_is_written_alike(protocol: ir.Protocol, parts: tuple[ir.Part, ...]) -> None:
    roles: list[ir.Role] = ["system", "user", "assistant", "user"]
    for at in range(len(roles)):
        messages = [ir.Message(role, parts if number == at else (PLAIN,)) for number, role in enumerate(roles)]
        same_both_ways(partial(written, protocol, Profile(), tuple(messages)))


ODD_ANSWERS: list[tuple[ir.Protocol, str]] = [
    ("openai_chat", '{"choices":[{"message":{"content":"%s"},"finish_reason":"stop"}],"error":{"code":1}}'),
    ("openai_chat", '{"choices":[{"message":{"content":"%s"},"finish_reason":""}]}'),
    ("openai_chat", '{"choices":[{"message":{"content":"%s","refusal":"no"},"finish_reason":"stop"}]}'),
    ("openai_chat", '{"choices":[{"message":{"content":"%s"},"finish_reason":"stop","index":4}],"citations":["u"]}'),
    ("openai_chat", '{"choices":[{"message":{"content":"%s"},"finish_reason":"tool_calls","index":-4}],"usage":{}}'),
    ("anthropic_messages", '{"content":[{"type":"text","text":"%s","citations":[{"url":"u"}]}],"usage":{}}'),
    ("anthropic_messages", '{"content":[{"text":"%s"}],"usage":{}}'),
    ("anthropic_messages", '{"content":[{"type":"text","text":"%s"}],"usage":null}'),
    ("anthropic_messages", '{"content":[{"type":"text","text":"%s"}],"usage":{},"stop_reason":"refusal"}'),
    ("anthropic_messages", '{"content":[{"type":"text","text":"%s"}],"usage":{"service_tier":"standard"}}'),
    ("gemini_generate", '{"candidates":[{"content":{"parts":[{"text":"%s"}]},"finishReason":"STOP"}]}'),
    ("gemini_generate", '{"candidates":[{"content":{"parts":[{"text":"%s","thought":true}]},"finishReason":"STOP"}]}'),
    ("gemini_generate", '{"candidates":[{"content":{"parts":[{"text":"%s"}]},"finishReason":""}],"createTime":""}'),
    ("gemini_generate", '{"candidates":[{"content":{"parts":[{"text":"%s"}]},"finishReason":"X","index":3}]}'),
    (
        "gemini_generate",
        '{"candidates":[{"content":{"parts":[{"text":"%s"}]},"finishReason":"STOP"}],'
        '"createTime":"2026-01-01T00:00:00Z","usageMetadata":{"promptTokenCount":3,"serviceTier":"FLEX"}}',
    ),
]


@pytest.mark.parametrize(("protocol", "body"), ODD_ANSWERS)
@pytest.mark.parametrize("text", ["", "word", "\\ud800"])
def test_an_odd_answer_is_read_alike(protocol: ir.Protocol, body: str, text: str) -> None:
    same_both_ways(partial(codec(protocol).decode_response, (body % text).encode()))


CHAT = '{"model":"m","messages":[{"role":"user","content":"a"}'
MESSAGES = '{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"a"}'
USE = '{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"","input":{}}]}'
RESULT = '{"type":"tool_result","tool_use_id":"1","cache_control":{"type":"ephemeral"}}'
ODD_REQUESTS: list[tuple[ir.Protocol, str]] = [
    ("openai_chat", CHAT + '],"max_tokens":5,"max_completion_tokens":6}'),
    ("openai_chat", CHAT + '],"max_tokens":5,"max_completion_tokens":5}'),
    ("openai_chat", CHAT + '],"stream_options":{"include_usage":true}}'),
    ("openai_chat", CHAT + '],"n":0,"tool_choice":"any"}'),
    ("openai_chat", CHAT + ',{"role":"assistant"},{"role":"assistant","content":""}]}'),
    (
        "openai_chat",
        CHAT + ',{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"","arguments":""}}]},'
        '{"role":"tool","tool_call_id":"1","content":""}]}',
    ),
    ("anthropic_messages", MESSAGES + '],"system":[{"type":"text","text":"x-anthropic-billing-header: 1"}]}'),
    ("anthropic_messages", MESSAGES + '],"system":[{"text":"no type"}],"max_tokens":6}'),
    ("anthropic_messages", MESSAGES + f',{USE},{{"role":"user","content":[{RESULT}]}}]}}'),
    ("anthropic_messages", MESSAGES + f',{USE},{{"role":"user","content":[{{"type":"text","text":""}},{RESULT}]}}]}}'),
    ("anthropic_messages", MESSAGES + f',{{"role":"assistant","content":[{RESULT}]}}]}}'),
    ("anthropic_messages", MESSAGES + f',{{"role":"user","content":{USE[USE.index("[") : -1]}}}]}}'),
    ("anthropic_messages", MESSAGES + ',{"role":"user","content":[]},{"role":"assistant","content":[]}]}'),
]


@pytest.mark.parametrize(("protocol", "body"), ODD_REQUESTS)
def test_an_odd_request_is_read_alike(protocol: ir.Protocol, body: str) -> None:
    loads_object(body)
    same_both_ways(partial(codec(protocol).decode_request, "/", body.encode()))


def test_what_is_known_of_a_conversation_stays_known_for_another_model() -> None:
    asked = ir.ChatRequest("m", (ir.Message("user", (ir.TextPart("Hi"),)),))
    assert asked.talk == ir.Talk(("Hi",))
    assert asked.for_model("n") == ir.ChatRequest("n", asked.messages)
    assert asked.for_model("n").talk is asked.talk


CALLS = '{"id":"1","function":{"name":"f","arguments":"{}"}}'
ANSWERED = '{"role":"assistant","content":"b"},{"role":"user","content":"c"}'
BLOCK = '{"type":"text","text":"a"}'
MARKED = '{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}'
CONVERSATIONS: list[tuple[ir.Protocol, str, bool]] = [
    ("openai_chat", CHAT + "]}", True),
    ("openai_chat", CHAT + f",{ANSWERED}]}}", True),
    ("openai_chat", '{"model":"m","messages":[{"role":"system","content":"s"}]}', False),
    ("openai_chat", CHAT.replace("[", '[{"role":"developer","content":"s"},') + f",{ANSWERED}]}}", True),
    ("openai_chat", CHAT + f",{ANSWERED}]}}".replace('"b"', '" "'), False),
    ("openai_chat", CHAT + f",{ANSWERED}]}}".replace('"b"', f'"b","tool_calls":[{CALLS}]'), False),
    ("openai_chat", CHAT + ',{"role":"assistant","content":"b"}]}', False),
    ("openai_chat", CHAT + ',{"role":"user","content":"b"},{"role":"user","content":"c"}]}', False),
    ("openai_chat", CHAT.replace('"a"', '[{"type":"text","text":"a"}]') + f",{ANSWERED}]}}", True),
    ("openai_chat", CHAT.replace('"a"', '[{"type":"text","text":"a"},{"type":"text","text":"b"}]') + "]}", False),
    ("openai_chat", CHAT.replace('"a"', '[{"type":"text","text":"a"}]') + ',{"role":"assistant"}]}', False),
    ("anthropic_messages", MESSAGES + '],"system":"s"}', True),
    ("anthropic_messages", MESSAGES.replace('"a"', f"[{BLOCK}]") + f",{ANSWERED}]}}", True),
    ("anthropic_messages", MESSAGES.replace('"a"', f"[{BLOCK},{BLOCK}]") + "]}", False),
    ("anthropic_messages", MESSAGES.replace('"a"', f"[{MARKED}]") + f",{ANSWERED}]}}", False),
    ("anthropic_messages", MESSAGES + f",{ANSWERED}]}}", True),
    ("anthropic_messages", MESSAGES + f",{ANSWERED}]}}".replace('"c"', '""'), False),
    ("anthropic_messages", MESSAGES + f",{ANSWERED}]}}".replace('"c"', f"[{RESULT}]"), False),
    ("anthropic_messages", MESSAGES + ',{"role":"assistant","content":"b"}]}', False),
]


@pytest.mark.parametrize(("protocol", "body", "plain"), CONVERSATIONS)
def test_a_conversation_is_known_as_what_its_messages_come_to(protocol: ir.Protocol, body: str, plain: bool) -> None:
    asked = codec(protocol).decode_request("/", body.encode())
    assert asked.talk == ir.Talk.of(asked.messages)
    assert (asked.talk is not None) == plain
    assert asked.talk is None or asked.talk.messages() == asked.messages
