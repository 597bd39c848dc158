"""Anthropic's and Google's own SDKs and OpenAI's for Responses, unmodified, through the gateway to each protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import openai
import pytest
from anthropic.types import ToolParam
from google import genai
from google.genai import types

from tests.sdk.conftest import CLIENT_KEY, Running
from tests.sdk.expected import expected
from tests.sdk.test_openai_python import PARALLEL, PLAIN, STREAMED, STREAMED_TOOLS, TOOLS

QUESTION = "What is the weather in Bogotá? 🌦"
SCHEMA: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: ToolParam = {"name": "get_weather", "description": "The weather of a city", "input_schema": SCHEMA}


@pytest.fixture
def claude(gateway: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def responses(gateway: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(gateway: Running) -> Iterator[genai.Client]:
    with genai.Client(api_key=CLIENT_KEY, http_options=types.HttpOptions(base_url=gateway.url)) as client:
        yield client


@pytest.mark.parametrize(("folder", "name"), PLAIN)
def test_anthropics_sdk_gets_plain_answers(claude: anthropic.Anthropic, folder: str, name: str) -> None:
    answer = claude.messages.create(
        model=f"{folder}--{name}", max_tokens=100, messages=[{"role": "user", "content": QUESTION}]
    )
    told = "".join(block.text for block in answer.content if block.type == "text")
    assert told == expected(folder, name).text
    assert answer.stop_reason == "end_turn" and answer.usage.output_tokens > 0


@pytest.mark.parametrize(("folder", "name"), STREAMED + STREAMED_TOOLS)
def test_anthropics_sdk_gets_streams(claude: anthropic.Anthropic, folder: str, name: str) -> None:
    with claude.messages.stream(
        model=f"{folder}--{name}", max_tokens=100, messages=[{"role": "user", "content": QUESTION}], tools=[WEATHER]
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    told = expected(folder, name)
    assert text == told.text
    assert [(block.name, block.input) for block in final.content if block.type == "tool_use"] == told.calls
    assert final.stop_reason == ("tool_use" if told.calls else "end_turn")


@pytest.mark.parametrize(("folder", "name"), TOOLS + PARALLEL)
def test_anthropics_sdk_gets_tool_calls(claude: anthropic.Anthropic, folder: str, name: str) -> None:
    answer = claude.messages.create(
        model=f"{folder}--{name}",
        max_tokens=100,
        messages=[{"role": "user", "content": QUESTION}],
        tools=[WEATHER],
        tool_choice={"type": "any"},
    )
    calls = [(block.name, block.input) for block in answer.content if block.type == "tool_use"]
    assert calls == expected(folder, name).calls != []
    assert answer.stop_reason == "tool_use"


def test_anthropics_sdk_counts_lists_and_fails_as_it_knows_it(claude: anthropic.Anthropic) -> None:
    assert "named" in {model.id for model in claude.models.list()}
    count = claude.messages.count_tokens(model="named", messages=[{"role": "user", "content": QUESTION}])
    assert count.input_tokens > 5
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="no-such-model", max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(anthropic.RateLimitError):
        claude.messages.create(model="broken-gemini", max_tokens=9, messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(("folder", "name"), PLAIN)
def test_responses_come_whole(responses: openai.OpenAI, folder: str, name: str) -> None:
    answer = responses.responses.create(model=f"{folder}--{name}", input=QUESTION, store=False)
    assert answer.output_text == expected(folder, name).text
    assert answer.status == "completed" and answer.usage is not None and answer.usage.total_tokens > 0


@pytest.mark.parametrize(("folder", "name"), STREAMED + STREAMED_TOOLS)
def test_responses_come_as_streams(responses: openai.OpenAI, folder: str, name: str) -> None:
    with responses.responses.stream(
        model=f"{folder}--{name}",
        input=QUESTION,
        store=False,
        tools=[{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}],
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    told = expected(folder, name)
    assert final.output_text == told.text
    calls = [(item.name, json.loads(item.arguments)) for item in final.output if item.type == "function_call"]
    assert calls == told.calls


@pytest.mark.parametrize(("folder", "name"), PLAIN)
def test_googles_sdk_gets_plain_answers(gemini: genai.Client, folder: str, name: str) -> None:
    answer = gemini.models.generate_content(model=f"{folder}--{name}", contents=QUESTION)
    assert answer.text == expected(folder, name).text
    assert answer.usage_metadata is not None and answer.usage_metadata.total_token_count


@pytest.mark.parametrize(("folder", "name"), STREAMED + STREAMED_TOOLS)
def test_googles_sdk_gets_streams(gemini: genai.Client, folder: str, name: str) -> None:
    tool = types.Tool(
        function_declarations=[types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)]
    )
    config = types.GenerateContentConfig(
        tools=[tool], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    text, calls = "", []
    for chunk in gemini.models.generate_content_stream(model=f"{folder}--{name}", contents=QUESTION, config=config):
        parts = (chunk.candidates[0].content.parts or []) if chunk.candidates and chunk.candidates[0].content else []
        text += "".join(part.text or "" for part in parts if not part.thought)
        calls += [(part.function_call.name, part.function_call.args or {}) for part in parts if part.function_call]
    told = expected(folder, name)
    assert (text, calls) == (told.text, told.calls)


def test_googles_sdk_counts_lists_and_fails_as_it_knows_it(gemini: genai.Client) -> None:
    assert "models/named" in {model.name for model in gemini.models.list()}
    assert (gemini.models.count_tokens(model="named", contents=QUESTION).total_tokens or 0) > 5
    with pytest.raises(genai.errors.ClientError) as unknown:
        gemini.models.generate_content(model="no-such-model", contents="hi")
    assert unknown.value.code == 404
