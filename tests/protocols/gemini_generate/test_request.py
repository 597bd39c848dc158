from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_llmgw import ir
from asgi_llmgw.errors import GatewayError, InvalidRequest
from asgi_llmgw.json import JSONObject, as_list, as_object, loads_object
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.protocols.gemini_generate import CODEC, gemini_tool_name
from tests import strategies

from .sent import HELLO, OURS, PLAIN, SUBSET, THREE, body, encode, losses

SCHEMA: JSONObject = {
    "type": "object",
    "properties": {"a": {"type": ["string", "null"]}},
    "additionalProperties": False,
}
WEATHER = ir.Tool("weather", "tells it", SCHEMA)
CLOCK = ir.Tool("clock")


def config(profile: Profile = PLAIN, **fields: object) -> JSONObject:
    return as_object(body(HELLO, profile=profile, **fields).get("generationConfig"))


def calling(**fields: object) -> JSONObject:
    return as_object(as_object(body(HELLO, profile=PLAIN, **fields).get("toolConfig")).get("functionCallingConfig"))


def test_what_was_not_said_is_not_sent() -> None:
    encoded = encode(HELLO)
    assert encoded.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    assert loads_object(encoded.body) == {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    assert encoded.diagnostics == ()


def test_a_stream_is_asked_for_in_the_path() -> None:
    assert encode(HELLO, stream=True, model="a/b").path == "/v1beta/models/a%2Fb:streamGenerateContent?alt=sse"


def test_sampling_has_its_places() -> None:
    sampling = ir.Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        stop=("a", "b"),
        logprobs=True,
        top_logprobs=3,
    )
    assert config(sampling=sampling, candidates=2, max_output_tokens=9, modalities=("text", "image")) == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "stopSequences": ["a", "b"],
        "responseLogprobs": True,
        "logprobs": 3,
        "candidateCount": 2,
        "maxOutputTokens": 9,
        "responseModalities": ["TEXT", "IMAGE"],
    }


def test_too_many_stop_sequences_are_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(HELLO, sampling=ir.Sampling(stop=tuple("abcdef")))
    assert caught.value.param == "stop"


@pytest.mark.parametrize(
    ("wanted", "profile", "expected"),
    [
        pytest.param(ir.ResponseFormat("text"), PLAIN, {}, id="text"),
        pytest.param(
            ir.ResponseFormat("json_object"), PLAIN, {"responseMimeType": "application/json"}, id="any_object"
        ),
        pytest.param(
            ir.ResponseFormat("json_schema", SCHEMA),
            PLAIN,
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
            id="schema_as_it_is",
        ),
        pytest.param(
            ir.ResponseFormat("json_schema", SCHEMA),
            SUBSET,
            {
                "responseMimeType": "application/json",
                "responseSchema": {
                    "type": "OBJECT",
                    "properties": {"a": {"type": "STRING", "nullable": True}},
                    "propertyOrdering": ["a"],
                },
            },
            id="J7_subset",
        ),
    ],
)
def test_the_form_of_the_answer(wanted: ir.ResponseFormat, profile: Profile, expected: JSONObject) -> None:
    assert config(profile, response_format=wanted) == expected


def test_what_a_schema_loses_is_told_where_it_stands() -> None:
    encoded = encode(HELLO, profile=SUBSET, response_format=ir.ResponseFormat("json_schema", SCHEMA), tools=(WEATHER,))
    assert losses(encoded) == [
        ("tools[0].parameters.additionalProperties", "dropped", "warning"),
        ("response_format.schema.additionalProperties", "dropped", "warning"),
    ]


FLASH, PRO, LITE = "gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-lite"
LEVELS = Profile(thinking_level=True)


