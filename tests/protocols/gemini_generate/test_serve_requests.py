from __future__ import annotations

import pytest

from asgi_llmgw import ir
from asgi_llmgw.json import JSONObject, JSONValue, dumps
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.protocols.gemini_generate import CODEC

from .served import CALL, USER, ask, converse, model, refused, result, user

OURS: ir.Protocol = "gemini_generate"


def test_model_and_stream_stand_in_the_path() -> None:
    path = "/v1/models/openai/gpt-4.1:streamGenerateContent?alt=sse&key=x"
    request = CODEC.decode_request(path, dumps({"contents": [USER]}))
    assert (request.model, request.stream) == ("openai/gpt-4.1", True)
    assert ask().stream is False


def test_a_body_that_names_the_same_model_is_fine_and_another_one_is_refused() -> None:
    """X1"""
    assert ask(model="models/some-model").model == "some-model"
    assert refused(model="models/other").param == "model"


@pytest.mark.parametrize("camel", [True, False], ids=["camelCase", "snake_case"])
def test_both_spellings_are_read_at_every_depth(camel: bool) -> None:
    """Trap 3, clients 17"""
    body: JSONObject
    if camel:
        body = {
            "systemInstruction": {"parts": [{"text": "s"}]},
            "contents": [user({"inlineData": {"mimeType": "image/png", "data": "aGk="}})],
            "tools": [{"functionDeclarations": [{"name": "f_g", "parametersJsonSchema": {"my_key": {"a_b": 1}}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f_g"]}},
            "generationConfig": {"topP": 0.5, "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"}},
        }
    else:
        body = {
            "system_instruction": {"parts": [{"text": "s"}]},
            "contents": [user({"inline_data": {"mime_type": "image/png", "data": "aGk="}})],
            "tools": [{"function_declarations": [{"name": "f_g", "parameters_json_schema": {"my_key": {"a_b": 1}}}]}],
            "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f_g"]}},
            "generation_config": {"top_p": 0.5, "thinking_config": {"include_thoughts": True, "thinking_level": "low"}},
        }
    request = ask(**body)
    image = ir.MediaPart("image", ir.Base64Source("aGk="), "image/png")
    assert request.messages == (ir.Message("system", (ir.TextPart("s"),)), ir.Message("user", (image,)))
    assert request.tools == (ir.Tool("f_g", None, {"my_key": {"a_b": 1}}),)
    assert request.tool_choice == ir.ToolChoice("required", ("f_g",))
    assert request.sampling.top_p == 0.5
    assert request.reasoning == ir.Reasoning("low", None, True)
    assert request.extensions == ()


def test_arguments_and_results_keep_their_own_spelling() -> None:
    """Trap 3: user data is nobody's business."""
    messages = converse(
        user({"text": "go"}),
        model({"functionCall": {"name": "f", "args": {"my_key": {"other_key": 1}}}}),
        user(result("f", {"a_b": 1, "c_d": 2})),
    )
    assert messages[1].parts == (ir.ToolCallPart("call_0", "f", '{"my_key":{"other_key":1}}'),)
    assert messages[2].parts == (ir.ToolResultPart("call_0", (ir.TextPart('{"a_b":1,"c_d":2}'),), "f"),)


def test_a_field_in_both_spellings_is_refused() -> None:
    error = refused(generationConfig={"topP": 0.1, "top_p": 0.9})
    assert error.param == "generationConfig.topP"


@pytest.mark.parametrize(
    "value",
    ["s", {"text": "s"}, {"parts": {"text": "s"}}, {"role": "user", "parts": [{"text": "s", "thought": False}]}],
    ids=["text", "part", "one_part", "content"],
)
def test_a_system_instruction_comes_in_many_forms(value: JSONValue) -> None:
    assert ask(systemInstruction=value).messages[0] == ir.Message("system", (ir.TextPart("s"),))


def test_one_object_stands_for_an_array_of_it() -> None:
    """The vendor's own examples are written like this."""
    request = ask(contents={"parts": {"text": "hello"}})
    assert request.messages == (ir.Message("user", (ir.TextPart("hello"),)),)


