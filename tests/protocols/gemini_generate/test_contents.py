from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import as_list, as_object
from asgi_llmgw.protocols.base import Profile

from .sent import HELLO, OURS, PLAIN, THREE, body, call, contents, encode, losses, result, results, signature


def user(*texts: str) -> ir.Message:
    return ir.Message("user", tuple(ir.TextPart(text) for text in texts))


def assistant(*parts: ir.Part) -> ir.Message:
    return ir.Message("assistant", parts)


def system(text: str, role: ir.Role = "system") -> ir.Message:
    return ir.Message(role, (ir.TextPart(text),))


def test_leading_system_messages_are_the_instruction() -> None:
    sent = body(system("a"), system("b", "developer"), HELLO)
    assert sent["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "hello"}]}]


def test_a_later_system_message_is_moved_to_the_front() -> None:
    sent = body(system("a"), HELLO, system("b"), user("on"))
    assert sent["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "hello"}, {"text": "on"}]}]


@pytest.mark.parametrize("place", ["user", "system"])
def test_a_later_system_message_stays_in_place_where_that_is_wanted(place: str) -> None:
    sent = contents(HELLO, system("b"), profile=Profile(mid_system=place))
    assert sent == [("user", [{"text": "hello"}, {"text": "<system>\nb\n</system>"}])]


def test_the_last_of_system_messages_alone_is_the_users() -> None:
    encoded = encode(system("a"), system("b"))
    sent = body(system("a"), system("b"))
    assert sent["contents"] == [{"role": "user", "parts": [{"text": "b"}]}]
    assert sent["systemInstruction"] == {"parts": [{"text": "a"}]}
    assert ("messages", "approximated", "warning") in losses(encoded)


def test_no_messages_are_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(messages=())
    assert caught.value.param == "messages"


def test_a_message_without_text_leaves_no_empty_content() -> None:
    assert contents(user("")) == [("user", [{"text": " "}])]
    assert contents(user("a"), assistant(ir.TextPart("")), user("b")) == [("user", [{"text": "a"}, {"text": "b"}])]


def test_neighbours_of_one_role_are_joined() -> None:
    sent = contents(user("a"), user("b"), assistant(ir.TextPart("c")), assistant(ir.RefusalPart("d")))
    assert sent == [("user", [{"text": "a"}, {"text": "b"}]), ("model", [{"text": "c"}, {"text": "d"}])]


def test_the_user_begins() -> None:
    assert [role for role, _ in contents(assistant(ir.TextPart("a")), HELLO)] == ["user", "model", "user"]


def test_results_stand_together_in_the_order_of_their_calls() -> None:
    """I2, I3: whatever order they came in, in one content right after the calls."""
    calls = assistant(ir.ToolCallPart("a", "f", '{"x":1}'), ir.ToolCallPart("b", "g", "{}"))
    sent = contents(HELLO, calls, results(result("b", "2")), user("so?"), results(result("a", "1")))
    assert sent[1:] == [
        (
            "model",
            [{"functionCall": {"name": "f", "args": {"x": 1}}}, {"functionCall": {"name": "g", "args": {}}}],
        ),
        (
            "user",
            [
                {"functionResponse": {"name": "f", "response": {"output": "1"}}},
                {"functionResponse": {"name": "g", "response": {"output": "2"}}},
                {"text": "so?"},
            ],
        ),
    ]


def test_calls_of_several_messages_are_one_turn() -> None:
    """Clients 20: the JavaScript chat helper replays one turn as several contents."""
    sent = contents(HELLO, call("a"), call("b"), results(result("a", "1"), result("b", "2")))
    assert [role for role, _ in sent] == ["user", "model", "user"]
    assert len(sent[2][1]) == 2


def test_a_turn_after_a_result_is_a_turn_of_its_own() -> None:
    sent = contents(HELLO, call("a"), results(result("a", "1")), call("b"), results(result("b", "2")))
    assert [role for role, _ in sent] == ["user", "model", "user", "model", "user"]


def test_one_id_in_two_turns_is_two_calls() -> None:
    sent = contents(HELLO, call("a"), results(result("a", "1")), call("a"), results(result("a", "2")))
    answers = [as_object(as_object(sent[i][1][0])["functionResponse"])["response"] for i in (2, 4)]
    assert answers == [{"output": "1"}, {"output": "2"}]


def test_results_without_ids_are_matched_by_name_and_order() -> None:
    """I6."""
    calls = assistant(ir.ToolCallPart("", "f", "{}"), ir.ToolCallPart("", "g", "{}"), ir.ToolCallPart("", "f", "{}"))
    answers = [ir.ToolResultPart("", (ir.TextPart(text),), name=name) for text, name in (("1", "f"), ("2", "f"))]
    sent = contents(HELLO, calls, results(*answers, ir.ToolResultPart("", (ir.TextPart("3"),), name="g")))
    given = [as_object(as_object(as_object(part)["functionResponse"])["response"])["output"] for part in sent[2][1]]
    assert given == ["1", "3", "2"]


def test_the_later_of_two_results_wins() -> None:
    """I5."""
    messages = (HELLO, call("a"), results(result("a", "old"), result("a", "new")))
    assert as_object(contents(*messages)[2][1][0])["functionResponse"] == {
        "name": "weather",
        "response": {"output": "new"},
    }
    assert ("messages[2].content[0]", "dropped", "warning") in losses(encode(*messages))


def test_a_call_without_a_result_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(HELLO, call("a"), user("well?"))
    assert caught.value.param == "messages[1].content[0]"


def test_a_result_without_a_call_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(HELLO, results(result("a", "1")))
    assert caught.value.param == "messages[1].content[0]"


@pytest.mark.parametrize(
    "message",
    [
        ir.Message("user", (ir.ToolCallPart("a", "f", "{}"),)),
        ir.Message("assistant", (ir.ToolResultPart("a", ()),)),
        ir.Message("system", (ir.MediaPart("image", ir.Base64Source("aGk="), "image/png"),)),
    ],
)
def test_parts_in_the_wrong_mouth_are_refused(message: ir.Message) -> None:
    with pytest.raises(InvalidRequest):
        encode(message)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param("", {}, id="I8_empty"),
        pytest.param('{"a":[1,2.5]}', {"a": [1, 2.5]}, id="object"),
        pytest.param('{"big":123456789012345678901234567890}', {"big": 123456789012345678901234567890}, id="big"),
        pytest.param("[1]", {"input": [1]}, id="I8_array"),
        pytest.param('{"a":', {"input": '{"a":'}, id="I8_broken"),
    ],
)
def test_arguments_are_an_object(arguments: str, expected: object) -> None:
    sent = contents(HELLO, call("a", arguments=arguments), results(result("a", "1")))
    assert as_object(as_object(sent[1][1][0])["functionCall"])["args"] == expected


