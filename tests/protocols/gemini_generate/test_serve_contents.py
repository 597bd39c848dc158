from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue, as_list, as_object, dumps
from asgi_llmgw.protocols.gemini_generate import CODEC

from .served import CALL, PATH, USER, answer, ask, candidate, converse, model, refused, result, user

OURS: ir.Protocol = "gemini_generate"


def signed(payload: str) -> ir.Opaque:
    return ir.Opaque(OURS, "thought_signature", payload)


def test_one_streamed_turn_in_several_contents_is_one_turn() -> None:
    """Clients 20, S: the JS chat helper replays each chunk as a content of its own."""
    messages = converse(
        user({"text": "go"}),
        model({"text": "Hel"}),
        model({"text": "lo"}),
        model(CALL),
        model(CALL),
        user(result("f", {"output": "1"}), result("f", {"output": "2"})),
    )
    assert [message.role for message in messages] == ["user", "assistant", "tool"]
    assert messages[1].parts == (
        ir.TextPart("Hello"),
        ir.ToolCallPart("call_0", "f", '{"a":1}'),
        ir.ToolCallPart("call_1", "f", '{"a":1}'),
    )
    assert [part.call_id for part in messages[2].parts if isinstance(part, ir.ToolResultPart)] == ["call_0", "call_1"]


def test_results_find_their_calls_by_id_whatever_the_order() -> None:
    """I2, trap 19"""
    messages = converse(
        user({"text": "go"}),
        model(
            {"functionCall": {"id": "a", "name": "f", "args": {}}},
            {"functionCall": {"id": "b", "name": "f", "args": {}}},
        ),
        user(result("f", {"output": "2"}, id="b"), result("f", {"output": "1"}, id="a")),
    )
    assert [part.call_id for part in messages[2].parts if isinstance(part, ir.ToolResultPart)] == ["b", "a"]


def test_results_without_ids_find_their_calls_by_name_and_then_by_order() -> None:
    """I6: one queue per name, and the ids are the same in every request of the conversation."""
    g: JSONObject = {"functionCall": {"name": "g"}}
    first = (user({"text": "go"}), model(CALL, g, CALL))
    messages = converse(
        *first, user(result("g", {"output": "g"}), result("f", {"output": "1"}), result("f", {"output": "2"}))
    )
    assert [part.call_id for part in messages[2].parts if isinstance(part, ir.ToolResultPart)] == [
        "call_1",
        "call_0",
        "call_2",
    ]
    longer = converse(
        *first,
        user(result("g", {}), result("f", {}), result("f", {})),
        model(CALL),
        user(result("f", {"output": "3"})),
    )
    assert longer[1] == messages[1]
    assert longer[4].parts == (ir.ToolResultPart("call_3", (ir.TextPart("3"),), "f"),)


def test_made_ids_never_meet_given_ones() -> None:
    """I6"""
    messages = converse(
        user({"text": "go"}),
        model(CALL, {"functionCall": {"id": "call_0", "name": "f"}}),
        user(result("f", {"output": "b"}, id="call_0"), result("f", {"output": "a"})),
    )
    calls = [part.id for part in messages[1].parts if isinstance(part, ir.ToolCallPart)]
    assert len(set(calls)) == 2
    assert [part.call_id for part in messages[2].parts if isinstance(part, ir.ToolResultPart)] == calls[::-1]


def test_a_late_second_result_belongs_to_the_call_it_repeats() -> None:
    """I5"""
    messages = converse(
        user({"text": "go"}), model(CALL), user(result("f", {"output": "1"})), user(result("f", {"output": "2"}))
    )
    assert [part.call_id for m in messages for part in m.parts if isinstance(part, ir.ToolResultPart)] == ["call_0"] * 2


