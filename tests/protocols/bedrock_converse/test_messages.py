"""Conversations: turns, media, tool results, thoughts and cache points."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.json import loads_object
from asgi_llmgw.protocols import Profile
from asgi_llmgw.protocols.bedrock_converse import CODEC
from tests.protocols.bedrock_converse.asking import (
    CALL,
    RESULT,
    WEATHER,
    assistant,
    body_and_notes,
    conversation,
    encode,
    only_blocks,
    results,
    system,
    turns,
    user,
)

PDF = base64.b64encode(b"%PDF-1.7 x").decode()
PNG = ir.MediaPart("image", ir.Base64Source("aGk="), "image/png")


def document(data: str = PDF, media_type: str | None = "application/pdf", **fields: Any) -> ir.MediaPart:
    return ir.MediaPart("document", ir.Base64Source(data), media_type, **fields)


def test_system_messages_stand_apart_and_turns_alternate() -> None:
    request = conversation(system("Be brief."), user("One"), user("Two"), assistant("Three"), user("Four"))
    encoded = encode(request)
    assert loads_object(encoded.body)["system"] == [{"text": "Be brief."}]
    assert turns(encoded) == [
        ("user", [{"text": "One"}, {"text": "Two"}]),
        ("assistant", [{"text": "Three"}]),
        ("user", [{"text": "Four"}]),
    ]
    assert encoded.diagnostics == ()


@pytest.mark.parametrize(
    ("where", "system_texts", "last"),
    [("hoist", ["Be brief.", "Now rhyme."], "Two"), ("user", ["Be brief."], "<system>\nNow rhyme.\n</system>")],
)
def test_a_later_system_message_goes_where_the_profile_says(where: str, system_texts: list[str], last: str) -> None:
    request = conversation(system("Be brief."), user("One"), assistant("Yes"), user("Two"), system("Now rhyme."))
    encoded = encode(request, Profile(mid_system=where))
    assert loads_object(encoded.body)["system"] == [{"text": text} for text in system_texts]
    assert turns(encoded)[-1][1][-1] == {"text": last}
    assert [(item.path, item.code) for item in encoded.diagnostics] == [("messages[4]", "approximated")]


def test_a_system_message_holds_text_only() -> None:
    with pytest.raises(InvalidRequest, match="text only") as caught:
        encode(conversation(system(PNG), user("Hello")))
    assert caught.value.param == "messages[0].content[0]"


def test_a_conversation_begins_with_the_user_and_ends_without_white_space() -> None:
    encoded = encode(conversation(assistant("Once upon a time \n")))
    assert turns(encoded) == [
        ("user", [{"text": "(The conversation continues.)"}]),
        ("assistant", [{"text": "Once upon a time"}]),
    ]
    assert [item.code for item in encoded.diagnostics] == ["defaulted"]


def test_white_space_before_the_last_cache_point_is_left_out_too() -> None:
    encoded = encode(conversation(user("Tell"), assistant(ir.TextPart("Once ", cache=ir.CacheMark()))))
    assert turns(encoded)[1][1] == [{"text": "Once"}, {"cachePoint": {"type": "default"}}]


def test_a_request_without_messages_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no messages"):
        encode(conversation())


def test_blank_text_is_left_out_as_it_would_be_refused() -> None:
    encoded = encode(conversation(user("Hello", "  \n", "")))
    assert turns(encoded) == [("user", [{"text": "Hello"}])]
    assert [(item.path, item.code, item.severity) for item in encoded.diagnostics] == [
        ("messages[0].content[1]", "dropped", "info")
    ]


def test_names_of_speakers_and_refusals_of_users_are_no_blocks_of_their_own() -> None:
    request = conversation(
        ir.Message("user", (ir.TextPart("Hi"), ir.RefusalPart("I won't.")), name="Ann"),
        assistant(ir.RefusalPart("Nor will I.")),
        user(ir.ReasoningPart("hm"), "So?"),
    )
    body, notes = body_and_notes(encode(request))
    assert notes == {("messages[0].name", "dropped", "info"), ("messages[2].content[0]", "dropped", "warning")}
    assert b"Nor will I." in encode(request).body and "hm" not in str(body)


@pytest.mark.parametrize(
    ("part", "block"),
    [
        pytest.param(PNG, {"image": {"format": "png", "source": {"bytes": "aGk="}}}, id="a_picture"),
        pytest.param(
            ir.MediaPart("image", ir.Base64Source("aGk="), "image/JPG; q=1"),
            {"image": {"format": "jpeg", "source": {"bytes": "aGk="}}},
            id="a_jpeg_by_its_other_name",
        ),
        pytest.param(
            ir.MediaPart("document", ir.Base64Source("aGk="), "image/webp"),
            {"image": {"format": "webp", "source": {"bytes": "aGk="}}},
            id="a_picture_among_documents",
        ),
        pytest.param(
            ir.MediaPart("video", ir.Base64Source("aGk="), "video/mp4"),
            {"video": {"format": "mp4", "source": {"bytes": "aGk="}}},
            id="a_film",
        ),
        pytest.param(
            ir.MediaPart("audio", ir.Base64Source("aGk="), "audio/wav"),
            {"audio": {"format": "wav", "source": {"bytes": "aGk="}}},
            id="a_sound",
        ),
        pytest.param(
            ir.MediaPart("video", ir.UrlSource("s3://bucket/films/a.mov")),
            {"video": {"format": "mov", "source": {"s3Location": {"uri": "s3://bucket/films/a.mov"}}}},
            id="a_film_in_s3",
        ),
        pytest.param(
            document(title="Report"),
            {"document": {"format": "pdf", "name": "Report", "source": {"bytes": PDF}}},
            id="a_pdf",
        ),
        pytest.param(
            document(media_type=None),
            {"document": {"format": "pdf", "name": "document", "source": {"bytes": PDF}}},
            id="a_pdf_that_nobody_named",
        ),
        pytest.param(
            document("aGk=", "text/csv", context="Sales", cite=True),
            {
                "document": {
                    "format": "csv",
                    "name": "document",
                    "source": {"bytes": "aGk="},
                    "context": "Sales",
                    "citations": {"enabled": True},
                }
            },
            id="a_table_to_cite",
        ),
        pytest.param(
            document("aGk=", "application/json"),
            {"document": {"format": "txt", "name": "document", "source": {"bytes": "aGk="}}},
            id="json",
        ),
        pytest.param(
            document("aGk=", None, filename="notes.md"),
            {"document": {"format": "md", "name": "notes", "source": {"bytes": "aGk="}}},
            id="a_format_told_by_the_name",
        ),
        pytest.param(
            ir.MediaPart("document", ir.TextSource("hi"), "text/plain"),
            {"document": {"format": "txt", "name": "document", "source": {"bytes": "aGk="}}},
            id="plain_text",
        ),
        pytest.param(
            ir.MediaPart("document", ir.UrlSource("s3://bucket/a.docx")),
            {
                "document": {
                    "format": "docx",
                    "name": "document",
                    "source": {"s3Location": {"uri": "s3://bucket/a.docx"}},
                }
            },
            id="a_document_in_s3",
        ),
    ],
)
def test_media_are_blocks(part: ir.MediaPart, block: dict[str, object]) -> None:
    assert only_blocks("Look", part) == [{"text": "Look"}, block]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (ir.MediaPart("image", ir.UrlSource("https://x.example/a.png")), "none on the web"),
        (ir.MediaPart("image", ir.FileSource("file_1", "openai_chat")), "uploaded to another vendor"),
        (ir.MediaPart("image", ir.Base64Source("aGk="), "image/tiff"), "not as 'image/tiff'"),
        (ir.MediaPart("image", ir.Base64Source(""), "image/png"), "no image"),
        (ir.MediaPart("image", ir.TextSource("x"), "image/png"), "no image"),
        (document("aGk=", "application/zip"), "office and text documents"),
        (document("aGk=", None), "office and text documents"),
    ],
)
def test_media_that_cannot_be_brought_are_refused(part: ir.MediaPart, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        encode(conversation(user("Look", part)))
    assert caught.value.param == "messages[0].content[1]"


def test_the_resolution_of_a_picture_is_lost_without_harm() -> None:
    encoded = encode(conversation(user(ir.MediaPart("image", ir.Base64Source("aGk="), "image/png", detail="high"))))
    assert [(item.path, item.severity) for item in encoded.diagnostics] == [("messages[0].content[0].detail", "info")]


def test_documents_have_names_that_are_taken_and_unlike_each_other() -> None:
    """Amazon refuses dots, two spaces in a row, and two documents of one name."""
    names = ["John's  report #1.pdf", "John s report 1.pdf", "分析.pdf", "", "résumé_v2.pdf", "x" * 300]
    blocks = only_blocks("Read", *(document(filename=name) for name in names))
    told = [block["document"] for block in blocks if "document" in block]
    assert [value["name"] for value in told if isinstance(value, dict)] == [
        "John s report 1",
        "John s report 1 2",
        "document",
        "document 2",
        "r sum v2",
        "x" * 180,
    ]
    encoded = encode(conversation(user("Read", *(document(filename=name) for name in names))))
    assert [item.code for item in encoded.diagnostics] == ["renamed"] * 5


def test_a_document_never_comes_without_words() -> None:
    encoded = encode(conversation(user(document())))
    assert turns(encoded)[0][1][-1] == {"text": "(See the document.)"}
    assert [item.code for item in encoded.diagnostics] == ["defaulted"]


def test_calls_are_answered_in_the_next_turn_and_in_their_order() -> None:
    """T: results of one turn spread over messages, and others between them."""
    second = ir.ToolCallPart("call_2", "weather", "")
    request = conversation(
        user("Weather?"),
        assistant("I look.", CALL, second),
        results(ir.ToolResultPart("call_2", (ir.TextPart("sun"), PNG), is_error=False)),
        user("And?"),
        results(ir.ToolResultPart("call_1", (ir.TextPart('{"":"rain"}'),), is_error=True)),
        tools=(WEATHER,),
    )
    encoded = encode(request)
    assert turns(encoded)[1:] == [
        (
            "assistant",
            [
                {"text": "I look."},
                {"toolUse": {"toolUseId": "call_1", "name": "weather", "input": {"city": "Paris"}}},
                {"toolUse": {"toolUseId": "call_2", "name": "weather", "input": {}}},
            ],
        ),
        (
            "user",
            [
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": '{"":"rain"}'}], "status": "error"}},
                {
                    "toolResult": {
                        "toolUseId": "call_2",
                        "content": [{"text": "sun"}, {"image": {"format": "png", "source": {"bytes": "aGk="}}}],
                    }
                },
                {"text": "And?"},
            ],
        ),
    ]


def test_a_result_without_words_is_empty_unless_it_is_an_error() -> None:
    """I14"""
    empty = ir.ToolResultPart("call_1", (ir.TextPart(" "), ir.UnknownPart("gemini_generate", {"a": 1}, "a")))
    request = conversation(user("Weather?"), assistant(CALL), results(empty), tools=(WEATHER,))
    assert turns(encode(request))[2][1] == [{"toolResult": {"toolUseId": "call_1", "content": []}}]
    failed = ir.ToolResultPart("call_1", (), is_error=True)
    request = conversation(user("Weather?"), assistant(CALL), results(failed), tools=(WEATHER,))
    assert turns(encode(request))[2][1] == [
        {
            "toolResult": {
                "toolUseId": "call_1",
                "content": [{"text": "The tool failed without a message."}],
                "status": "error",
            }
        }
    ]


def test_a_tool_cannot_answer_with_sound() -> None:
    sound = ir.ToolResultPart("call_1", (ir.MediaPart("audio", ir.Base64Source("aGk="), "audio/wav"),))
    with pytest.raises(InvalidRequest, match="audio"):
        encode(conversation(user("Weather?"), assistant(CALL), results(sound), tools=(WEATHER,)))


@pytest.mark.parametrize(
    ("arguments", "kind", "expected"),
    [
        ("[1]", "function", {"input": [1]}),
        ("not json", "function", {"input": "not json"}),
        ("SELECT 1", "custom", {"input": "SELECT 1"}),
    ],
)
def test_arguments_are_an_object_whatever_they_were(arguments: str, kind: str, expected: object) -> None:
    call = ir.ToolCallPart("call_1", "weather", arguments, kind="custom" if kind == "custom" else "function")
    encoded = encode(conversation(user("Weather?"), assistant(call), results(RESULT), tools=(WEATHER,)))
    block = turns(encoded)[1][1][0]["toolUse"]
    assert isinstance(block, dict) and block["input"] == expected
    assert [item.code for item in encoded.diagnostics] == (["approximated"] if kind == "function" else [])


def test_ids_that_do_not_fit_are_changed_alike_in_call_and_result() -> None:
    call, result = ir.ToolCallPart("id with spaces", "weather", "{}"), ir.ToolResultPart("id with spaces", ())
    encoded = encode(conversation(user("Weather?"), assistant(call), results(result), tools=(WEATHER,)))
    (asked,), (told,) = turns(encoded)[1][1], turns(encoded)[2][1]
    assert isinstance(asked["toolUse"], dict) and isinstance(told["toolResult"], dict)
    assert asked["toolUse"]["toolUseId"] == told["toolResult"]["toolUseId"]


def test_thoughts_go_back_as_they_came_and_only_those_of_this_protocol() -> None:
    """R1 R3"""
    ours = ir.Opaque("bedrock_converse", "signature", "c2ln\u00e9==")
    hidden = ir.Opaque("bedrock_converse", "redacted", "aGlkZGVu")
    foreign = ir.Opaque("anthropic_messages", "signature", "abc")
    request = conversation(
        user("Why?"),
        assistant(
            ir.ReasoningPart("Let me think ", ours),
            ir.ReasoningPart("", hidden),
            ir.ReasoningPart("Elsewhere", foreign),
            ir.ReasoningPart("Unsigned"),
            "Because.",
        ),
        user("And?"),
    )
    encoded = encode(request)
    assert turns(encoded)[1][1] == [
        {"reasoningContent": {"reasoningText": {"text": "Let me think ", "signature": "c2ln\u00e9=="}}},
        {"reasoningContent": {"redactedContent": "aGlkZGVu"}},
        {"text": "Because."},
    ]
    assert [(item.path, item.code, item.severity) for item in encoded.diagnostics] == [
        ("messages[1].content[2]", "dropped", "info"),
        ("messages[1].content[3]", "dropped", "info"),
    ]


def test_what_an_assistant_may_not_hold_is_moved_or_told_to_be_lost() -> None:
    sound = ir.MediaPart("audio", ir.Base64Source("aGk="), "audio/wav", transcript="Hello")
    film = ir.MediaPart("video", ir.Base64Source("aGk="), "video/mp4")
    request = conversation(
        user("Show"), assistant("Here", PNG, sound, film, ir.CitationPart(url="https://x.example")), user("Thanks")
    )
    encoded = encode(request)
    assert turns(encoded)[1:] == [
        ("assistant", [{"text": "Here"}, {"text": "Hello"}]),
        ("user", [{"image": {"format": "png", "source": {"bytes": "aGk="}}}, {"text": "Thanks"}]),
    ]
    assert [(item.path, item.code) for item in encoded.diagnostics] == [
        ("messages[1].content[1]", "approximated"),
        ("messages[1].content[2]", "approximated"),
        ("messages[1].content[3]", "dropped"),
        ("messages[1].content[4]", "dropped"),
    ]


def test_blocks_of_its_own_go_back_as_they_came_and_those_of_others_do_not() -> None:
    own = ir.UnknownPart("bedrock_converse", {"guardContent": {"text": {"text": "x"}}}, "guardContent")
    other = ir.UnknownPart("anthropic_messages", {"type": "server_tool_use"}, "server_tool_use")
    request = conversation(system(own), user("Hi", own, other), assistant("Yes", own), user("So?"))
    encoded = encode(request)
    assert loads_object(encoded.body)["system"] == [own.raw]
    assert [blocks for _, blocks in turns(encoded)] == [
        [{"text": "Hi"}, own.raw],
        [{"text": "Yes"}, own.raw],
        [{"text": "So?"}],
    ]
    assert [(item.path, item.code) for item in encoded.diagnostics] == [("messages[1].content[2]", "dropped")]


MARK = ir.CacheMark()


def test_cache_breakpoints_are_points_behind_what_they_stood_on() -> None:
    marked = ir.Tool("weather", None, WEATHER.parameters, cache=ir.CacheMark("1h"))
    request = conversation(
        system(ir.TextPart("Be brief.", cache=MARK)),
        user(ir.TextPart("One", cache=ir.CacheMark("5m")), "Two"),
        assistant(ir.ToolCallPart("call_1", "weather", "{}")),
        results(ir.ToolResultPart("call_1", (ir.TextPart("rain", cache=MARK),), cache=MARK)),
        tools=(marked,),
    )
    encoded = encode(request)
    body = loads_object(encoded.body)
    point: dict[str, object] = {"cachePoint": {"type": "default"}}
    config = body["toolConfig"]
    assert isinstance(config, dict) and isinstance(config["tools"], list)
    assert config["tools"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["system"] == [{"text": "Be brief."}, point]
    assert turns(encoded)[0][1] == [{"text": "One"}, point, {"text": "Two"}]
    assert turns(encoded)[2][1][1:] == [point]
    assert encoded.diagnostics == ()


def test_a_model_without_cache_points_gets_none_and_nobody_is_harmed() -> None:
    request = conversation(
        system(ir.TextPart("Be brief.", cache=MARK)), user(ir.TextPart("One", cache=MARK)), cache=MARK
    )
    encoded = encode(request, Profile(cache_points=("system",)))
    assert encoded.body.count(b"cachePoint") == 1
    assert {(item.path, item.severity) for item in encoded.diagnostics} == {
        ("messages[1].content[0].cache_control", "info"),
        ("request.cache_control", "info"),
    }


def test_a_request_that_is_cached_as_a_whole_has_a_point_at_its_end() -> None:
    encoded = encode(conversation(user("One"), cache=ir.CacheMark("24h")))
    assert turns(encoded)[0][1] == [{"text": "One"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert [item.code for item in encoded.diagnostics] == ["approximated"]


def test_only_the_last_four_cache_points_are_sent() -> None:
    texts = [ir.TextPart(str(number), cache=MARK) for number in range(4)]
    request = conversation(
        system(ir.TextPart("Be brief.", cache=MARK)),
        user(*texts),
        tools=(ir.Tool("weather", None, WEATHER.parameters, cache=MARK),),
    )
    encoded = encode(request)
    assert encoded.body.count(b"cachePoint") == 4
    assert [block for block in turns(encoded)[0][1] if "cachePoint" in block] == [
        {"cachePoint": {"type": "default"}}
    ] * 4
    assert [(item.path, item.code) for item in encoded.diagnostics] == [("cache_control", "dropped")]


def test_a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() -> None:
    """Trap 22: caches depend on it."""
    begun = (system("Be brief."), user("One", document(filename="a.pdf")), assistant("Yes"))
    shorter = CODEC.encode_request(conversation(*begun, user("Two")), profile=Profile()).body
    longer = CODEC.encode_request(conversation(*begun, user("Two"), assistant("No"), user("Three")), profile=Profile())
    common = shorter.index(b'"Two"')
    assert longer.body[:common] == shorter[:common]