def test_the_text_of_a_custom_tool_is_wrapped() -> None:
    calls = assistant(ir.ToolCallPart("a", "patch", '{"not": parsed', kind="custom"))
    sent = contents(HELLO, calls, results(result("a", "ok")))
    assert as_object(sent[1][1][0])["functionCall"] == {"name": "patch", "args": {"input": '{"not": parsed'}}


def test_ids_go_to_models_that_know_them() -> None:
    """I1: an id another vendor made is mapped, the same way in call and result."""
    for given, expected in (("call_1", "call_1"), ("a|b", "call_")):
        sent = contents(HELLO, call(given), results(result(given, "1")), profile=THREE)
        ids = [
            as_object(as_object(sent[1][1][0])["functionCall"])["id"],
            as_object(as_object(sent[2][1][0])["functionResponse"])["id"],
        ]
        assert ids[0] == ids[1]
        assert str(ids[0]).startswith(expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(result("a", "sunny"), {"output": "sunny"}, id="text"),
        pytest.param(result("a", "1", "2"), {"output": "1\n2"}, id="texts"),
        pytest.param(result("a"), {"output": ""}, id="nothing"),
        pytest.param(result("a", '{"t": 20}'), {"output": {"t": 20}}, id="object"),
        pytest.param(result("a", "[1]"), {"output": [1]}, id="array"),
        pytest.param(result("a", "20"), {"output": "20"}, id="number_stays_text"),
        pytest.param(result("a", "{broken"), {"output": "{broken"}, id="broken"),
        pytest.param(result("a", "boom", is_error=True), {"error": "boom"}, id="P7_error"),
        pytest.param(result("a", '[{"$ref":"#/x"}]'), {"output": '[{"$ref":"#/x"}]'}, id="J6_ref"),
        pytest.param(result("a", '{"a":{"$defs":{}}}'), {"output": '{"a":{"$defs":{}}}'}, id="J6_defs"),
        pytest.param(result("a", "[" * 60 + "]" * 60), {"output": "[" * 60 + "]" * 60}, id="too_deep"),
    ],
)
def test_results_are_objects(given: ir.ToolResultPart, expected: object) -> None:
    sent = contents(HELLO, call("a"), results(given))
    assert as_object(as_object(sent[2][1][0])["functionResponse"])["response"] == expected