def test_the_whole_configuration_is_read() -> None:
    request = ask(
        generationConfig={
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 40.0,
            "seed": 7,
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "stopSequences": ["a", "b"],
            "responseLogprobs": True,
            "logprobs": 3,
            "candidateCount": 2,
            "maxOutputTokens": 9,
            "responseModalities": ["TEXT", "IMAGE"],
        },
        serviceTier="standard",
    )
    assert request.sampling == ir.Sampling(0.5, 0.9, 40, 7, 0.1, 0.2, ("a", "b"), None, True, 3)
    assert (request.candidates, request.max_output_tokens) == (2, 9)
    assert request.modalities == ("text", "image")
    assert request.service_tier == "default"
    assert request.extensions == ()


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"thinkingBudget": -1}, ir.Reasoning(budget_tokens=-1)),
        ({"thinkingBudget": 0, "includeThoughts": False}, ir.Reasoning(budget_tokens=0, visible=False)),
        ({"thinkingLevel": "XHIGH"}, ir.Reasoning("xhigh")),
        ({"thinkingLevel": "medium", "includeThoughts": True}, ir.Reasoning("medium", visible=True)),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
        ({"thinkingLevel": 3}, ir.Reasoning("high")),
        ({}, None),
    ],
)
def test_thinking_is_a_budget_or_a_level(thinking: JSONObject, expected: ir.Reasoning | None) -> None:
    """§3.9, clients 18"""
    assert ask(generationConfig={"thinkingConfig": thinking}).reasoning == expected


SCHEMA: JSONObject = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}
PLAIN: JSONObject = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"responseMimeType": "text/plain"}, ir.ResponseFormat("text")),
        ({"responseMimeType": "application/json"}, ir.ResponseFormat("json_object")),
        ({"responseMimeType": "application/json", "responseSchema": SCHEMA}, ir.ResponseFormat("json_schema", PLAIN)),
        ({"responseSchema": SCHEMA}, ir.ResponseFormat("json_schema", PLAIN)),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "OBJECT", "x": 1}},
            ir.ResponseFormat("json_schema", {"type": "object", "x": 1}),
        ),
        ({}, None),
    ],
)
def test_the_form_of_the_answer(config: JSONObject, expected: ir.ResponseFormat | None) -> None:
    """§3.11, clients 17"""
    assert ask(generationConfig=config).response_format == expected


def test_an_answer_of_one_word_can_only_be_asked_of_gemini() -> None:
    schema: JSONObject = {"type": "STRING", "enum": ["a", "b"]}
    request = ask(generationConfig={"responseMimeType": "text/x.enum", "responseSchema": schema})
    assert request.response_format is None
    assert request.extensions == (
        ir.Extension(OURS, "generationConfig.responseMimeType", "text/x.enum", "error"),
        ir.Extension(OURS, "generationConfig.responseSchema", schema, "error"),
    )
    sent = CODEC.encode_request(request, profile=Profile())
    assert CODEC.decode_request(sent.path, sent.body) == request


def test_functions_and_the_vendors_own_tools() -> None:
    """§3.5, I9, clients 21"""
    request = ask(
        tools=[
            {"googleSearch": {}, "functionDeclarations": [{"name": "f", "description": "d", "parameters": SCHEMA}]},
            {"functionDeclarations": [{"name": "g", "behavior": "NON_BLOCKING"}]},
            {"code_execution": {"a_b": 1}},
        ]
    )
    assert request.tools == (
        ir.Tool("f", "d", PLAIN),
        ir.ServerTool(OURS, "googleSearch", {"googleSearch": {}}),
        ir.Tool("g"),
        ir.ServerTool(OURS, "codeExecution", {"codeExecution": {"a_b": 1}}),
    )
    assert request.extensions == (
        ir.Extension(OURS, "tools[1].functionDeclarations[0].behavior", "NON_BLOCKING", "warning"),
    )