@pytest.mark.parametrize(
    ("model", "profile", "reasoning", "expected", "told"),
    [
        (FLASH, PLAIN, ir.Reasoning("none"), {"thinkingBudget": 0}, False),
        (PRO, PLAIN, ir.Reasoning("none"), {"thinkingBudget": 128}, True),
        (FLASH, PLAIN, ir.Reasoning("minimal"), {"thinkingBudget": 1024}, False),
        (FLASH, PLAIN, ir.Reasoning("low"), {"thinkingBudget": 1024}, False),
        (FLASH, PLAIN, ir.Reasoning("medium"), {"thinkingBudget": 8192}, False),
        (FLASH, PLAIN, ir.Reasoning("high"), {"thinkingBudget": 24576}, False),
        (FLASH, PLAIN, ir.Reasoning("max"), {"thinkingBudget": 24576}, False),
        (PRO, PLAIN, ir.Reasoning("xhigh"), {"thinkingBudget": 32768}, False),
        (FLASH, PLAIN, ir.Reasoning(budget_tokens=31999), {"thinkingBudget": 24576}, True),
        (PRO, PLAIN, ir.Reasoning(budget_tokens=31999), {"thinkingBudget": 31999}, False),
        (LITE, PLAIN, ir.Reasoning(budget_tokens=100), {"thinkingBudget": 512}, True),
        (LITE, PLAIN, ir.Reasoning(budget_tokens=0), {"thinkingBudget": 0}, False),
        (PRO, PLAIN, ir.Reasoning(budget_tokens=-1), {"thinkingBudget": -1}, False),
        (FLASH, PLAIN, ir.Reasoning("none", visible=True), {"thinkingBudget": 0}, False),
        (FLASH, PLAIN, ir.Reasoning(visible=True), {"includeThoughts": True}, False),
        (FLASH, PLAIN, ir.Reasoning("low", visible=False), {"thinkingBudget": 1024, "includeThoughts": False}, False),
        ("gemini-3-flash", LEVELS, ir.Reasoning("none"), {"thinkingLevel": "MINIMAL"}, True),
        ("gemini-3-flash", LEVELS, ir.Reasoning("minimal"), {"thinkingLevel": "MINIMAL"}, False),
        ("gemini-3-pro", LEVELS, ir.Reasoning("minimal"), {"thinkingLevel": "LOW"}, True),
        ("gemini-3-pro", LEVELS, ir.Reasoning("medium"), {"thinkingLevel": "MEDIUM"}, False),
        ("gemini-3-pro", LEVELS, ir.Reasoning("high"), {"thinkingLevel": "HIGH"}, False),
        ("gemini-3-pro", LEVELS, ir.Reasoning("max"), {"thinkingLevel": "HIGH"}, True),
        ("gemini-3-pro", LEVELS, ir.Reasoning(budget_tokens=4096), {"thinkingLevel": "LOW"}, True),
        ("gemini-3-pro", LEVELS, ir.Reasoning(budget_tokens=-1), {}, False),
        (FLASH, Profile(thinking="none"), ir.Reasoning("high"), {}, True),
    ],
)
def test_thinking_is_a_budget_or_a_level(
    model: str, profile: Profile, reasoning: ir.Reasoning, expected: JSONObject, told: bool
) -> None:
    """Never both: that is refused."""
    sent = config(profile, model=model, reasoning=reasoning)
    assert as_object(sent.get("thinkingConfig")) == expected
    assert bool(encode(HELLO, profile=profile, model=model, reasoning=reasoning).diagnostics) is told


def picture(detail: str) -> ir.Message:
    return ir.Message("user", (ir.MediaPart("image", ir.Base64Source("aGk="), "image/png", detail=detail),))


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (("low",), "MEDIA_RESOLUTION_LOW"),
        (("auto",), None),
        (("low", "high", "auto"), "MEDIA_RESOLUTION_HIGH"),
    ],
)
def test_the_finest_resolution_is_taken(details: tuple[str, ...], expected: str | None) -> None:
    encoded = encode(*(picture(detail) for detail in details))
    assert as_object(loads_object(encoded.body).get("generationConfig")).get("mediaResolution") == expected


def test_functions_are_declared_together() -> None:
    search = ir.ServerTool(OURS, "googleSearch", {"googleSearch": {}})
    assert body(HELLO, tools=(WEATHER, search, CLOCK))["tools"] == [
        {
            "functionDeclarations": [
                {"name": "weather", "description": "tells it", "parametersJsonSchema": SCHEMA},
                {"name": "clock"},
            ]
        },
        {"googleSearch": {}},
    ]


def test_parameters_are_cut_to_the_subset_where_they_must_be() -> None:
    """J5: an object without properties is left out."""
    empty = ir.Tool("empty", None, {"type": "object", "properties": {}})
    tools = as_list(body(HELLO, profile=SUBSET, tools=(WEATHER, empty))["tools"])
    declared = as_list(as_object(tools[0])["functionDeclarations"])
    assert as_object(declared[0])["parameters"] == {
        "type": "OBJECT",
        "properties": {"a": {"type": "STRING", "nullable": True}},
        "propertyOrdering": ["a"],
    }
    assert declared[1] == {"name": "empty"}


