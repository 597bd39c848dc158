"""What is known about models."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.metadata import UNKNOWN, FactsTable, ModelFacts
from asgi_llmgw.patterns import Patterns


@pytest.mark.parametrize(
    ("provider", "model", "window", "output"),
    [
        ("openai", "gpt-4o", 128_000, 16_384),
        ("openai", "gpt-4.1-mini-2025-04-14", 1_047_576, 32_768),
        ("anthropic", "claude-opus-4-7", 1_000_000, 128_000),
        ("anthropic", "claude-opus-4-20250514", 200_000, 32_000),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", 200_000, 64_000),
        ("vertex-claude", "claude-sonnet-4@20250514", 1_000_000, 64_000),
        ("gemini", "gemini-2.5-pro", 1_048_576, 65_536),
        ("openrouter", "anthropic/claude-sonnet-4.5", None, None),
        ("mine", "nobody-knows", None, None),
    ],
)
def test_the_package_knows_some_models(provider: str, model: str, window: int | None, output: int | None) -> None:
    facts = FactsTable().find(provider, model)
    assert (facts.context_window, facts.max_output_tokens) == (window, output)


def test_what_nobody_knows_is_unknown() -> None:
    assert FactsTable().find("mine", "nobody-knows") == UNKNOWN
    assert FactsTable(packaged=False).find("openai", "gpt-4o") == UNKNOWN


def test_ones_own_facts_win_fact_by_fact() -> None:
    table = FactsTable(
        {
            "gpt-4o": ModelFacts(context_window=5),
            "azure/gpt-4o": ModelFacts(tools=False),
            "gpt-*": ModelFacts(tools=True),
        }
    )
    facts = table.find("azure", "gpt-4o")
    assert (facts.context_window, facts.max_output_tokens, facts.tools) == (5, 16_384, False)
    assert table.find("openai", "gpt-4o").tools is True


def test_no_more_than_so_many_names_are_remembered() -> None:
    """F073: a client chooses the name."""
    table = FactsTable()
    for number in range(5000):
        table.find("openai", f"gpt-4o-{number}")
    assert len(table._found) <= 4096


def test_a_configuration_replaces_facts() -> None:
    document = {"metadata": {"gpt-4o*": {"input_modalities": ["text"], "json_schema": False}}}
    facts = parse_config(document, environ={}).facts_table().find("openai", "gpt-4o")
    assert (facts.input_modalities, facts.json_schema, facts.tools) == (("text",), False, True)


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"input_modalities": ["smell"]}, r'metadata\."x"\.input_modalities'),
        ({"context_window": 0}, r'metadata\."x"\.context_window'),
        ({"tool": True}, r'metadata\."x"\.tool'),
    ],
)
def test_a_fact_that_is_none_is_refused_by_name(entry: dict[str, object], place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        parse_config({"metadata": {"x": entry}}, environ={})


def test_exact_names_win_over_globs_and_long_globs_over_short_ones() -> None:
    patterns = Patterns({"*": 1, "gpt-*": 2, "gpt-4o": 3})
    assert [patterns.match(name) for name in ("x", "gpt-5", "gpt-4o")] == [1, 2, 3]
    assert Patterns({"a": 1}).match("b") is None
    assert fnmatchcase("gpt-5", "gpt-*")
