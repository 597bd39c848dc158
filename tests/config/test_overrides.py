"""Environment variables that set single values."""

from __future__ import annotations

import pytest

from asgi_llmgw.config import parse_config
from asgi_llmgw.errors import ConfigError

VENDOR = {"OPENAI_API_KEY": "one"}


def test_a_variable_sets_a_value() -> None:
    document: dict[str, object] = {"server": {"port": 1, "access_log": True}}
    environ = {**VENDOR, "LLMGW_SERVER__PORT": "9000", "LLMGW_SERVER__ACCESS_LOG": "false"}
    config = parse_config(document, environ=environ)
    assert (config.server.port, config.server.access_log) == (9000, False)


def test_a_variable_reaches_into_a_vendor_found_by_its_key() -> None:
    environ = {
        **VENDOR,
        "ANTHROPIC_API_KEY": "two",
        "LLMGW_PROVIDERS__OPENAI__BASE_URL": "http://127.0.0.1:1/v1",
        "LLMGW_PROVIDERS__OPENAI__TIMEOUTS__IDLE": "5",
        "LLMGW_PROVIDERS__OPENAI__PROFILE__SYSTEM_ROLE": "developer",
    }
    providers = parse_config({}, environ=environ).providers_by_name()
    assert list(providers) == ["openai", "anthropic"]
    assert providers["openai"].base_url == "http://127.0.0.1:1/v1"
    assert providers["openai"].timeouts.idle == 5
    assert providers["openai"].profile_for("gpt-4o").system_role == "developer"


def test_names_are_compared_without_case_and_punctuation() -> None:
    document: dict[str, object] = {
        "providers": {"my-local.vllm": {"protocol": "openai_chat", "base_url": "http://127.0.0.1:1/v1"}},
        "models": {"gpt-4o": {"targets": ["my-local.vllm/x"]}},
    }
    environ = {"LLMGW_PROVIDERS__MY_LOCAL_VLLM__API_KEY": "k", "LLMGW_MODELS__GPT_4O__ON_LOSS": "reject"}
    config = parse_config(document, environ=environ)
    assert config.providers_by_name()["my-local.vllm"].api_keys == ("k",)
    route = config.route_table().match("gpt-4o")
    assert route is not None
    assert route.on_loss == "reject"


def test_variables_alone_make_a_provider_and_a_key() -> None:
    environ = {
        "LLMGW_SERVER__HOST": "0.0.0.0",
        "LLMGW_KEYS__TEAM_A__KEY": "secret",
        "LLMGW_PROVIDERS__LOCAL__PROTOCOL": "openai_chat",
        "LLMGW_PROVIDERS__LOCAL__BASE_URL": "http://127.0.0.1:1/v1",
    }
    config = parse_config({}, environ=environ)
    assert list(config.providers_by_name()) == ["local"]
    assert [key.name for key in config.client_keys()] == ["team-a"]


def test_a_variable_changes_a_key_that_is_there() -> None:
    document: dict[str, object] = {"keys": [{"name": "Team-A", "key": "old"}]}
    config = parse_config(document, environ={**VENDOR, "LLMGW_KEYS__TEAM_A__EXPIRES": "2099-01-01"})
    assert [(key.name, str(key.expires)) for key in config.keys] == [("Team-A", "2099-01-01")]


def test_a_variable_may_refer_to_another() -> None:
    environ = {"LLMGW_PROVIDERS__OPENAI__API_KEY": "env:MINE", "MINE": "secret"}
    assert parse_config({}, environ=environ).providers_by_name()["openai"].api_keys == ("secret",)


@pytest.mark.parametrize("name", ["LLMGW_KEY_TEAM_A", "LLMGW_CONFIG_NOTE", "OTHER__SERVER__PORT"])
def test_variables_that_are_no_overrides_are_left_alone(name: str) -> None:
    assert parse_config({}, environ={**VENDOR, name: "x"}).server.port == 8080


def test_an_empty_variable_counts_as_absent() -> None:
    assert parse_config({}, environ={**VENDOR, "LLMGW_SERVER__PORT": "", "LLMGW_NOBODY__X": " "}).server.port == 8080


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("LLMGW_SERVR__PORT", 'no section of this name, did you mean "server"', id="section"),
        pytest.param("LLMGW_SERVER__PROT", 'no such key, did you mean "port"', id="key"),
        pytest.param("LLMGW_SERVER__PORT__X", "does not name a key", id="too_deep"),
        pytest.param("LLMGW_PROVIDERS__OPENAI", "does not name a key", id="too_shallow"),
        pytest.param("LLMGW_PROVIDERS____API_KEY", "does not name a key", id="no_name"),
        pytest.param("LLMGW_PROVIDERS__OPENAI__TIMEOUTS__CONECT", 'did you mean "connect"', id="nested_key"),
        pytest.param("LLMGW_PROVIDERS__OPENAI__HEADERS__X", "that a variable can set", id="header"),
        pytest.param("LLMGW_PROVIDERS__OPENAI__API_KEYS", "single values only", id="list"),
        pytest.param("LLMGW_MODELS__NEW__ALIAS", "no model of this name", id="model_that_is_not_there"),
        pytest.param("LLMGW_PROVIDERS__A_B__API_KEY", "may mean a-b or a.b", id="two_names"),
    ],
)
def test_a_variable_that_names_no_key_is_refused(name: str, message: str) -> None:
    local = {"protocol": "openai_chat", "base_url": "http://127.0.0.1:1/v1"}
    document: dict[str, object] = {"providers": {"openai": {}, "a-b": local, "a.b": local}}
    with pytest.raises(ConfigError) as caught:
        parse_config(document, environ={**VENDOR, name: "1"})
    assert any(name in line and message in line for line in caught.value.message.splitlines())
