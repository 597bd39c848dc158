from __future__ import annotations

import pytest

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.json import JSONObject, JSONValue, as_object, dumps, loads_object
from asgi_llmgw.passthrough import PassThrough, ask_for_usage, hide_usage, tells_finish
from asgi_llmgw.protocols import codec, skim_response
from tests.samples import CHAT_ERROR, CHAT_ROLE, CHAT_USAGE, DONE, chat_chunk, chat_stream, frame, messages_stream
from tests.wire import needs_wire, recordings


@needs_wire
def test_every_recorded_chat_stream_passes_byte_for_byte() -> None:
    """Law 6: whole, byte by byte, and in pieces."""
    streams = [found.stream for found in recordings("openai_chat") if found.stream is not None]
    assert len(streams) >= 14
    for stream in streams:
        for size in (1, 61, len(stream)):
            passing = PassThrough("openai_chat")
            out = b"".join(passing.forward(stream[at : at + size]) for at in range(0, len(stream), size))
            assert out + passing.end() == stream
            assert passing.fault is None and passing.finish_reason is not None


def test_usage_is_asked_for_only_where_it_would_be_missing() -> None:
    body = b'{"model":"m","stream":true,"messages":[ 1 ]}'
    asked = ask_for_usage("openai_chat", body)
    assert asked is not None
    assert asked == {"stream_options": {"include_usage": True}}
    sent = codec("openai_chat").with_model("/v1/chat/completions", body, "n", asked).body
    assert sent == b'{"model":"n","stream":true,"messages":[ 1 ],"stream_options":{"include_usage":true}}'
    assert ask_for_usage("openai_chat", b'{"stream":true,"stream_options":{"include_usage":true}}') is None
    assert ask_for_usage("openai_chat", b'{"stream":true,"stream_options":{"include_usage":false}}') is None
    assert ask_for_usage("anthropic_messages", body) is None


def test_other_stream_options_are_kept() -> None:
    asked = ask_for_usage("openai_chat", b'{"stream":true,"stream_options":{"include_obfuscation":false}}')
    assert asked is not None
    assert asked == {"stream_options": {"include_obfuscation": False, "include_usage": True}}


def test_hiding_usage_leaves_all_other_bytes() -> None:
    data = b'{"choices":[{"delta":{"content":",\\"usage\\":null"}}],"usage":null,"x": 1}'
    assert hide_usage(b"data: %b\n\n" % data) == (
        b'data: {"choices":[{"delta":{"content":",\\"usage\\":null"}}],"x": 1}\n\n'
    )
    assert hide_usage(b'data: {"choices": [1], "usage": null}\r\n\r\n') == b'data: {"choices": [1]}\r\n\r\n'


def test_a_first_chunk_without_choices_is_kept() -> None:
    """F154: Azure's content filter results come so."""
    first = b'data: {"choices":[],"prompt_filter_results":[]}\n\n'
    assert hide_usage(first.replace(b"]}", b'],"usage":null}')) == first


def test_only_the_frame_of_usage_alone_is_taken_out() -> None:
    last = frame({"choices": [], "usage": {"total_tokens": 1}})
    kept = (
        b": usage\n\n",
        b'data: not JSON "choices":[]\n\n',
        b'data: {"x":{"choices":[]},"usage":{}}\n\n',
        b'data: {"choices":[{}],"usage":{}}\n\n',
        b': "choices":[]\n\n',
    )
    assert hide_usage(last.join(kept)) == b"".join(kept)


def test_usage_is_read_and_taken_out() -> None:
    passing = PassThrough("openai_chat", without_usage=True)
    chunks = chat_stream("Hi", usage=True)
    out = b"".join(passing.forward(chunk) for chunk in chunks) + passing.end()
    assert out == b"".join(chunk for chunk in chunks if chunk != CHAT_USAGE)
    assert passing.usage is not None and passing.usage.input_tokens == 9


def test_a_last_frame_without_its_blank_line_is_kept() -> None:
    passing = PassThrough("openai_chat", without_usage=True)
    chunks = b"".join(chat_stream("Hi"))
    out = passing.forward(chunks[:-1]) + passing.end()
    assert out == chunks[:-1] and passing.fault is None