def test_a_result_without_a_call_is_refused() -> None:
    error = refused(contents=[USER, user(result("f", {"output": "1"}))])
    assert (error.param, error.code) == ("contents[1].parts[0].functionResponse", "tool_result_without_call")


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"output": "plain"}, "plain", None),
        ({"output": {"a": [1]}}, '{"a":[1]}', None),
        ({"error": "boom"}, "boom", True),
        ({"error": None, "output": "fine"}, "fine", None),
        ({"result": 3}, '{"result":3}', None),
        ({"output": "x", "more": 1}, '{"output":"x","more":1}', None),
        ({}, None, None),
        (None, None, None),
    ],
)
def test_what_a_function_answered_becomes_text(response: JSONValue, text: str | None, is_error: bool | None) -> None:
    """§3.8, P7"""
    messages = converse(user({"text": "go"}), model(CALL), user(result("f", response)))
    content = () if text is None else (ir.TextPart(text),)
    assert messages[2].parts == (ir.ToolResultPart("call_0", content, "f", is_error),)


def test_media_inside_a_result_come_along() -> None:
    """I7"""
    inner: JSONObject = {"inlineData": {"mimeType": "image/png", "data": "aGk=", "displayName": "a.png"}}
    messages = converse(user({"text": "go"}), model(CALL), user(result("f", {"output": "x"}, parts=[inner])))
    image = ir.MediaPart("image", ir.Base64Source("aGk="), "image/png", filename="a.png")
    assert messages[2].parts == (ir.ToolResultPart("call_0", (ir.TextPart("x"), image), "f"),)


def test_results_stand_before_what_else_the_user_says() -> None:
    """I2, I4"""
    messages = converse(user({"text": "go"}), model(CALL), user({"text": "and"}, result("f", {"output": "x"})))
    assert [message.role for message in messages[2:]] == ["tool", "user"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"inlineData": {"mimeType": "application/pdf", "data": "-_8"}},
            ir.MediaPart("document", ir.Base64Source("+/8="), "application/pdf"),
        ),
        (
            {"inlineData": {"mimeType": "text/markdown", "data": "w6Q="}},
            ir.MediaPart("document", ir.TextSource("ä"), "text/markdown"),
        ),
        (
            {"inlineData": {"mimeType": "text/plain", "data": "/w=="}},
            ir.MediaPart("document", ir.Base64Source("/w=="), "text/plain"),
        ),
        (
            {"fileData": {"fileUri": "https://example.com/a.png"}},
            ir.MediaPart("image", ir.UrlSource("https://example.com/a.png")),
        ),
        (
            {"fileData": {"fileUri": "https://youtu.be/x"}},
            ir.MediaPart("video", ir.UrlSource("https://youtu.be/x")),
        ),
        (
            {"fileData": {"mimeType": "audio/mp3", "fileUri": "gs://b/c"}},
            ir.MediaPart("audio", ir.FileSource("gs://b/c", OURS), "audio/mp3"),
        ),
        (
            {
                "fileData": {
                    "mimeType": "image/png",
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x",
                },
                "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"},
            },
            ir.MediaPart(
                "image",
                ir.FileSource("https://generativelanguage.googleapis.com/v1beta/files/x", OURS),
                "image/png",
                detail="high",
            ),
        ),
    ],
    ids=["base64url", "text", "text_that_is_none", "url", "video", "I17_cloud_storage", "uploaded"],
)
def test_media_are_bytes_addresses_or_files(part: JSONObject, expected: ir.MediaPart) -> None:
    """Trap 4, I15"""
    assert converse(user(part))[0].parts == (expected,)


