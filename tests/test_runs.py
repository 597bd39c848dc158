"""What is read in runs, or not at all, tells what it tells frame by frame, on its way through and translated."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.json import dumps
from asgi_llmgw.passthrough import PassThrough
from asgi_llmgw.protocols import PROTOCOLS, StreamContext, codec
from asgi_llmgw.reasoning.turns import TurnRecorder
from asgi_llmgw.refrain import Again, Refrain
from asgi_llmgw.sse import MAX_EVENT
from asgi_llmgw.streams import StreamObserver
from asgi_llmgw.tool_names import ToolNames
from asgi_llmgw.translate import StreamTranslator
from tests.odd_frames import ODD, strings
from tests.pairs import encoded, translated
from tests.samples import DONE
from tests.taps import UsageTap
from tests.wire import Recording, needs_wire, recordings

FOLDERS: dict[str, ir.Protocol] = {
    **{name: name for name in PROTOCOLS},
    "openai_compat": "openai_chat",
    "openai_compat_responses": "openai_responses",
}
CHAT = b'data: {"id":"c","created":1,"choices":[{"index":0,"delta":%b,"finish_reason":null}]%b}\n\n'
MESSAGES = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b}%b}\n\n'
RESPONSES = b'data: {"type":"response.%b.delta","sequence_number":%d,"output_index":%d,%b}\n\n'
GEMINI = b'data: {"candidates": [{"content": {"parts": [%b],"role": "model"},"index": %d}]%b}\r\n\r\n'
KEEP_ALIVE = b": keep-alive\n\n"
OPENINGS: dict[ir.Protocol, list[bytes]] = {
    "openai_chat": [
        CHAT % (b'{"role":"assistant","content":""}', b""),
        CHAT % (b'{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}', b""),
    ],
    "anthropic_messages": [
        b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n' % block
        for block in (
            (0, b'{"type":"text","text":""}'),
            (1, b'{"type":"thinking","thinking":"","signature":""}'),
            (2, b'{"type":"tool_use","id":"a","name":"f","input":{}}'),
        )
    ],
    "openai_responses": [
        b'data: {"type":"response.output_item.added","output_index":%d,"item":%b}\n\n' % item
        for item in (
            (0, b'{"type":"message","role":"assistant"}'),
            (1, b'{"type":"function_call","call_id":"a","name":"f","arguments":""}'),
            (2, b'{"type":"reasoning","id":"rs_1","summary":[]}'),
        )
    ],
    "gemini_generate": [GEMINI % (b'{"text": "Hi"}', 0, b"")],
}
ENDINGS: dict[ir.Protocol, list[bytes]] = {
    "openai_chat": [CHAT.replace(b"null", b'"stop"') % (b"{}", b',"usage":null'), DONE],
    "anthropic_messages": [
        MESSAGES % (0, b'"citations_delta","citation":{"type":"web_search_result_location","url":"u"}', b""),
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n',
        b'data: {"type":"message_stop"}\n\n',
    ],
    "openai_responses": [
        RESPONSES % (b"output_text", 9, 0, b'"content_index":3,"delta":"x"'),
        b'data: {"type":"response.output_text.annotation.added","output_index":0,"content_index":3,'
        b'"annotation":{"type":"url_citation","url":"u","start_index":0,"end_index":1}}\n\n',
        b'data: {"type":"response.completed","response":{"usage":{"output_tokens":2}}}\n\n',
    ],
    "gemini_generate": [
        b'data: {"candidates": [{"index": 0,"finishReason": "STOP","citationMetadata": {"citationSources": '
        b'[{"startIndex": 9,"endIndex": 19,"uri": "u"}]}}]}\r\n\r\n'
    ],
}
OTHERS: dict[ir.Protocol, list[bytes]] = {
    "openai_chat": [
        CHAT % (b'{"content":"x"}', b',"usage":{"prompt_tokens":1,"completion_tokens":1}'),
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
        CHAT.replace(b"null", b'"length"') % (b'{"content":"last"}', b""),
        b"event: ping\n" + CHAT % (b'{"content":"in a ping"}', b""),
        CHAT.replace(b'"index":0', b'"index":1') % (b'{"content":"of another"}', b""),
        b'data: {"error":{"message":"no"}}\n\n',
        b": keep-alive\n\n",
    ],
    "anthropic_messages": [
        b'data: {"type":"content_block_stop","index":0}\n\n',
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"b"}}\n\n',
        MESSAGES % (0, b'"citations_delta","citation":{"cited_text":"a"}', b""),
        b'event: ping\ndata: {"type":"ping"}\n\n',
        b'event: ping\ndata: {"type":"content_block_stop","index":0}\n\n',
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n',
    ],
    "openai_responses": [
        b'data: {"type":"response.content_part.done","output_index":0,"content_index":0,'
        b'"part":{"type":"output_text","text":"T"}}\n\n',
        b'data: {"type":"response.output_item.done","output_index":0,"item":{"type":"message"}}\n\n',
        b'data: {"type":"response.output_text.annotation.added","output_index":0,"content_index":1,'
        b'"annotation":{"type":"url_citation","url":"u","start_index":0,"end_index":1}}\n\n',
        b'data: {"type":"error","message":"no"}\n\n',
    ],
    "gemini_generate": [
        GEMINI % (b'{"text": "x"}', 0, b',"usageMetadata": {"promptTokenCount": 1,"totalTokenCount": 1}'),
        GEMINI % (b'{"functionCall": {"name": "g"}}', 0, b""),
        GEMINI % (b'{"text": "of another"}', 1, b""),
        b'data: {"error": {"code": 503,"message": "no"}}\r\n\r\n',
    ],
}


def forms(protocol: ir.Protocol) -> list[bytes]:
    """Frames with a place for a string, of the kinds that come again and again, and some that only look like them."""
    match protocol:
        case "openai_chat":
            return [
                CHAT % (b'{"content":%b}', b""),
                CHAT % (b'{"content":%b}', b',"usage":null,"obfuscation":"x1"'),
                CHAT % (b'{"content": %b,"role":"assistant"}', b',"usage": null'),
                CHAT % (b'{"content":null,"reasoning_content":%b}', b',"p":""'),
                CHAT % (b'{"tool_calls":[{"index":0,"function":{"arguments":%b}}]}', b""),
                CHAT % (b'{"tool_calls":[{"index":0,"function":{"name":"f","arguments":%b}}]}', b""),
                CHAT % (b'{"refusal":%b}', b""),
                CHAT % (b'{"content":"a","content":%b}', b""),
                CHAT % (b'{"content":"a","reasoning_content":%b}', b""),
                CHAT % (b'{"content":%b,"tool_calls":[{"index":1,"function":{"arguments":"a"}}]}', b""),
                CHAT % (b'{"content":%b,"audio":{"data":"QQ=="}}', b""),
                CHAT % (b'{"content":%b}', b',"citations":["https://example.com"]'),
                CHAT % (b'{"content":"a"}', b',"id":%b'),
            ]
        case "anthropic_messages":
            return [
                MESSAGES % (0, b'"text_delta","text":%b', b""),
                MESSAGES % (0, b'"text_delta","text":%b', b"   "),
                MESSAGES % (1, b'"thinking_delta","thinking":%b', b""),
                MESSAGES % (2, b'"input_json_delta","partial_json":%b', b" "),
                MESSAGES % (2, b'"text_delta","text":%b', b""),
                MESSAGES % (1, b'"signature_delta","signature":%b', b""),
            ]
        case "openai_responses":
            return [
                RESPONSES % (name, number, output, rest)
                for number in (1, 20)
                for name, output, rest in (
                    (b"output_text", 0, b'"content_index":0,"delta":%b,"logprobs":[],"obfuscation":"x"'),
                    (b"output_text", 0, b'"content_index":1,"delta":%b'),
                    (b"function_call_arguments", 1, b'"delta":%b'),
                    (b"reasoning_summary_text", 2, b'"summary_index":0,"delta":%b'),
                    (b"reasoning_summary_text", 2, b'"summary_index":1,"delta":%b'),
                    (b"refusal", 0, b'"content_index":2,"delta":%b'),
                )
            ]
        case _:
            return [
                GEMINI % (b'{"text": %b}', 0, b',"modelVersion": "m"'),
                GEMINI % (b'{"text": %b}', 1, b""),
                GEMINI % (b'{"text": %b,"thought": true}', 0, b',"usageMetadata": {"promptTokenCount": 1}'),
            ]


@st.composite
def runs(draw: st.DrawFn, protocol: ir.Protocol) -> bytes:
    """Frames of one form or two, one after the other or in turns, nearly all of them good."""
    good = st.text(min_size=1).map(dumps)
    texts = draw(st.sampled_from((good, good, good, st.one_of(good, strings(), st.sampled_from(ODD)))))
    some = draw(st.lists(st.sampled_from(forms(protocol)), min_size=1, max_size=2))
    return b"".join(some[n % len(some)] % text for n, text in enumerate(draw(st.lists(texts, min_size=1, max_size=6))))


@st.composite
def streams(draw: st.DrawFn, protocol: ir.Protocol) -> list[bytes]:
    """A stream in pieces, cut anywhere."""
    rest = draw(st.lists(st.one_of(runs(protocol), runs(protocol), st.sampled_from(OTHERS[protocol])), max_size=6))
    stream = b"".join(OPENINGS[protocol] + rest + draw(st.sampled_from((ENDINGS[protocol], []))))
    places = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    return [stream[a:b] for a, b in pairwise([0, *places, len(stream)])]


def known(observer: StreamObserver) -> object:
    fault = observer.fault
    spelt = None if fault is None else (fault.message.partition(" (byte ")[0], fault.kind, fault.failure)
    return observer.usage, observer.finish_reason, spelt, observer.content, observer.ended, observer.text_length


def check(protocol: ir.Protocol, pieces: Sequence[bytes]) -> None:
    """Everything a stream tells, and all that is made of it, is the same frame by frame."""
    tap, passing, hiding = UsageTap(protocol), PassThrough(protocol), PassThrough(protocol, without_usage=True)
    out = b""
    for piece in pieces:
        tap.feed(piece)
        out += passing.forward(piece)
        hiding.forward(piece)
    # a frame that is not whole yet may be known of, or not
    tap.close()
    end = passing.end()
    hiding.end()
    assert known(passing) == known(hiding) == known(tap)
    assert b"".join(pieces).startswith(out)
    if tap.fault is None:
        assert (out + end).startswith(b"".join(pieces))
    for target in PROTOCOLS:
        told, translator = translated(protocol, target, *pieces)
        assert told.replace(KEEP_ALIVE, b"") == encoded(target, tap.events), target
        assert known(translator) == known(tap)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_form_in_a_run_around_each_other_frame(protocol: ir.Protocol) -> None:
    for form in forms(protocol):
        run = [form % dumps(text) for text in ("one ", 'two "2"', "\n", "né ", "{}")]
        for other in (b"", *OTHERS[protocol], *(another % b'"else"' for another in forms(protocol))):
            frames = [*OPENINGS[protocol], *run, other, *run, *ENDINGS[protocol]]
            check(protocol, frames)
            check(protocol, [b"".join(frames)])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=150)
@given(data=st.data())
def test_whatever_comes_in_runs_is_told_as_it_is_frame_by_frame(protocol: ir.Protocol, data: st.DataObject) -> None:
    check(protocol, data.draw(streams(protocol)))


@needs_wire
@pytest.mark.parametrize(
    "recording",
    [pytest.param(one, id=one.id) for one in recordings(*FOLDERS) if one.stream is not None],
)
def test_a_recorded_stream_is_told_as_it_is_frame_by_frame(recording: Recording) -> None:
    protocol, stream = FOLDERS[recording.folder.parent.name], recording.stream or b""
    for size in (len(stream), 61, 1000):
        check(protocol, [stream[at : at + size] for at in range(0, len(stream), size)])


@pytest.mark.parametrize("target", PROTOCOLS)
def test_thoughts_that_are_not_wanted_are_not_told_in_runs_either(target: ir.Protocol) -> None:
    context = StreamContext(include_thoughts=False, include_usage=True, clock=lambda: 0.0, new_id=str)
    thought = forms("anthropic_messages")[2]
    frames = [*OPENINGS["anthropic_messages"], *(thought % dumps(word) for word in ("a", "b", "c", "d"))]
    stream = b"".join(frames + ENDINGS["anthropic_messages"])
    tap = UsageTap("anthropic_messages")
    tap.feed(stream)
    translator = StreamTranslator(source="anthropic_messages", target=target, context=context)
    encoder, newline = codec(target).stream_encoder(context), codec(target).frame_newline
    told = [frame for event in tap.events for frame in encoder.feed(event)]
    assert translator.feed(stream) == b"".join(frame.encode(newline) for frame in told)


@pytest.mark.parametrize("calls", range(12))
def test_frames_are_told_apart_however_many_were_learnt_in_vain(calls: int) -> None:
    """What stands between two frames that are the same ends the part of the first."""
    call = CHAT % (b'{"tool_calls":[{"index":7,"id":"b","function":{"name":"g","arguments":""}}]}', b"")
    unlike = [CHAT % (b'{"content":"a"}', b',"x":%d' % number) for number in range(calls)]
    word = CHAT % (b'{"content":"b"}', b"")
    check("openai_chat", [*OPENINGS["openai_chat"], *unlike, word, call, word, *ENDINGS["openai_chat"]])


@pytest.mark.parametrize("target", PROTOCOLS)
def test_a_run_of_a_part_that_is_not_told_has_to_be_fed(target: ir.Protocol) -> None:
    encoder = codec(target).stream_encoder(StreamContext())
    assert encoder.more(ir.TextDelta(0, "ab"), ["a", "b"]) is None


def test_a_free_text_in_runs_is_told_when_it_is_whole() -> None:
    """Its arguments are an object around it, which the client never sees."""
    names = ToolNames({}, frozenset({"f"}))
    translator = StreamTranslator(source="openai_chat", target="openai_responses", tool_names=names)
    fragment = CHAT % (b'{"tool_calls":[{"index":0,"function":{"arguments":%b}}]}', b"")
    words = ['{"input":"', "one ", "two ", "three", '"}']
    out = translator.feed(b"".join([*OPENINGS["openai_chat"], *(fragment % dumps(word) for word in words)]))
    assert b"one" not in out
    assert b'"delta":"one two three"' in translator.feed(b"".join(ENDINGS["openai_chat"]))


def test_an_event_that_is_too_large_is_a_fault_although_it_came_at_once() -> None:
    passing, tap = PassThrough("openai_chat"), UsageTap("openai_chat")
    event = b"data: " + b"x" * MAX_EVENT + b"\n\n"
    passing.forward(event)
    tap.feed(event)
    assert passing.fault is not None
    assert known(passing) == known(tap)


def test_thoughts_in_runs_are_remembered_like_any_others() -> None:
    recorder = TurnRecorder()
    translator = StreamTranslator(
        source="anthropic_messages", target="openai_chat", carriers_key=bytes(32), recorder=recorder
    )
    thought, signed = forms("anthropic_messages")[2], forms("anthropic_messages")[5]
    words = [thought % dumps(word) for word in ("one ", "two ", "three ", "four")]
    translator.feed(b"".join([*OPENINGS["anthropic_messages"], *words, signed % b'"c2ln"']))
    translator.feed(b"".join(ENDINGS["anthropic_messages"]))
    turn = recorder.turn()
    assert turn is not None
    assert [item.thought.text for item in turn.items if item.thought is not None] == ["one two three four"]


def test_a_long_stream_in_one_chunk_is_looked_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short runs between frames of another kind: what is looked through for each of them must not be all the rest."""
    frames = [
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]%b}\n\n' % (b"word" * (number % 9), odd)
        for number in range(500)
        for odd in (b"", b"", b"", b',"x":1')
    ]
    looked: list[int] = []
    again = Refrain.again

    def watched(refrain: Refrain, given: bytes, start: int) -> Again:
        looked.append(len(given))
        return again(refrain, given, start)

    monkeypatch.setattr(Refrain, "again", watched)
    context = StreamContext(model="m", new_id=lambda prefix: prefix)
    at_once, in_turn = (
        StreamTranslator(source="openai_chat", target="anthropic_messages", context=context) for _ in range(2)
    )
    told = at_once.feed(b"".join(frames))
    assert looked and max(looked) < 70_000 < len(b"".join(frames))
    assert told == b"".join(in_turn.feed(frame) for frame in frames)