IMAGE = ir.MediaPart("image", ir.Base64Source("iVBORw0KGgo="), "image/png")


def test_media_of_a_result_stand_inside_it_where_the_model_takes_that() -> None:
    """I7."""
    given = results(ir.ToolResultPart("a", (ir.TextPart("look"), IMAGE)))
    inline = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    inside = contents(HELLO, call("a"), given, profile=Profile(function_response_media=True))
    assert as_object(as_object(inside[2][1][0])["functionResponse"])["parts"] == [inline]
    after = contents(HELLO, call("a"), given)
    assert "parts" not in as_object(as_object(after[2][1][0])["functionResponse"])
    assert after[2][1][1:] == [{"text": "What the tool weather returned:"}, inline]


def test_a_signature_comes_back_on_its_own_part() -> None:
    """R5, R7: on calls, texts, empty texts and pictures."""
    turn = assistant(
        ir.TextPart("a", signature=signature("czE=")),
        ir.TextPart("", signature=signature("czI=")),
        ir.MediaPart("image", ir.Base64Source("aGk="), "image/png", signature=signature("czM=")),
        ir.ToolCallPart("x", "f", "{}", signature=signature("czQ=")),
    )
    parts = contents(HELLO, turn, results(result("x", "1")))[1][1]
    assert [as_object(part)["thoughtSignature"] for part in parts] == ["czE=", "czI=", "czM=", "czQ="]
    assert as_object(parts[1])["text"] == ""


def test_a_lost_signature_has_a_stand_in_on_the_first_call_alone() -> None:
    """R5, trap 20."""
    turn = assistant(ir.TextPart("a"), ir.ToolCallPart("x", "f", "{}"), ir.ToolCallPart("y", "f", "{}"))
    answers = results(result("x", "1"), result("y", "2"))
    parts = contents(HELLO, turn, answers, profile=Profile(thought_signatures=True))[1][1]
    assert [as_object(part).get("thoughtSignature") for part in parts] == [
        None,
        "skip_thought_signature_validator",
        None,
    ]
    assert "thoughtSignature" not in as_object(contents(HELLO, turn, answers)[1][1][1])


def test_a_signature_of_another_vendor_is_never_sent() -> None:
    """R3, R12."""
    messages = (HELLO, assistant(ir.TextPart("a", signature=signature("c2ln", "anthropic_messages"))))
    assert contents(*messages)[1] == ("model", [{"text": "a"}])
    assert ("messages[1].content[0]", "dropped", "info") in losses(encode(*messages))


def test_a_signature_without_text_goes_to_the_next_part() -> None:
    turn = assistant(ir.ReasoningPart("", signature("c2ln")), ir.ToolCallPart("x", "f", "{}"))
    parts = contents(HELLO, turn, results(result("x", "1")), profile=Profile(thought_signatures=True))[1][1]
    assert parts == [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}]


def test_a_signature_that_finds_no_part_stands_on_an_empty_text() -> None:
    assert contents(HELLO, assistant(ir.ReasoningPart("", signature("c2ln"))))[1][1] == [
        {"text": "", "thoughtSignature": "c2ln"}
    ]
    turn = assistant(ir.ReasoningPart("", signature("c2ln")), ir.TextPart("a", signature=signature("dGVu")))
    assert contents(HELLO, turn)[1][1] == [
        {"text": "", "thoughtSignature": "c2ln"},
        {"text": "a", "thoughtSignature": "dGVu"},
    ]


def test_own_thoughts_are_sent_as_thoughts() -> None:
    turn = assistant(ir.ReasoningPart("hm", signature("c2ln")), ir.TextPart("a"))
    assert contents(HELLO, turn)[1][1] == [{"text": "hm", "thought": True}, {"text": "a", "thoughtSignature": "c2ln"}]