def test_the_resolution_of_the_request_is_that_of_its_media() -> None:
    request = ask(
        contents=[user({"inlineData": {"mimeType": "image/png", "data": "aGk="}})],
        generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW"},
    )
    (part,) = request.messages[0].parts
    assert isinstance(part, ir.MediaPart) and part.detail == "low"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a+/b", "a+/b"),
        ("a-_b", "a+/b"),
        ("a-_", "a+/="),
        ("skip_thought_signature_validator", "skip_thought_signature_validator"),
    ],
)
def test_signatures_keep_their_bytes(sent: str, kept: str) -> None:
    """Traps 4 and 20, R5: in the spelling the vendor gave them, whatever an SDK made of it."""
    parts: list[JSONValue] = [{"text": "t", "thoughtSignature": sent}, {**CALL, "thoughtSignature": sent}]
    messages = converse(user({"text": "go"}), model(*parts), user(result("f", {})))
    assert messages[1].parts == (
        ir.TextPart("t", signature=signed(kept)),
        ir.ToolCallPart("call_0", "f", '{"a":1}', signature=signed(kept)),
    )


def test_a_signed_part_is_never_joined_with_another() -> None:
    """R7: not even an empty one."""
    parts: list[JSONValue] = [
        {"text": "a", "thought": True},
        {"text": "b", "thought": True},
        {"text": "c", "thoughtSignature": "aaaa"},
        {"text": "d"},
        {"text": ""},
        {"text": "", "thoughtSignature": "bbbb"},
        {"thoughtSignature": "cccc"},
    ]
    assert converse(user({"text": "go"}), model(*parts))[1].parts == (
        ir.ReasoningPart("ab"),
        ir.TextPart("c", signature=signed("aaaa")),
        ir.TextPart("d"),
        ir.TextPart("", signature=signed("bbbb")),
        ir.TextPart("", signature=signed("cccc")),
    )


def test_parts_only_gemini_has_are_carried_as_they_are() -> None:
    code: JSONObject = {"executable_code": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "a-_b"}
    messages = converse(user({"text": "go"}), model(code))
    assert messages[1].parts == (ir.UnknownPart(OURS, code, "executableCode"),)


def test_the_reasoning_of_another_vendor_comes_back_from_the_signature_it_travelled_in() -> None:
    """R1, §3.10: byte for byte, before the part that carried it, whether or not the client kept the thoughts."""
    thinking = ir.ReasoningPart("Hmm.\n", ir.Opaque("anthropic_messages", "signature", "c2ln+/=="))
    redacted = ir.ReasoningPart("", ir.Opaque("anthropic_messages", "redacted", "data"))
    call = ir.ToolCallPart("toolu_1", "f", '{"a":1}')
    content = as_object(candidate(answer(thinking, redacted, call))["content"])
    kept: JSONObject = {**content, "parts": [p for p in as_list(content["parts"]) if "thought" not in as_object(p)]}
    url_safe = dumps(content).replace(b"+", b"-")
    for replayed in (dumps(content), dumps(kept), url_safe):
        body = b'{"contents":[%b,%b,%b]}' % (dumps(USER), replayed, dumps(user(result("f", {"output": "x"}))))
        assert CODEC.decode_request(PATH, body).messages[1].parts == (thinking, redacted, call)


def test_thoughts_the_client_kept_are_not_lost_where_nothing_carries_them() -> None:
    """R4: only those that travelled in a signature too are left out."""
    parts: list[JSONValue] = [{"text": "a", "thought": True}, {"text": "b"}, {"text": "c", "thought": True}, CALL]
    assert converse(user({"text": "go"}), model(*parts), user(result("f", {})))[1].parts == (
        ir.ReasoningPart("a"),
        ir.TextPart("b"),
        ir.ReasoningPart("c"),
        ir.ToolCallPart("call_0", "f", '{"a":1}'),
    )


def test_a_long_history_is_read_in_time_that_grows_with_it() -> None:
    """M3: texts to join, and calls and results to match, by the thousand."""
    many = 3_000
    calls: list[JSONValue] = [model({"text": "x"}, CALL) for _ in range(many)]
    results: list[JSONValue] = [user(result("f", {"output": "y"})) for _ in range(many)]
    messages = converse(user({"text": "go"}), *calls, *[model({"text": "z"})] * many, *results)
    assert len(messages) == 2 + many
    assert len(messages[1].parts) == 2 * many + 1
