"""What the model families differ in."""

from __future__ import annotations

import pytest

from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.providers.catalog import CATALOG, provider_from_catalog


def facts(kind: str, model: str) -> Profile:
    return provider_from_catalog("x", kind).profile_for(model)


@pytest.mark.parametrize(
    ("model", "thinking", "sampling", "forced", "structured", "mid_system"),
    [
        ("claude-sonnet-5-5", "adaptive", False, False, True, "hoist"),
        ("claude-opus-5-5-20261101", "adaptive", False, False, True, "hoist"),
        ("claude-fable-5-1", "adaptive", False, False, True, "system"),
        ("claude-mythos-5", "adaptive", False, False, True, "system"),
        ("claude-opus-5", "adaptive", False, True, True, "system"),
        ("claude-opus-5-20260801", "adaptive", False, True, True, "system"),
        ("claude-sonnet-5", "adaptive", False, True, True, "hoist"),
        ("claude-opus-4-8", "adaptive", False, True, True, "system"),
        ("claude-opus-4.7", "adaptive", False, True, True, "hoist"),
        ("claude-opus-4-6", "adaptive", True, True, True, "hoist"),
        ("claude-sonnet-4-6", "adaptive", True, True, True, "hoist"),
        ("claude-sonnet-4-5-20250929", "budget", True, True, True, "hoist"),
        ("claude-haiku-4-5", "budget", True, True, True, "hoist"),
        ("claude-opus-4-1-20250805", "budget", True, True, True, "hoist"),
        ("claude-sonnet-4-20250514", "budget", True, True, False, "hoist"),
        ("claude-opus-4-0", "budget", True, True, False, "hoist"),
        ("claude-3-7-sonnet-latest", "budget", True, True, False, "hoist"),
        ("claude-3-5-haiku-20241022", "none", True, True, False, "hoist"),
        ("claude-something-9", "adaptive", False, False, True, "hoist"),
        ("somebody-else-s-model", "budget", True, True, True, "hoist"),
    ],
)
def test_claude_families(
    model: str, thinking: str, sampling: bool, forced: bool, structured: bool, mid_system: str
) -> None:
    found = facts("anthropic", model)
    assert (found.thinking, found.sampling, found.forced_tool_choice) == (thinking, sampling, forced)
    assert (found.native_structured_output, found.mid_system) == (structured, mid_system)


@pytest.mark.parametrize(
    ("model", "both"),
    [("claude-sonnet-4-6", False), ("claude-haiku-4-5", False), ("claude-opus-4-1", False), ("claude-opus-4-0", True)],
)
def test_some_claude_models_take_one_of_two_sampling_parameters(model: str, both: bool) -> None:
    assert facts("anthropic", model).temperature_with_top_p is both


def test_a_claude_that_thinks_unasked_gets_room_for_it() -> None:
    assert (
        facts("anthropic", "claude-sonnet-5").max_output_tokens
        > facts("anthropic", "claude-sonnet-4-5").max_output_tokens
    )
    assert facts("anthropic", "claude-sonnet-4-5").max_output_tokens == 4096


@pytest.mark.parametrize(
    ("model", "newest"),
    [
        ("gemini-3-pro-preview", True),
        ("gemini-3.5-flash", True),
        ("gemini-flash-latest", True),
        ("gemini-2.5-pro", False),
    ],
)
def test_gemini_from_3_on_has_ids_signatures_levels_and_media(model: str, newest: bool) -> None:
    found = facts("gemini", model)
    assert {found.tool_call_ids, found.thought_signatures, found.thinking_level} == {newest}
    assert found.function_response_media is newest


@pytest.mark.parametrize(
    ("model", "json_schema", "thinking"),
    [("gemini-2.5-flash", True, "budget"), ("gemini-2.0-flash", False, "none"), ("gemma-3-27b-it", False, "none")],
)
def test_gemini_before_2_5_knows_neither_thinking_nor_json_schema(model: str, json_schema: bool, thinking: str) -> None:
    found = facts("gemini", model)
    assert (found.json_schema, found.thinking) == (json_schema, thinking)


@pytest.mark.parametrize(
    ("model", "sampling"),
    [
        ("o1", False),
        ("o3-mini", False),
        ("gpt-5", False),
        ("gpt-5-mini-2025-08-07", False),
        ("gpt-5.2-pro", False),
        ("gpt-5.1", True),
        ("gpt-5-chat-latest", True),
        ("gpt-4o", True),
    ],
)
def test_openai_s_reasoning_models_refuse_sampling(model: str, sampling: bool) -> None:
    assert facts("openai", model).sampling is sampling


@pytest.mark.parametrize(("model", "structured"), [("gpt-4", False), ("gpt-4-turbo", False), ("gpt-4o", True)])
def test_openai_takes_a_schema_from_4o_on(model: str, structured: bool) -> None:
    assert facts("openai", model).native_structured_output is structured


def test_openai_itself_has_the_new_name_for_the_limit_and_its_imitators_the_old_one() -> None:
    assert facts("openai", "gpt-4o").max_tokens_field == "max_completion_tokens"
    assert facts("openai", "gpt-4o").system_role is None
    for kind in ("mistral", "deepseek", "openrouter", "ollama", "vllm", "moonshot", "zai"):
        assert facts(kind, "any").max_tokens_field == "max_tokens"
        assert facts(kind, "any").system_role == "system"


@pytest.mark.parametrize("kind", sorted(CATALOG))
def test_no_glob_hides_behind_an_earlier_one(kind: str) -> None:
    patterns = [pattern for pattern, _ in CATALOG[kind].profiles]
    assert len(set(patterns)) == len(patterns)
    for pattern, profile in CATALOG[kind].profiles:
        example = pattern.replace("[-.]", "-").replace("*", "-x" if "claude" in pattern else "")
        provider = provider_from_catalog("x", kind, base_url="https://x.example")
        assert provider.profile_for(example) == profile, pattern


def test_a_provider_tells_of_more_models_than_it_remembers() -> None:
    provider = provider_from_catalog("x", "gemini")
    expected = provider.profile_for("gemini-3-pro")
    for number in range(3_000):
        provider.profile_for(f"model-{number}")
    assert provider.profile_for("gemini-3-pro") == expected