def test_a_custom_tool_is_a_function_of_one_text() -> None:
    tool = ir.CustomTool("patch", "applies it", {"type": "grammar"})
    tools = as_list(body(HELLO, tools=(tool,))["tools"])
    declared = as_object(as_list(as_object(tools[0])["functionDeclarations"])[0])
    assert as_object(declared["parametersJsonSchema"])["properties"] == {"input": {"type": "string"}}
    assert losses(encode(HELLO, tools=(tool,))) == [
        ("tools[0]", "approximated", "warning"),
        ("tools[0].format", "dropped", "warning"),
    ]


def test_a_tool_another_vendor_runs_is_refused() -> None:
    """I9."""
    with pytest.raises(InvalidRequest) as caught:
        encode(HELLO, tools=(WEATHER, ir.ServerTool("openai_responses", "web_search", {})))
    assert (caught.value.kind, caught.value.param) == ("unsupported", "tools[1]")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.b:c-d_1", "a.b:c-d_1"), ("1tool", "_1tool"), ("-x", "_-x"), ("a" * 128, "a" * 128)],
)
def test_names_that_fit_stay(name: str, expected: str) -> None:
    assert gemini_tool_name(name) == expected


@pytest.mark.parametrize("name", ["wetter für morgen", "天気", "a" * 129, "", "a/b"])
def test_other_names_are_mapped_for_good(name: str) -> None:
    mapped = gemini_tool_name(name)
    assert mapped == gemini_tool_name(name) == gemini_tool_name(mapped)
    encoded = encode(HELLO, tools=(ir.Tool(name),))
    assert losses(encoded) == [("tools[0].name", "renamed", "info")]
    assert mapped.encode() in encoded.body


@pytest.mark.parametrize("names", [("1a", "_1a"), ("a", "a")])
def test_two_tools_of_one_name_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(HELLO, tools=tuple(ir.Tool(name) for name in names))
    assert caught.value.param == "tools[1]"


STRICT = ir.Tool("strict", parameters=SCHEMA, strict=True)


@pytest.mark.parametrize(
    ("tools", "choice", "expected"),
    [
        ((WEATHER,), None, {}),
        ((WEATHER,), ir.ToolChoice("auto"), {"mode": "AUTO"}),
        ((WEATHER,), ir.ToolChoice("none"), {"mode": "NONE"}),
        ((WEATHER,), ir.ToolChoice("required"), {"mode": "ANY"}),
        (
            (WEATHER, CLOCK),
            ir.ToolChoice("required", ("clock",)),
            {"mode": "ANY", "allowedFunctionNames": ["clock"]},
        ),
        (
            (WEATHER, CLOCK),
            ir.ToolChoice("auto", ("clock",)),
            {"mode": "VALIDATED", "allowedFunctionNames": ["clock"]},
        ),
        ((STRICT,), None, {"mode": "VALIDATED"}),
        ((STRICT,), ir.ToolChoice("auto"), {"mode": "VALIDATED"}),
        ((STRICT, WEATHER), None, {}),
        ((STRICT,), ir.ToolChoice("required"), {"mode": "ANY"}),
        ((), ir.ToolChoice("required"), {}),
    ],
)
def test_the_choice_of_tools(tools: tuple[ir.AnyTool, ...], choice: ir.ToolChoice | None, expected: JSONObject) -> None:
    """I11, I12."""
    assert calling(tools=tools, tool_choice=choice) == expected


def test_a_choice_of_a_tool_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        encode(HELLO, tools=(WEATHER,), tool_choice=ir.ToolChoice("required", ("clock",)))
    assert caught.value.param == "tool_choice"


def test_what_gemini_does_not_have_is_told() -> None:
    fields: dict[str, object] = {
        "tools": (STRICT, WEATHER),
        "parallel_tool_calls": False,
        "verbosity": "low",
        "metadata": {"a": "b"},
        "end_user": "u",
        "prompt_cache_key": "k",
        "cache": ir.CacheMark(),
        "sampling": ir.Sampling(logit_bias={"1": 2}, top_logprobs=2),
        "service_tier": "scale",
    }
    assert {(path, severity) for path, _, severity in losses(encode(HELLO, profile=PLAIN, **fields))} == {
        ("tools[].strict", "info"),
        ("parallel_tool_calls", "warning"),
        ("verbosity", "warning"),
        ("metadata", "info"),
        ("user", "info"),
        ("prompt_cache_key", "info"),
        ("cache_control", "info"),
        ("logit_bias", "warning"),
        ("top_logprobs", "info"),
        ("service_tier", "warning"),
    }