@pytest.mark.parametrize("without_usage", [False, True])
def test_a_cut_is_told_as_an_error_event(without_usage: bool) -> None:
    passing = PassThrough("openai_chat", without_usage=without_usage)
    out = passing.forward(chat_chunk({"content": "Hel"})) + passing.end()
    assert as_object(loads_object(out.strip().split(b"data: ")[-1])["error"])["message"]
    assert DONE not in out


def test_a_cut_inside_a_frame_does_not_swallow_the_error_event() -> None:
    passing = PassThrough("anthropic_messages")
    whole = b"".join(messages_stream("Hello")[:4])
    out = passing.forward(whole[:-30]) + passing.end(UpstreamError("Reset.", failure="unreachable"))
    assert out.split(b"\n\n")[-2].startswith(b"event: error\ndata: ")


def test_the_vendors_own_error_event_is_not_told_twice() -> None:
    passing = PassThrough("openai_chat")
    out = passing.forward(frame(CHAT_ERROR)) + passing.end()
    assert out == frame(CHAT_ERROR)
    assert passing.fault is not None


@pytest.mark.parametrize("without_usage", [False, True])
def test_an_endless_event_is_a_fault_and_not_an_exception(without_usage: bool) -> None:
    """F145."""
    passing = PassThrough("openai_chat", without_usage=without_usage)
    out = b"".join([passing.forward(b"data: " + b"x" * 1024 * 1024) for _ in range(18)])
    assert passing.fault is not None and out == b""
    assert passing.forward(b"\n\ndata: [DONE]\n\n") == b""
    assert loads_object(passing.end().removeprefix(b"data: "))["error"]


def test_a_finish_is_seen_in_the_bytes_and_an_empty_one_is_none() -> None:
    """T4, T11."""
    assert tells_finish("openai_chat", chat_chunk({}, "stop"))
    assert not tells_finish("openai_chat", chat_chunk({}, ""))
    assert not tells_finish("openai_chat", chat_chunk({"content": 'say "finish_reason":"stop"'}))
    assert [tells_finish("anthropic_messages", chunk) for chunk in messages_stream("Hi")].count(True) == 1
    assert not tells_finish("gemini_generate", frame({"candidates": [{"finishReason": "STOP"}]}))