@pytest.mark.parametrize(
    ("calling", "expected"),
    [
        ({"mode": "AUTO"}, ir.ToolChoice("auto")),
        ({"mode": "any"}, ir.ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ir.ToolChoice("required", ("f",))),
        ({"mode": "NONE"}, ir.ToolChoice("none")),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ir.ToolChoice("auto", ("f",))),
        ({"mode": "VALIDATED"}, None),
        ({"mode": "MODE_UNSPECIFIED"}, None),
        ({"mode": 2}, ir.ToolChoice("required")),
        ({}, None),
    ],
)
def test_the_choice_between_functions(calling: JSONObject, expected: ir.ToolChoice | None) -> None:
    """I11, §3.6"""
    request = ask(
        tools=[{"functionDeclarations": [{"name": "f"}]}],
        toolConfig={"functionCallingConfig": calling, "includeServerSideToolInvocations": True},
    )
    assert request.tool_choice == expected
    assert request.extensions[0] == ir.Extension(OURS, "toolConfig.includeServerSideToolInvocations", True, "info")
    sent = CODEC.encode_request(request, profile=Profile())
    assert CODEC.decode_request(sent.path, sent.body) == request


def test_what_only_gemini_knows_is_kept_and_never_lost_in_silence() -> None:
    """Unknown fields at every level."""
    request = ask(
        contents=[
            {
                "role": "user",
                "parts": [
                    {
                        "fileData": {"fileUri": "https://youtu.be/x", "newer": 1},
                        "videoMetadata": {"fps": 2},
                    }
                ],
                "extra": 1,
            }
        ],
        generationConfig={"speechConfig": {"a": 1}, "thinkingConfig": {"new_field": 2}},
        safetySettings=[{"category": "x"}],
        cachedContent="cachedContents/1",
        labels={"a": "b"},
        something=None,
        somethingElse=1,
    )
    assert {(extension.path, extension.loss) for extension in request.extensions} == {
        ("contents[0].extra", "warning"),
        ("contents[0].parts[0].videoMetadata", "warning"),
        ("contents[0].parts[0].fileData.newer", "warning"),
        ("generationConfig.speechConfig", "warning"),
        ("generationConfig.thinkingConfig.newField", "warning"),
        ("safetySettings", "warning"),
        ("cachedContent", "error"),
        ("labels", "info"),
        ("somethingElse", "warning"),
    }
    sent = CODEC.encode_request(request, profile=Profile())
    again = CODEC.decode_request(sent.path, sent.body)
    lost = {extension.path for extension in request.extensions} - {extension.path for extension in again.extensions}
    assert lost == {diagnostic.path for diagnostic in sent.diagnostics}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"contents": []}, "contents"),
        ({"contents": None}, "contents"),
        ({"contents": [{"role": "user", "parts": []}]}, "contents"),
        ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "contents[0].role"),
        ({"contents": [user({"text": 1})]}, "contents[0].parts[0].text"),
        ({"contents": [user(CALL)]}, "contents[0].parts[0].functionCall"),
        ({"contents": [USER, model(result("f", {}))]}, "contents[1].parts[0].functionResponse"),
        ({"contents": [USER, model({"functionCall": {"args": {}}})]}, "contents[1].parts[0].functionCall.name"),
        (
            {"contents": [USER, model({"functionCall": {"name": "f", "args": []}})]},
            "contents[1].parts[0].functionCall.args",
        ),
        ({"contents": [user({"text": "x", "inlineData": {}})]}, "contents[0].parts[0]"),
        (
            {"contents": [user({"inlineData": {"mimeType": "image/png", "data": "!"}})]},
            "contents[0].parts[0].inlineData.data",
        ),
        ({"contents": [user({"fileData": {}})]}, "contents[0].parts[0].fileData.fileUri"),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts[0]"),
        ({"generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"mediaResolution": "HUGE"}}, "generationConfig.mediaResolution"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "SOME"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 1}}},
            "generationConfig.thinkingConfig",
        ),
        ({"generationConfig": {"responseSchema": {"type": "THING"}}}, "generationConfig.responseSchema.type"),
        (
            {"generationConfig": {"responseSchema": {"properties": {"a": {"type": {}}}}}},
            "generationConfig.responseSchema.properties.a.type",
        ),
        (
            {"generationConfig": {"responseSchema": {}, "responseJsonSchema": {}}},
            "generationConfig.responseJsonSchema",
        ),
        (
            {"generationConfig": {"responseMimeType": "text/plain", "responseSchema": {}}},
            "generationConfig.responseSchema",
        ),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "toolConfig.functionCallingConfig.mode"),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["x"]}}},
            "toolConfig.functionCallingConfig.allowedFunctionNames",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_path(fields: JSONObject, param: str) -> None:
    error = refused(**fields)
    assert (error.param, error.status) == (param, 400)