@pytest.mark.parametrize(
    ("tier", "expected"),
    [("flex", "flex"), ("priority", "priority"), ("default", "standard"), ("auto", None), ("scale", None)],
)
def test_the_service_tier_is_mapped(tier: str, expected: str | None) -> None:
    assert body(HELLO, service_tier=tier).get("serviceTier") == expected


def test_our_own_extensions_go_back_to_their_places() -> None:
    encoded = encode(
        HELLO,
        sampling=ir.Sampling(temperature=1.0),
        extensions=(
            ir.Extension(OURS, "safetySettings", []),
            ir.Extension(OURS, "generationConfig.temperature", 0.1),
            ir.Extension(OURS, "generationConfig.imageConfig.aspectRatio", "1:1"),
        ),
    )
    sent = loads_object(encoded.body)
    assert sent["safetySettings"] == []
    assert sent["generationConfig"] == {"temperature": 1.0, "imageConfig": {"aspectRatio": "1:1"}}


def test_extensions_of_others_go_as_their_loss_says() -> None:
    extensions = (
        ir.Extension("openai_chat", "prediction", {}, loss="info"),
        ir.Extension("openai_chat", "moderation", {}),
        ir.Extension("openai_chat", "audio", {"voice": "alloy"}, loss="error"),
    )
    assert losses(encode(HELLO, extensions=extensions)) == [
        ("prediction", "dropped", "info"),
        ("moderation", "dropped", "warning"),
        ("audio", "approximated", "warning"),
    ]
    with pytest.raises(InvalidRequest) as caught:
        encode(HELLO, extensions=(ir.Extension("openai_responses", "previous_response_id", "r", loss="error"),))
    assert (caught.value.kind, caught.value.param) == ("unsupported", "previous_response_id")


PARTS = st.one_of(
    strategies.TEXT_PART,
    strategies.MEDIA,
    strategies.REASONING,
    strategies.TOOL_CALL,
    strategies.CITATION,
    strategies.UNKNOWN,
    strategies.build(ir.RefusalPart, text=strategies.TEXT),
    strategies.build(
        ir.ToolResultPart,
        call_id=strategies.WORD | st.just(""),
        content=st.lists(strategies.TEXT_PART | strategies.MEDIA | strategies.UNKNOWN, max_size=2).map(tuple),
        name=strategies.maybe(strategies.WORD),
        is_error=strategies.maybe(st.booleans()),
    ),
)
MESSAGES = strategies.build(
    ir.Message,
    role=st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    parts=st.lists(PARTS, max_size=3).map(tuple),
)
TOOLS = st.one_of(
    strategies.build(
        ir.Tool,
        name=strategies.TEXT,
        parameters=strategies.maybe(strategies.OBJECT),
        strict=strategies.maybe(st.booleans()),
    ),
    strategies.build(ir.CustomTool, name=strategies.TEXT, format=strategies.maybe(strategies.OBJECT)),
    strategies.build(ir.ServerTool, protocol=strategies.PROTOCOL, kind=strategies.TEXT, raw=strategies.OBJECT),
)
REQUESTS = strategies.build(
    ir.ChatRequest,
    model=strategies.TEXT,
    messages=st.lists(MESSAGES, max_size=5).map(tuple),
    stream=st.booleans(),
    tools=st.lists(TOOLS, max_size=2).map(tuple),
    tool_choice=strategies.maybe(strategies.build(ir.ToolChoice, mode=st.sampled_from(["auto", "none", "required"]))),
    extensions=st.lists(
        strategies.build(
            ir.Extension,
            protocol=strategies.PROTOCOL,
            path=strategies.WORD | st.just("contents.x") | st.just("generationConfig.a.b"),
            value=strategies.JSON,
            loss=st.sampled_from(["info", "warning", "error"]),
        ),
        max_size=2,
    ).map(tuple),
)


@settings(max_examples=100, deadline=None)
@given(REQUESTS, st.sampled_from([PLAIN, THREE, SUBSET]))
def test_any_request_is_sent_or_refused(request: ir.ChatRequest, profile: Profile) -> None:
    try:
        encoded = CODEC.encode_request(request, profile=profile)
    except GatewayError as error:
        assert error.status == 400
    else:
        assert as_list(loads_object(encoded.body)["contents"])
        assert CODEC.encode_request(request, profile=profile) == encoded