@pytest.mark.parametrize("opaque", [None, signature("c2ln", "openai_responses")])
def test_thoughts_of_others_are_dropped(opaque: ir.Opaque | None) -> None:
    messages = (HELLO, assistant(ir.ReasoningPart("hm", opaque), ir.TextPart("a")))
    assert contents(*messages)[1][1] == [{"text": "a"}]
    assert ("messages[1].content[0]", "dropped", "info") in losses(encode(*messages))


def test_parts_only_we_know_come_back_as_they_were() -> None:
    raw: dict[str, object] = {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "c2ln"}
    turn = assistant(ir.UnknownPart(OURS, raw), ir.UnknownPart("openai_chat", {"x": 1}), ir.CitationPart())  # type: ignore[arg-type]
    assert contents(HELLO, turn)[1][1] == [raw]
    assert ("messages[1].content[1]", "dropped", "warning") in losses(encode(HELLO, turn))


def media(source: ir.MediaSource, media_type: str | None = None, **fields: object) -> ir.Message:
    return ir.Message("user", (ir.MediaPart("image", source, media_type, **fields),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(
            media(ir.Base64Source("_-8"), "image/png"),
            {"inlineData": {"mimeType": "image/png", "data": "/+8="}},
            id="trap4_base64url_becomes_standard",
        ),
        pytest.param(
            media(ir.Base64Source("/9j/4AAQ")),
            {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/4AAQ"}},
            id="type_from_the_bytes",
        ),
        pytest.param(
            media(ir.TextSource("é"), "text/markdown"),
            {"inlineData": {"mimeType": "text/markdown", "data": "w6k="}},
            id="I15_I16_text_document",
        ),
        pytest.param(
            media(ir.UrlSource("gs://b/a.png")),
            {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}},
            id="I17_cloud_storage",
        ),
        pytest.param(
            media(ir.UrlSource("https://e.org/a")), {"fileData": {"fileUri": "https://e.org/a"}}, id="untyped_url"
        ),
        pytest.param(
            media(ir.FileSource("https://g/v1beta/files/1", OURS), "application/pdf"),
            {"fileData": {"fileUri": "https://g/v1beta/files/1", "mimeType": "application/pdf"}},
            id="own_file",
        ),
    ],
)
def test_media_are_data_or_files(message: ir.Message, expected: object) -> None:
    assert contents(message) == [("user", [expected])]


@pytest.mark.parametrize(
    "message",
    [
        media(ir.FileSource("file-1", "openai_responses")),
        media(ir.UrlSource("ftp://e.org/a.png")),
        media(ir.UrlSource("file:///etc/passwd")),
        media(ir.Base64Source("AAAA")),
    ],
)
def test_media_gemini_cannot_be_given_are_refused(message: ir.Message) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(message)
    assert (caught.value.kind, caught.value.param) == ("unsupported", "messages[0].content[0]")


def test_what_a_medium_cannot_carry_is_told() -> None:
    message = media(
        ir.Base64Source("aGk="), "application/pdf", title="t", filename="f", cite=True, cache=ir.CacheMark()
    )
    assert {path for path, _, _ in losses(encode(message))} == {
        "messages[0].content[0].title",
        "messages[0].content[0].filename",
        "messages[0].content[0].citations",
        "messages[0].content[0].cache_control",
    }


def test_a_growing_history_keeps_its_beginning() -> None:
    """Trap 22: what was sent once is sent the same way again."""
    history = [
        system("s"),
        HELLO,
        assistant(ir.ReasoningPart("hm", signature("c2ln")), ir.ToolCallPart("a", "f", "{}")),
        results(result("a", '{"b":1}')),
        assistant(ir.TextPart("done")),
        user("thanks"),
    ]
    shorter, longer = body(*history[:4], profile=THREE), body(*history, profile=THREE)
    assert as_list(longer["contents"])[:3] == as_list(shorter["contents"])
    assert encode(*history).body == encode(*history).body


def test_the_name_of_a_speaker_is_dropped() -> None:
    assert losses(encode(ir.Message("user", (ir.TextPart("a"),), name="Ann"), profile=PLAIN)) == [
        ("messages[0].name", "dropped", "info")
    ]