def test_a_finish_is_remembered_wherever_its_frame_is_cut() -> None:
    stream = b"".join(chat_stream("Hel", "lo"))
    told = stream.index(b"\n\n", stream.index(b'"stop"')) + 2
    for cut in range(len(stream)):
        passing = PassThrough("openai_chat")
        passing.forward(stream[:cut])
        assert passing.finished is (cut >= told)
        passing.forward(stream[cut:])
        assert passing.finished


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_a_frame_that_is_cut_off_never_reaches_the_client(newline: bytes) -> None:
    """F149: what is told behind half a frame would be read as a part of it."""
    stream = b"".join(chat_stream("Hel", "lo")).replace(b"\n", newline)
    frames = [frame + newline * 2 for frame in stream.split(newline * 2)[:-1]]
    for cut in range(1, len(stream) - len(frames[-1]) - len(frames[-2])):
        passing = PassThrough("openai_chat")
        out = passing.forward(stream[: cut // 2]) + passing.forward(stream[cut // 2 : cut])
        end = passing.end()
        assert stream.startswith(out)
        assert not out or out.endswith(newline * 2)
        assert end.startswith(b"data: {") and passing.fault is not None


def test_a_chat_stream_whose_vendor_forgets_the_terminator_gets_it() -> None:
    """F148."""
    frames = chat_stream("Hi")
    for last in (frames[-2], frames[-2].rstrip(b"\n")):
        passing = PassThrough("openai_chat")
        out = b"".join(passing.forward(chunk) for chunk in (*frames[:-2], last)) + passing.end()
        assert out == b"".join(frames)


def test_a_text_that_looks_like_the_terminator_is_none() -> None:
    frames = chat_stream("[DONE]")
    passing = PassThrough("openai_chat")
    assert passing.forward(b"".join(frames[:-1])) + passing.end() == b"".join(frames)


def test_a_terminator_without_its_blank_line_stays_as_it_is() -> None:
    stream = b"".join(chat_stream("Hi")).rstrip(b"\n")
    passing = PassThrough("openai_chat")
    assert passing.forward(stream) + passing.end() == stream


def chat_answer(finish: str | None = "stop", **message: JSONValue) -> bytes:
    choice: JSONObject = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return dumps({"id": "1", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(chat_answer(content="Hi"), id="text"),
        pytest.param(chat_answer("length", content="Hi"), id="cut text"),
        pytest.param(chat_answer("eos", content="Hi"), id="a vendor's own word"),
        pytest.param(chat_answer("soon", content="Hi"), id="an unknown word"),
        pytest.param(chat_answer(content="Hi", tool_calls=None, function_call=None), id="text and null"),
        pytest.param(chat_answer(content="Hi", tool_calls=[]), id="text and no calls"),
        pytest.param(chat_answer(None, content="Hi"), id="no ending"),
        pytest.param(chat_answer(content="né"), id="not ASCII"),
        pytest.param(chat_answer(content="", function_call={"name": "f", "arguments": "{}"}), id="a call of old"),
        pytest.param(
            chat_answer(content=None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "f"}}]),
            id="a call",
        ),
    ],
)
def test_an_answer_that_is_skimmed_tells_what_one_tells_that_is_read(body: bytes) -> None:
    answer = codec("openai_chat").decode_response(body)
    assert skim_response("openai_chat", body) == (answer.usage, answer.choices[0].finish.kind)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"error":{"message":"no"},"choices":[]}', id="an error"),
        pytest.param(chat_answer(content="Hi").replace(b'{"index"', b'{"error":{"message":"no"},"index"'), id="in it"),
        pytest.param(b'{"choices":[]}', id="no choices"),
        pytest.param(chat_answer(content="Hi") + b"x", id="not JSON"),
        pytest.param(chat_answer(content="Hi", x="~").replace(b"~", b"\\ud800"), id="half a character"),
        pytest.param(chat_answer(content="Hi", x="~").replace(b"~", b"\xff"), id="not UTF-8"),
    ],
)
def test_an_answer_that_is_an_error_is_one_however_little_of_it_is_read(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        skim_response("openai_chat", body)


def test_usage_is_taken_out_wherever_it_comes() -> None:
    """In pieces, behind the end too, and no comment or other byte with it."""
    usage = frame({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    words = [chat_chunk({"content": word}) for word in ("one", "two", "three")]
    kept = [CHAT_ROLE, b": still here\n\n", *words, b"id: 7\n" + words[0], chat_chunk({}, "stop"), DONE]
    for place in range(1, len(kept) + 1):
        stream = b"".join([*kept[:place], usage, *kept[place:]])
        for size in (7, 300, len(stream)):
            passing = PassThrough("openai_chat", without_usage=True)
            out = b"".join([passing.forward(stream[at : at + size]) for at in range(0, len(stream), size)])
            assert out + passing.end() == b"".join(kept)


@pytest.mark.parametrize("empty", [b',"usage":null', b', "usage": null'], ids=["close", "wide"])
@pytest.mark.parametrize("place", [b',"choices"', b"}\n\n"], ids=["before the text", "behind the text"])
@pytest.mark.parametrize("created", [0, 1], ids=["one time", "as time goes by"])
def test_empty_usage_is_taken_out_of_frames_however_they_come(empty: bytes, place: bytes, created: int) -> None:
    words = ["one", 'say ,"usage":null', "\\", "né", "", "six"]
    kept = [CHAT_ROLE, *(chat_chunk({"content": word}) for word in words), chat_chunk({}, "stop"), DONE]
    kept = [
        frame.replace(b'"created":1700000000', b'"created":%d' % (1 + number * created))
        for number, frame in enumerate(kept)
    ]
    frames = [frame.replace(place, empty + place) for frame in kept]
    stream = b"".join(frames)
    for pieces in (frames, [stream], [stream[at : at + 300] for at in range(0, len(stream), 300)]):
        passing = PassThrough("openai_chat", without_usage=True)
        assert b"".join(map(passing.forward, pieces)) + passing.end() == b"".join(kept)
        assert passing.text_length == sum(map(len, words))
