"""Every vendor's row, through the running gateway: where it is called, and how it is told who we are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

from asgi_llmgw import build_app
from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import ConfigError, InvalidRequest
from asgi_llmgw.json import JSONObject, as_list, as_object, dumps, loads_object
from asgi_llmgw.protocols import codec
from asgi_llmgw.providers.base import Provider
from asgi_llmgw.providers.catalog import CATALOG, provider_from_catalog
from asgi_llmgw.providers.table import vendor_table, with_vendor_table
from asgi_llmgw.testing import FakeResponse, FakeUpstream, call, http_scope
from asgi_llmgw.upstream.base import UpstreamRequest

pytestmark = pytest.mark.anyio

ENDPOINT: Final = "https://name.openai.azure.com"
BEARER: Final = "authorization: Bearer k"
ROWS: Final = [
    ("openai", "https://api.openai.com/v1/chat/completions", BEARER),
    ("azure", f"{ENDPOINT}/openai/v1/chat/completions", "api-key: k"),
    (
        "azure-deployments",
        f"{ENDPOINT}/openai/deployments/m%2Fx/chat/completions?api-version=2024-10-21",
        "api-key: k",
    ),
    ("anthropic", "https://api.anthropic.com/v1/messages", "x-api-key: k"),
    (
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/models/m%2Fx:generateContent",
        "x-goog-api-key: k",
    ),
    ("bedrock", "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m%2Fx/invoke", BEARER),
    ("bedrock-converse", "https://bedrock-runtime.eu-central-1.amazonaws.com/model/m%2Fx/converse", BEARER),
    ("mistral", "https://api.mistral.ai/v1/chat/completions", BEARER),
    ("groq", "https://api.groq.com/openai/v1/chat/completions", BEARER),
    ("deepseek", "https://api.deepseek.com/chat/completions", BEARER),
    ("xai", "https://api.x.ai/v1/chat/completions", BEARER),
    ("openrouter", "https://openrouter.ai/api/v1/chat/completions", BEARER),
    ("together", "https://api.together.xyz/v1/chat/completions", BEARER),
    ("fireworks", "https://api.fireworks.ai/inference/v1/chat/completions", BEARER),
    ("cerebras", "https://api.cerebras.ai/v1/chat/completions", BEARER),
    ("perplexity", "https://api.perplexity.ai/chat/completions", BEARER),
    ("moonshot", "https://api.moonshot.ai/v1/chat/completions", BEARER),
    ("zai", "https://api.z.ai/api/paas/v4/chat/completions", BEARER),
    ("cohere", "https://api.cohere.ai/compatibility/v1/chat/completions", BEARER),
    ("ollama", "http://127.0.0.1:11434/v1/chat/completions", BEARER),
    ("vllm", "http://127.0.0.1:8000/v1/chat/completions", BEARER),
    ("llamacpp", "http://127.0.0.1:8080/v1/chat/completions", BEARER),
    ("lmstudio", "http://127.0.0.1:1234/v1/chat/completions", BEARER),
]
SIGNED: Final = {"vertex", "vertex-claude"}
"""Those that are told who we are by a library: `tests/signing`."""

ENVIRON: Final = {"AZURE_OPENAI_ENDPOINT": ENDPOINT + "/", "AWS_REGION": "eu-central-1"}
HELLO: Final[JSONObject] = {"model": "smart", "messages": [{"role": "user", "content": "Hello"}]}


async def sent(
    provider: Mapping[str, object], body: JSONObject = HELLO, *, kind: str, environ: Mapping[str, str] = ENVIRON
) -> UpstreamRequest:
    """What a gateway with this provider sends for a client of Chat Completions."""
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    document = {"providers": {kind: dict(provider)}, "models": {"smart": {"targets": [f"{kind}/m/x"]}}}
    gateway = build_app(parse_config(document, environ=environ), upstream=upstream, access_log=None)
    await call(gateway, http_scope(), dumps(body))
    return upstream.requests[0]


@pytest.mark.parametrize(("kind", "url", "header"), ROWS, ids=[kind for kind, _, _ in ROWS])
async def test_a_vendor_is_called_as_its_page_says(kind: str, url: str, header: str) -> None:
    request = await sent({"api_key": "k"}, kind=kind)
    name, _, value = header.partition(": ")
    assert request.url == url
    assert [found for key, found in request.headers if key == name.encode()] == [value.encode()]
    assert sum(b"k" in found.split()[-1:] for _, found in request.headers) == 1


def test_every_row_is_looked_at() -> None:
    assert {kind for kind, _, _ in ROWS} | SIGNED == set(CATALOG) - {"demo"}


async def test_a_vendor_nobody_has_heard_of_is_built_from_a_configuration_alone() -> None:
    acme = {
        "protocol": "openai_chat",
        "base_url": "https://api.acme.example/v1",
        "auth": "api-key",
        "api_key": "env:ACME_API_KEY",
        "headers": {"x-tenant": "us"},
        "profile": {"max_tokens_field": "max_tokens", "seed_field": "random_seed", "refused_fields": ["logit_bias"]},
    }
    body = {**HELLO, "max_tokens": 5}
    request = await sent(acme, body, kind="acme", environ={"ACME_API_KEY": "k"})
    assert request.url == "https://api.acme.example/v1/chat/completions"
    assert dict(request.headers)[b"api-key"] == b"k"
    assert dict(request.headers)[b"x-tenant"] == b"us"
    assert loads_object(request.body) == {**body, "model": "m/x"}


async def test_the_facts_of_a_configured_vendor_hold_where_its_requests_are_written_anew() -> None:
    document = {
        "providers": {
            "acme": {
                "protocol": "openai_chat",
                "base_url": "https://api.acme.example/v1",
                "profile": {"max_tokens_field": "max_tokens", "refused_fields": ["stop"]},
            }
        },
        "models": {"smart": {"targets": ["acme/x"]}},
    }
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    gateway = build_app(parse_config(document, environ={}), upstream=upstream, access_log=None)
    body = {**HELLO, "max_tokens": 5, "stop_sequences": ["x"]}
    await call(gateway, http_scope("POST", "/v1/messages"), dumps(body))
    written = loads_object(upstream.requests[0].body)
    assert (written["max_tokens"], "stop" in written) == (5, False)


async def test_a_place_can_be_written_down() -> None:
    placed = {"api_key": "k", "api_version": "2025-04-01-preview", "base_url": f"{ENDPOINT}/openai"}
    request = await sent(placed, kind="azure-deployments", environ={})
    assert request.url.endswith("/deployments/m%2Fx/chat/completions?api-version=2025-04-01-preview")


async def test_a_query_of_the_protocol_stays_before_the_vendor_s_own() -> None:
    provider = Provider(
        name="v", base_url="https://v.example", protocols=("gemini_generate",), query=(("api-version", "1"),)
    )
    url = provider.url("gemini_generate", "/v1beta/models/m:streamGenerateContent?alt=sse", model="m")
    assert url == "https://v.example/v1beta/models/m:streamGenerateContent?alt=sse&api-version=1"


@pytest.mark.parametrize(
    "endpoint", ["http://name.openai.azure.com", "https://evil.example/path", "https://u:p@host", "name"]
)
def test_an_endpoint_of_the_environment_s_is_looked_at(endpoint: str) -> None:
    """F095."""
    with pytest.raises(ConfigError, match=r"providers\.azure\.base_url: is missing: set AZURE_OPENAI_ENDPOINT"):
        parse_config(
            {"providers": {"azure": {}}}, environ={"AZURE_OPENAI_ENDPOINT": endpoint, "AZURE_OPENAI_API_KEY": "k"}
        )


def test_one_key_makes_one_provider() -> None:
    environ = {"AZURE_OPENAI_ENDPOINT": ENDPOINT, "AZURE_OPENAI_API_KEY": "k"}
    assert list(parse_config({}, environ=environ).providers) == ["azure"]
    assert list(parse_config({}, environ={"AZURE_OPENAI_API_KEY": "k"}).providers) == ["demo"]


def test_a_resource_of_ones_own_needs_its_key_too() -> None:
    with pytest.raises(ConfigError, match="AZURE_OPENAI_API_KEY"):
        parse_config({"providers": {"azure": {"base_url": f"{ENDPOINT}/openai/v1"}}}, environ={})


def test_what_an_address_leaves_open_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="has a project in it"):
        provider_from_catalog("v", "vertex")


def test_the_table_has_a_line_for_each_vendor() -> None:
    lines = vendor_table().splitlines()
    assert len(lines) == 2 + len(CATALOG) - 1
    assert len({line.count("|") for line in lines}) == 1
    assert (
        "| [Anthropic](https://docs.anthropic.com/en/api/overview) | `anthropic` | `ANTHROPIC_API_KEY` "
        "| translated | translated | own | translated | own |  |  |  |  |  |  |  |  |  |"
    ) in lines
    endings = {line.split("`")[1]: [cell.strip() for cell in line.split("|")[-7:-1]] for line in lines[2:]}
    assert endings["openai"] == ["own"] * 6
    assert endings["gemini"] == ["own", "translated", "translated", "", "", ""]
    assert endings["mistral"] == ["passed on"] * 6
    assert endings["bedrock"] == endings["bedrock-converse"] == endings["vertex"] == [""] * 6


def test_a_page_without_marks_gets_no_table() -> None:
    with pytest.raises(ConfigError, match="<!-- vendors -->"):
        with_vendor_table("# A page\n")


@pytest.mark.parametrize("kind", ["bedrock", "bedrock-converse", "vertex"])
def test_a_vendor_without_a_list_of_models_is_not_asked_for_it(kind: str) -> None:
    document = {"providers": {kind: {"api_key": "k", "project": "p", "health_check_seconds": 5}}}
    with pytest.raises(ConfigError, match=rf"providers\.{kind}\.health_check_seconds: is of no use"):
        parse_config(document, environ=ENVIRON)


FACTS: Final = [
    ("mistral", {"seed": 7}, {"random_seed": 7}, []),
    ("mistral", {"service_tier": "flex", "verbosity": "low"}, {}, ["service_tier", "verbosity"]),
    ("groq", {"n": 1, "logit_bias": {"1": 2}, "logprobs": True}, {}, ["logit_bias", "logprobs", "n"]),
    ("cerebras", {"presence_penalty": 1, "frequency_penalty": 1}, {}, ["frequency_penalty", "presence_penalty"]),
    ("deepseek", {"max_completion_tokens": 5}, {"max_tokens": 5}, []),
    ("cohere", {"stream": True}, {"stream": True}, []),
    ("together", {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, []),
]


@pytest.mark.parametrize(("kind", "asked", "written", "dropped"), FACTS)
def test_a_request_is_written_as_the_vendor_takes_it(
    kind: str, asked: JSONObject, written: JSONObject, dropped: list[str]
) -> None:
    chat = codec("openai_chat")
    request = chat.decode_request("/v1/chat/completions", dumps({**HELLO, **asked}))
    made = chat.encode_request(request, profile=CATALOG[kind].profile)
    assert loads_object(made.body) == {**HELLO, **written}
    assert [item.path for item in made.diagnostics if item.code == "dropped"] == dropped


TURNS: Final[JSONObject] = {
    "max_tokens": 5,
    "messages": [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "I look it up.", "signature": ""},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "22"}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
    "tool_choice": {"type": "any"},
}


@pytest.mark.parametrize(
    ("kind", "model", "thoughts", "choice"),
    [
        ("deepseek", "deepseek-v4-flash", "I look it up.", "required"),
        ("moonshot", "kimi-k2.6", "I look it up.", "auto"),
        ("moonshot", "kimi-k3", "I look it up.", "required"),
        ("zai", "glm-5.2", None, "auto"),
        ("groq", "openai/gpt-oss-120b", None, "required"),
        ("mistral", "magistral-small", None, "required"),
    ],
)
async def test_thoughts_go_back_to_those_who_want_them_and_to_nobody_else(
    kind: str, model: str, thoughts: str | None, choice: str
) -> None:
    upstream = FakeUpstream([FakeResponse([b"{}"])])
    document = {"providers": {kind: {"api_key": "k"}}, "models": {"smart": {"targets": [f"{kind}/{model}"]}}}
    gateway = build_app(parse_config(document, environ={}), upstream=upstream, access_log=None)
    await call(gateway, http_scope(path="/v1/messages"), dumps({"model": "smart", **TURNS}))
    written = loads_object(upstream.requests[0].body)
    turn = as_object(as_list(written["messages"])[1])
    assert (turn.get("reasoning_content"), written["tool_choice"]) == (thoughts, choice)
    assert as_object(as_list(turn["tool_calls"])[0])["id"] == "call_1"


def test_several_answers_are_not_made_one_in_silence() -> None:
    chat = codec("openai_chat")
    request = chat.decode_request("/v1/chat/completions", dumps({**HELLO, "n": 2}))
    with pytest.raises(InvalidRequest) as caught:
        chat.encode_request(request, profile=CATALOG["groq"].profile)
    assert (caught.value.param, caught.value.kind) == ("n", "unsupported")
