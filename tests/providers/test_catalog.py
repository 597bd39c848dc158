"""The rows of the vendor catalog."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import chain
from urllib.parse import urlsplit

import pytest

from asgi_llmgw.errors import ConfigError
from asgi_llmgw.protocols import SPOKEN
from asgi_llmgw.providers.catalog import CATALOG, provider_from_catalog
from asgi_llmgw.signing import EXTRAS

LOCAL = {"ollama", "vllm", "llamacpp", "lmstudio"}
PLACES = {
    "region": "eu-central-1",
    "project": "my-project",
    "endpoint": "https://name.openai.azure.com",
    "api_version": "2024-10-21",
}
VENDORS = sorted(set(CATALOG) - LOCAL - {"demo"})


@pytest.mark.parametrize("kind", VENDORS)
def test_a_vendor_is_reached_over_tls_and_with_a_key(kind: str) -> None:
    entry = CATALOG[kind]
    address = entry.address({}, PLACES)
    assert address is not None
    assert urlsplit(address).scheme == "https"
    assert not address.endswith("/")
    assert entry.auth != "none" and entry.key_required
    assert all(re.fullmatch("[A-Z_]+_API_KEY|AWS_BEARER_TOKEN_BEDROCK", variable) for variable in entry.key_variables)
    assert entry.key_variables or entry.auth in EXTRAS
    assert entry.model_globs


@pytest.mark.parametrize("kind", sorted(set(CATALOG) - {"demo"}))
def test_a_row_says_where_it_was_read(kind: str) -> None:
    entry = CATALOG[kind]
    assert urlsplit(entry.page).scheme == "https"
    assert entry.title
    assert [other for other, row in CATALOG.items() if row.title == entry.title] == [kind]


@pytest.mark.parametrize("kind", sorted(LOCAL))
def test_a_local_server_needs_no_key_but_takes_one(kind: str) -> None:
    assert provider_from_catalog("mine", kind).usable()
    assert provider_from_catalog("mine", kind).credentials() == ()
    assert provider_from_catalog("mine", kind, api_keys=("k",)).credentials() == ((b"authorization", b"Bearer k"),)
    assert urlsplit(CATALOG[kind].base_url).hostname == "127.0.0.1"


def test_no_two_vendors_share_a_key_variable_or_an_address() -> None:
    """Of those that are there by themselves: one key must not make two providers."""
    entries = [entry for entry in CATALOG.values() if entry.automatic]
    variables = list(chain.from_iterable(entry.key_variables for entry in entries))
    assert len(set(variables)) == len(variables)
    assert len({entry.base_url for entry in entries}) == len(entries)


@pytest.mark.parametrize("kind", sorted(CATALOG))
def test_a_vendor_speaks_protocols_there_are_codecs_for(kind: str) -> None:
    assert CATALOG[kind].protocols
    assert set(CATALOG[kind].protocols) <= set(SPOKEN)


@pytest.mark.parametrize(
    ("model", "kinds"),
    [
        ("gpt-4o", {"openai"}),
        ("gpt-5.6-mini", {"openai"}),
        ("o3-mini", {"openai"}),
        ("o4-mini", {"openai"}),
        ("ft:gpt-4o:acme::1", {"openai"}),
        ("claude-sonnet-4-5", {"anthropic"}),
        ("gemini-2.5-flash", {"gemini"}),
        ("gemma-3-27b-it", {"gemini"}),
        ("mistral-large-latest", {"mistral"}),
        ("codestral-latest", {"mistral"}),
        ("deepseek-chat", {"deepseek"}),
        ("grok-4", {"xai"}),
        ("sonar-pro", {"perplexity"}),
        ("command-a-03-2025", {"cohere"}),
        ("rerank-v3.5", {"cohere"}),
        ("text-embedding-3-small", {"openai"}),
        ("text-embedding-004", {"gemini"}),
        ("omni-moderation-latest", {"openai"}),
        ("whisper-1", {"openai"}),
        ("dall-e-2", {"openai"}),
        ("azure/my-deployment", {"azure"}),
        ("vertex/gemini-2.5-pro", {"vertex"}),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", {"bedrock"}),
        ("kimi-k2-thinking", {"moonshot"}),
        ("glm-4.7", {"zai"}),
        ("openrouter/anthropic/claude-sonnet-4.5", {"openrouter"}),
        ("groq/llama-3.3-70b-versatile", {"groq"}),
        ("together/meta-llama/Llama-4", {"together"}),
        ("ollama3", set()),
        ("llama3", set()),
    ],
)
def test_a_model_name_tells_its_vendor(model: str, kinds: set[str]) -> None:
    found = {
        kind
        for kind, entry in CATALOG.items()
        if kind != "demo" and any(fnmatchcase(model, pattern) for pattern in entry.model_globs)
    }
    assert found == kinds


@pytest.mark.parametrize(
    ("kind", "path", "url"),
    [
        ("openai", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("groq", "/v1/chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
        ("zai", "/v1/chat/completions", "https://api.z.ai/api/paas/v4/chat/completions"),
        ("perplexity", "/v1/chat/completions", "https://api.perplexity.ai/chat/completions"),
        ("anthropic", "/v1/messages", "https://api.anthropic.com/v1/messages"),
        (
            "gemini",
            "/v1beta/models/gemini-2.5-pro:generateContent",
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent",
        ),
    ],
)
def test_a_vendor_s_endpoint_is_where_its_own_client_calls_it(kind: str, path: str, url: str) -> None:
    provider = provider_from_catalog("x", kind, api_keys=("k",))
    assert provider.url(provider.protocols[0], path) == url


@pytest.mark.parametrize(
    ("kind", "credentials"),
    [
        ("openai", ((b"authorization", b"Bearer k1"),)),
        ("anthropic", ((b"x-api-key", b"k1"),)),
        ("gemini", ((b"x-goog-api-key", b"k1"),)),
    ],
)
def test_a_vendor_is_told_who_we_are_in_its_own_way(kind: str, credentials: tuple[tuple[bytes, bytes], ...]) -> None:
    provider = provider_from_catalog("x", kind, api_keys=("k1", "k2"))
    assert provider.usable()
    assert provider.credentials() == credentials
    assert "k1" not in repr(provider)


def test_a_vendor_without_its_key_cannot_be_called() -> None:
    provider = provider_from_catalog("x", "anthropic")
    assert not provider.usable()
    assert provider.credentials() == ()


def test_the_demo_provider_needs_nothing() -> None:
    provider = provider_from_catalog("demo", "demo")
    assert provider.usable()
    assert provider.url("anthropic_messages", "/v1/messages") == "demo://localhost/v1/messages"


def test_the_operator_s_address_and_headers_go_first() -> None:
    headers = ((b"anthropic-version", b"2099-01-01"), (b"x-team", b"a"))
    provider = provider_from_catalog("eu", "anthropic", base_url="https://eu.proxy.test", headers=headers)
    assert (provider.name, provider.base_url) == ("eu", "https://eu.proxy.test")
    assert dict(provider.headers) == dict(headers)
    assert len(provider.headers) == 2


def test_an_unknown_vendor_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no provider kind 'opnai'; choose one of openai, azure, "):
        provider_from_catalog("x", "opnai")


@pytest.mark.parametrize(
    "header",
    [
        b"authorization",
        b"cookie",
        b"x-api-key",
        b"x-goog-api-key",
        b"openai-organization",
        b"openai-project",
        b"idempotency-key",
    ],
)
def test_what_belongs_to_an_account_is_never_passed_on(header: bytes) -> None:
    """F097, F101."""
    assert [kind for kind, entry in CATALOG.items() if header in entry.forward_headers] == []


@pytest.mark.parametrize(
    ("header", "kinds"),
    [
        (b"anthropic-beta", {"anthropic", "bedrock", "vertex-claude"}),
        (b"openai-beta", {"openai"}),
        (b"traceparent", LOCAL),
    ],
)
def test_other_headers_go_to_those_who_know_them(header: bytes, kinds: set[str]) -> None:
    """F101."""
    assert {kind for kind, entry in CATALOG.items() if header in entry.forward_headers} == kinds
