"""Settings, tools and thinking: what Converse has words for, what goes into the model's own fields, what is lost."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asgi_llmgw import ir
from asgi_llmgw.errors import InvalidRequest
from asgi_llmgw.protocols import Profile
from asgi_llmgw.protocols.bedrock_converse import CODEC
from asgi_llmgw.providers.catalog import provider_from_catalog
from tests.protocols.bedrock_converse.asking import (
    CALL,
    HELLO,
    RESULT,
    WEATHER,
    asked,
    assistant,
    body_and_notes,
    conversation,
    encode,
    results,
    user,
)

SPEC = {
    "toolSpec": {
        "name": "weather",
        "inputSchema": {"json": WEATHER.parameters},
        "description": "Tells the weather.",
    }
}
BEDROCK = provider_from_catalog("aws", "bedrock-converse", api_keys=("k",), places={"region": "us-east-1"})
UNKNOWN = BEDROCK.profile_for("meta.llama3-3-70b-instruct-v1:0")
NOVA = BEDROCK.profile_for("us.amazon.nova-pro-v1:0")
NOVA_2 = BEDROCK.profile_for("us.amazon.nova-2-lite-v1:0")
GPT_OSS = BEDROCK.profile_for("openai.gpt-oss-120b-1:0")
CLAUDE_4_5 = BEDROCK.profile_for("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
CLAUDE_4_6 = BEDROCK.profile_for("us.anthropic.claude-sonnet-4-6")


def test_a_plain_request_has_nothing_that_was_not_asked_for() -> None:
    body, notes = asked()
    assert body == {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    assert notes == set()


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("amazon.nova-pro-v1:0", False, "/model/amazon.nova-pro-v1%3A0/converse"),
        ("us.meta.llama3-3-70b-instruct-v1:0", True, "/model/us.meta.llama3-3-70b-instruct-v1%3A0/converse-stream"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
            True,
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc"
            "/converse-stream",
        ),
    ],
)
def test_the_model_stands_in_the_path(model: str, stream: bool, path: str) -> None:
    request = msgspec.structs.replace(HELLO, model=model, stream=stream)
    encoded = encode(request)
    assert encoded.path == path
    assert (CODEC.peek(path, b"").model, CODEC.peek(path, b"").stream) == (model, stream)
    renamed = CODEC.with_model(path, encoded.body, "a/b")
    assert renamed.path == f"/model/a%2Fb/converse{'-stream' if stream else ''}"
    assert renamed.body == encoded.body


@pytest.mark.parametrize("model", ["", ".", "..", "a b", "a\nb", "x" * 2049, "\ud800"])
def test_a_name_that_leads_elsewhere_is_refused(model: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.encode_request(msgspec.structs.replace(HELLO, model=model), profile=Profile())
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    "path", ["/", "/model//converse", "/model/a/b/converse", "/model/%ff/converse", "/model/a/invoke", "/v1/messages"]
)
def test_other_paths_are_not_ours(path: str) -> None:
    with pytest.raises(InvalidRequest, match="nothing at this path"):
        CODEC.peek(path, b"{}")


def test_inference_settings_have_words_of_their_own() -> None:
    sampling = ir.Sampling(temperature=0.5, top_p=0.9, stop=("END", " "))
    body, notes = asked(max_output_tokens=50, sampling=sampling)
    assert body["inferenceConfig"] == {"maxTokens": 50, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert notes == {("stop", "dropped", "warning")}


def test_values_out_of_range_are_clamped() -> None:
    body, notes = asked(sampling=ir.Sampling(temperature=1.7, top_p=1.5))
    assert body["inferenceConfig"] == {"temperature": 1, "topP": 1}
    assert notes == {("temperature", "clamped", "warning"), ("top_p", "clamped", "warning")}


@pytest.mark.parametrize(
    ("facts", "fields", "lost"),
    [
        (CLAUDE_4_5, {"top_k": 40}, set()),
        (NOVA, {"inferenceConfig": {"topK": 40}}, set()),
        (UNKNOWN, None, {("top_k", "dropped", "warning")}),
        (CLAUDE_4_6, {"top_k": 40}, set()),
    ],
    ids=["claude", "nova", "unknown", "newer_claude"],
)
def test_top_k_goes_where_the_models_maker_has_it(facts: Profile, fields: object, lost: object) -> None:
    body, notes = asked(facts, sampling=ir.Sampling(top_k=40))
    assert body.get("additionalModelRequestFields") == fields
    assert notes == lost


def test_a_model_takes_one_of_the_two_or_none() -> None:
    body, notes = asked(CLAUDE_4_5, sampling=ir.Sampling(temperature=0.5, top_p=0.9))
    assert body["inferenceConfig"] == {"temperature": 0.5}
    assert notes == {("top_p", "dropped", "warning")}
    body, notes = asked(Profile(sampling=False), sampling=ir.Sampling(temperature=0.5, top_k=3))
    assert set(body) == {"messages"}
    assert notes == {("temperature", "dropped", "warning"), ("top_k", "dropped", "warning")}


def test_what_has_no_word_here_is_told_to_be_lost() -> None:
    sampling = ir.Sampling(
        seed=1, presence_penalty=1, frequency_penalty=1, logit_bias={"1": 1}, logprobs=True, top_logprobs=2
    )
    body, notes = asked(
        sampling=sampling,
        verbosity="low",
        end_user="u",
        prompt_cache_key="k",
        service_tier="scale",
        extensions=(ir.Extension("openai_chat", "store", True, "info"), ir.Extension("gemini_generate", "x", 1)),
    )
    assert set(body) == {"messages"}
    warned = {path for path, code, severity in notes if (code, severity) == ("dropped", "warning")}
    assert warned == {
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "verbosity",
        "service_tier",
        "x",
    }
    assert {path for path, _, severity in notes if severity == "info"} == {"user", "prompt_cache_key", "store"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"candidates": 2}, "n"),
        ({"modalities": ("text", "audio")}, "modalities"),
        ({"extensions": (ir.Extension("openai_responses", "conversation", "c", "error"),)}, "conversation"),
        ({"tools": (ir.ServerTool("openai_responses", "web_search", {}),)}, "tools[0]"),
    ],
)
def test_what_would_make_the_answer_wrong_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("tier", "sent"), [("auto", None), ("default", "default"), ("priority", "priority"), ("flex", "flex")]
)
def test_service_tiers(tier: str, sent: str | None) -> None:
    body, notes = asked(service_tier=tier)
    assert body.get("serviceTier") == (None if sent is None else {"type": sent})
    assert notes == set()


def test_pairs_of_metadata_that_amazon_takes_are_sent() -> None:
    pairs: dict[str, Any] = {f"key {number}": "v" for number in range(15)}
    body, notes = asked(metadata={"bad": "ü", **pairs, "one": "x/y", "more": "z", "number": 1})
    assert body["requestMetadata"] == {**pairs, "one": "x/y"}
    assert notes == {(f"metadata.{name}", "dropped", "info") for name in ("bad", "more", "number")}


def test_tools_are_specifications_with_their_schema() -> None:
    body, notes = asked(tools=(WEATHER,))
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert notes == set()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ir.ToolChoice("auto"), {"auto": {}}),
        (ir.ToolChoice("required"), {"any": {}}),
        (ir.ToolChoice("required", ("weather",)), {"tool": {"name": "weather"}}),
    ],
)
def test_tool_choices(choice: ir.ToolChoice, expected: object) -> None:
    body, _ = asked(tools=(WEATHER,), tool_choice=choice)
    assert body["toolConfig"] == {"tools": [SPEC], "toolChoice": expected}


def test_a_model_that_cannot_be_forced_is_asked_kindly() -> None:
    body, notes = asked(UNKNOWN, tools=(WEATHER,), tool_choice=ir.ToolChoice("required"))
    assert body["toolConfig"] == {"tools": [SPEC], "toolChoice": {"auto": {}}}
    assert notes == {("tool_choice", "approximated", "warning")}


def test_a_model_that_shall_not_call_gets_no_tools() -> None:
    """There is no choice `none` here."""
    body, notes = asked(tools=(WEATHER,), tool_choice=ir.ToolChoice("none"))
    assert set(body) == {"messages"}
    assert notes == {("tool_choice", "approximated", "info")}


def test_tools_of_a_conversation_stay_declared_whatever_the_choice() -> None:
    """I12"""
    history = (user("Weather?"), assistant(CALL), results(RESULT))
    body, notes = body_and_notes(encode(conversation(*history, tools=(WEATHER,), tool_choice=ir.ToolChoice("none"))))
    assert body["toolConfig"] == {"tools": [SPEC]}
    assert notes == {("tool_choice", "approximated", "warning")}
    body, notes = body_and_notes(encode(conversation(*history, tool_choice=ir.ToolChoice("auto"))))
    bare = {"name": "weather", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert body["toolConfig"] == {"tools": [{"toolSpec": bare}]}
    assert notes == {("tools", "defaulted", "info"), ("tool_choice", "dropped", "info")}


def test_only_the_allowed_tools_are_sent() -> None:
    clock = ir.Tool("clock")
    body, notes = asked(tools=(WEATHER, clock), tool_choice=ir.ToolChoice("auto", ("weather",)))
    assert body["toolConfig"] == {"tools": [SPEC], "toolChoice": {"auto": {}}}
    assert notes == {("tool_choice", "approximated", "warning")}
    with pytest.raises(InvalidRequest, match="not in tools"):
        asked(tools=(WEATHER,), tool_choice=ir.ToolChoice("required", ("other",)))


def test_one_call_at_a_time_cannot_be_asked_for() -> None:
    _, notes = asked(tools=(WEATHER,), parallel_tool_calls=False)
    assert notes == {("parallel_tool_calls", "dropped", "warning")}


def test_names_of_tools_are_made_to_fit_and_have_to_differ() -> None:
    body, notes = asked(tools=(ir.Tool("my tool.v2"),))
    assert CODEC.tool_name("my tool.v2") in str(body["toolConfig"])
    assert notes == {("tools[0].name", "renamed", "info")}
    with pytest.raises(InvalidRequest, match="same name"):
        asked(tools=(WEATHER, WEATHER))


@pytest.mark.parametrize("kind", [None, "OBJECT", ["object", "null"]])
def test_the_root_of_a_schema_is_an_object(kind: Any) -> None:
    parameters = {"properties": {}} if kind is None else {"type": kind, "properties": {}}
    body, _ = asked(tools=(ir.Tool("t", None, parameters),))
    assert body["toolConfig"] == {
        "tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object", "properties": {}}}}}]
    }
    with pytest.raises(InvalidRequest, match="object schema"):
        asked(tools=(ir.Tool("t", None, {"type": "array"}),))


def test_a_free_text_tool_is_a_function_with_one_string() -> None:
    grammar: dict[str, Any] = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
    body, notes = asked(tools=(ir.CustomTool("grep", "Finds.", grammar),))
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    spec = {"name": "grep", "inputSchema": {"json": schema}, "description": "Finds."}
    assert body["toolConfig"] == {"tools": [{"toolSpec": spec}]}
    assert notes == {("tools[0]", "approximated", "info"), ("tools[0].format", "dropped", "warning")}


def test_strict_tools_where_the_model_and_the_schema_can_promise_it() -> None:
    closed: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    body, notes = asked(tools=(ir.Tool("t", None, closed, strict=True),))
    assert '"strict": True' in str(body).replace("'", '"') and notes == set()
    loose: dict[str, Any] = {"type": "object", "properties": {"a": {"minLength": 1}}}
    for facts, schema in ((UNKNOWN, closed), (Profile(), loose)):
        body, notes = asked(facts, tools=(ir.Tool("t", None, schema, strict=True),))
        assert "strict" not in str(body) and notes == {("tools[0].strict", "dropped", "warning")}


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def test_an_answer_of_a_schema_where_the_model_takes_one() -> None:
    wanted = ir.ResponseFormat("json_schema", SCHEMA, "place", "A place.", strict=True)
    body, notes = asked(response_format=wanted)
    told = {
        "schema": '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],'
        '"additionalProperties":false}',
        "name": "place",
        "description": "A place.",
    }
    assert body["outputConfig"] == {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": told}}}
    assert notes == set()


@pytest.mark.parametrize(
    ("wanted", "facts", "lost"),
    [
        (ir.ResponseFormat("json_object"), None, "response_format"),
        (ir.ResponseFormat("json_schema", SCHEMA), UNKNOWN, "response_format"),
        (ir.ResponseFormat("json_schema", {"$ref": "#"}), None, "response_format"),
    ],
)
def test_a_form_that_the_model_does_not_take_is_told_in_words(
    wanted: ir.ResponseFormat, facts: Profile | None, lost: str
) -> None:
    body, notes = asked(facts, response_format=wanted)
    assert "outputConfig" not in body and "Answer with one JSON object" in str(body["system"])
    assert notes == {(lost, "approximated", "warning")}


def test_a_schema_is_cut_down_to_what_is_taken() -> None:
    loose = {**SCHEMA, "properties": {"city": {"type": "string", "minLength": 3}}}
    body, notes = asked(response_format=ir.ResponseFormat("json_schema", loose, strict=False))
    assert "minLength" in str(body["outputConfig"])  # as a description
    assert notes == {
        ("response_format.schema", "approximated", "warning"),
        ("response_format.strict", "approximated", "info"),
    }
    assert asked(response_format=ir.ResponseFormat("text"))[1] == set()


@pytest.mark.parametrize(
    ("facts", "reasoning", "fields", "effort", "lost"),
    [
        pytest.param(
            CLAUDE_4_5,
            ir.Reasoning(budget_tokens=2000),
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            None,
            set(),
            id="a_budget",
        ),
        pytest.param(
            CLAUDE_4_5,
            ir.Reasoning(effort="low", visible=False),
            {"thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"}},
            None,
            set(),
            id="an_effort_as_a_budget",
        ),
        pytest.param(
            CLAUDE_4_5,
            ir.Reasoning(budget_tokens=-1),
            {"thinking": {"type": "enabled", "budget_tokens": 8192}},
            None,
            {"reasoning.budget_tokens"},
            id="a_budget_left_to_the_model",
        ),
        pytest.param(
            CLAUDE_4_5,
            ir.Reasoning(budget_tokens=10),
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            None,
            {"reasoning.budget_tokens"},
            id="a_budget_that_is_too_small",
        ),
        pytest.param(CLAUDE_4_5, ir.Reasoning(effort="none"), None, None, set(), id="off"),
        pytest.param(CLAUDE_4_5, ir.Reasoning(budget_tokens=0), None, None, set(), id="no_budget"),
        pytest.param(CLAUDE_4_5, ir.Reasoning(visible=True), None, None, {"reasoning"}, id="only_shown"),
        pytest.param(CLAUDE_4_5, ir.Reasoning(), None, None, set(), id="nothing"),
        pytest.param(
            CLAUDE_4_6,
            ir.Reasoning(effort="max", visible=True),
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            "max",
            set(),
            id="adaptive",
        ),
        pytest.param(
            CLAUDE_4_6,
            ir.Reasoning(effort="minimal"),
            {"thinking": {"type": "adaptive"}},
            "low",
            {"reasoning.effort"},
            id="the_least_effort",
        ),
        pytest.param(
            CLAUDE_4_6,
            ir.Reasoning(budget_tokens=30_000),
            {"thinking": {"type": "adaptive"}},
            "xhigh",
            {"reasoning.budget_tokens"},
            id="a_budget_as_an_effort",
        ),
        pytest.param(
            CLAUDE_4_6, ir.Reasoning(effort="none"), {"thinking": {"type": "disabled"}}, None, set(), id="adaptive_off"
        ),
        pytest.param(
            NOVA_2,
            ir.Reasoning(effort="medium"),
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}},
            None,
            set(),
            id="nova_2",
        ),
        pytest.param(
            NOVA_2, ir.Reasoning(effort="none"), {"reasoningConfig": {"type": "disabled"}}, None, set(), id="nova_2_off"
        ),
        pytest.param(NOVA_2, ir.Reasoning(), None, None, set(), id="nova_2_as_it_likes"),
        pytest.param(
            GPT_OSS,
            ir.Reasoning(effort="xhigh"),
            {"reasoning_effort": "high"},
            None,
            {"reasoning.effort"},
            id="gpt_oss",
        ),
        pytest.param(
            GPT_OSS,
            ir.Reasoning(budget_tokens=2000),
            {"reasoning_effort": "low"},
            None,
            {"reasoning.budget_tokens"},
            id="gpt_oss_with_a_budget",
        ),
        pytest.param(GPT_OSS, ir.Reasoning(effort="none"), None, None, {"reasoning"}, id="gpt_oss_always_thinks"),
        pytest.param(NOVA, ir.Reasoning(effort="high"), None, None, {"reasoning"}, id="a_model_that_is_not_told"),
        pytest.param(UNKNOWN, ir.Reasoning(effort="none"), None, None, set(), id="nothing_to_turn_off"),
    ],
)
def test_how_much_to_think_in_the_words_of_each_maker(
    facts: Profile, reasoning: ir.Reasoning, fields: object, effort: str | None, lost: set[str]
) -> None:
    body, notes = asked(facts, reasoning=reasoning)
    assert body.get("additionalModelRequestFields") == fields
    assert body.get("outputConfig") == (None if effort is None else {"effort": effort})
    assert {path for path, _, _ in notes} == lost


def test_a_budget_fits_under_the_limit_of_the_output() -> None:
    """C5"""
    thinks = ir.Reasoning(effort="high")
    body, notes = asked(CLAUDE_4_5, reasoning=thinks, max_output_tokens=4000)
    assert body["additionalModelRequestFields"] == {"thinking": {"type": "enabled", "budget_tokens": 3999}}
    assert notes == {("reasoning.budget_tokens", "clamped", "warning")}
    body, notes = asked(CLAUDE_4_5, reasoning=thinks, max_output_tokens=1000)
    assert "additionalModelRequestFields" not in body
    assert notes == {("reasoning", "dropped", "warning")}


def test_a_model_that_thinks_takes_no_sampling_meanwhile() -> None:
    sampling = ir.Sampling(temperature=0.2, top_p=0.95, top_k=3)
    body, notes = asked(CLAUDE_4_5, reasoning=ir.Reasoning(effort="low"), sampling=sampling)
    assert body["inferenceConfig"] == {"topP": 0.95}
    assert {path for path, _, _ in notes} == {"temperature", "top_k"}
    body, notes = asked(NOVA_2, reasoning=ir.Reasoning(effort="high"), sampling=sampling, max_output_tokens=9)
    assert "inferenceConfig" not in body
    assert {path for path, _, _ in notes} == {"temperature", "top_p", "top_k", "max_tokens"}


def test_claude_does_not_think_with_a_budget_where_it_would_be_refused() -> None:
    thinks = ir.Reasoning(effort="low")
    _, notes = asked(CLAUDE_4_5, reasoning=thinks, tools=(WEATHER,), tool_choice=ir.ToolChoice("required"))
    assert notes == {("reasoning", "dropped", "warning")}
    history = (user("Weather?"), assistant(CALL), results(RESULT))
    _, notes = body_and_notes(encode(conversation(*history, tools=(WEATHER,), reasoning=thinks), CLAUDE_4_5))
    assert notes == {("reasoning", "dropped", "warning")}
    thought = ir.ReasoningPart("hm", ir.Opaque("bedrock_converse", "signature", "c2ln"))
    history = (user("Weather?"), assistant(thought, CALL), results(RESULT))
    body, notes = body_and_notes(encode(conversation(*history, tools=(WEATHER,), reasoning=thinks), CLAUDE_4_5))
    assert "thinking" in str(body["additionalModelRequestFields"]) and notes == set()


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": (ir.Tool("t", None, {"type": "object", "x": "\ud800"}),)},
        {"response_format": ir.ResponseFormat("json_schema", {"type": "object", "x": "\ud800"})},
    ],
)
def test_what_cannot_be_written_as_json_is_the_clients_mistake(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        CODEC.encode_request(msgspec.structs.replace(HELLO, **fields), profile=UNKNOWN)


def test_what_is_known_of_the_families() -> None:
    claude_3 = BEDROCK.profile_for("anthropic.claude-3-haiku-20240307-v1:0")
    assert claude_3.cache_points == () and claude_3.thinking == "none"
    assert BEDROCK.profile_for("us.anthropic.claude-3-7-sonnet-20250219-v1:0").thinking == "budget"
    assert BEDROCK.profile_for("us.anthropic.claude-3-5-haiku-20241022-v1:0").cache_points == Profile().cache_points
    assert BEDROCK.profile_for("anthropic.claude-opus-4-1-20250805-v1:0").native_structured_output is False
    assert CLAUDE_4_5.native_structured_output
    assert NOVA.cache_points == ("system", "messages")
    assert BEDROCK.profile_for("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc") == UNKNOWN
