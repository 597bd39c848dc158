"""Where a configuration comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgi_llmgw.config import load_config, parse_config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.exchange import Target


def targets(
    environ: dict[str, str], model: str, document: dict[str, object] | None = None
) -> tuple[Target, ...] | None:
    """Where a model name goes."""
    route = parse_config(document or {}, environ=environ).route_table().match(model)
    return None if route is None else route.targets_for(model)


def test_without_anything_the_demo_answers_every_name() -> None:
    config = load_config(environ={})
    assert list(config.providers_by_name()) == ["demo"]
    assert config.route_table().names() == ("demo",)
    assert targets({}, "gpt-4o") == (Target("demo", "gpt-4o"),)
    assert any("demo provider" in warning for warning in config.warnings())


def test_vendors_whose_key_variable_is_set_are_configured() -> None:
    environ = {"OPENAI_API_KEY": "one", "GOOGLE_API_KEY": "two", "ANTHROPIC_API_KEY": "  "}
    providers = load_config(environ=environ).providers_by_name()
    assert list(providers) == ["openai", "gemini"]
    assert providers["openai"].api_keys == ("one",)
    assert providers["gemini"].api_keys == ("two",)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param("gpt-4o", Target("openai", "gpt-4o"), id="by_the_catalogs_glob"),
        pytest.param("openai/gpt-4o", Target("openai", "gpt-4o"), id="by_the_vendors_prefix"),
        pytest.param("openrouter/a/b", Target("openrouter", "a/b"), id="slashes_behind_the_prefix_stay"),
    ],
)
def test_without_models_everything_passes_through_by_name(model: str, expected: Target) -> None:
    assert targets({"OPENAI_API_KEY": "one", "OPENROUTER_API_KEY": "two"}, model) == (expected,)


def test_a_name_no_configured_vendor_serves_goes_nowhere() -> None:
    assert targets({"OPENAI_API_KEY": "one"}, "claude-sonnet-4-5") is None


def test_the_demo_beside_a_vendor_does_not_answer_for_real_models() -> None:
    document: dict[str, object] = {"providers": {"openai": {}, "demo": {}}}
    environ = {"OPENAI_API_KEY": "one"}
    assert targets(environ, "claude-sonnet-4-5", document) is None
    assert targets(environ, "demo", document) == (Target("demo", "demo"),)


def test_once_a_model_is_named_only_named_ones_can_be_asked_for() -> None:
    document: dict[str, object] = {"models": {"smart": {"targets": ["openai/gpt-4o"]}}}
    environ = {"OPENAI_API_KEY": "one"}
    assert targets(environ, "smart", document) == (Target("openai", "gpt-4o"),)
    assert targets(environ, "gpt-4o", document) is None


def test_the_variable_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("[server]\nport = 9001\n")
    assert load_config(environ={"LLMGW_CONFIG": str(file)}).server.port == 9001


def test_the_argument_wins_over_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("[server]\nport = 9001\n")
    assert load_config(file, environ={"LLMGW_CONFIG": "/nowhere"}).server.port == 9001


def test_no_other_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 9001\n")
    monkeypatch.chdir(tmp_path)
    assert load_config(environ={}).server.port == 8080


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "cannot be read: No such file", id="missing"),
        pytest.param(b"[server\n", "is not TOML", id="syntax"),
        pytest.param(b"\xff\xfe", "is not UTF-8", id="encoding"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "gateway.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(file, environ={})
    assert str(file) in caught.value.message


def test_a_value_may_come_from_a_variable() -> None:
    document: dict[str, object] = {
        "providers": {"openai": {"api_key": "env:MINE", "base_url": "env:URL", "headers": {"X-A": "env:HEADER"}}}
    }
    environ = {"MINE": "secret\n", "URL": "http://127.0.0.1:1/v1", "HEADER": "a b"}
    provider = parse_config(document, environ=environ).providers_by_name()["openai"]
    assert provider.api_keys == ("secret",)
    assert provider.base_url == "http://127.0.0.1:1/v1"
    assert (b"x-a", b"a b") in provider.headers


def test_the_environment_is_read_once() -> None:
    environ = {"OPENAI_API_KEY": "one"}
    config = load_config(environ=environ)
    environ["OPENAI_API_KEY"] = "two"
    assert config.providers_by_name()["openai"].api_keys == ("one",)


def test_the_document_given_stays_as_it_was() -> None:
    document: dict[str, object] = {"providers": {"openai": {}}}
    parse_config(document, environ={"OPENAI_API_KEY": "one", "LLMGW_SERVER__PORT": "9000"})
    assert document == {"providers": {"openai": {}}}
