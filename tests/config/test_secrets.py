"""No way of printing, storing or refusing a configuration shows a secret."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable

import pytest

from asgi_llmgw.config import Config, Secret, parse_config
from asgi_llmgw.errors import ConfigError

CANARY = "canary-5f1d9e7b3a"
DOCUMENT: dict[str, object] = {
    "keys": [{"name": "a", "key": f"{CANARY}-client"}],
    "providers": {
        "openai": {"api_key": f"{CANARY}-literal", "headers": {"x-tenant": f"{CANARY}-header"}},
        "anthropic": {"api_keys": ["env:ONE", f"{CANARY}-second"]},
    },
}
ENVIRON = {"ONE": f"{CANARY}-variable"}


@pytest.mark.parametrize(
    "sink",
    [
        pytest.param(repr, id="repr"),
        pytest.param(str, id="str"),
        pytest.param("{}".format, id="format"),
        pytest.param(lambda config: repr(config.model_dump()), id="dump"),
        pytest.param(lambda config: config.model_dump_json(), id="json"),
        pytest.param(lambda config: json.dumps(config.model_dump(mode="json")), id="dump_for_json"),
        pytest.param(lambda config: repr(copy.copy(config)), id="copy"),
        pytest.param(lambda config: repr(copy.deepcopy(config)), id="deepcopy"),
        pytest.param(lambda config: repr(config.model_copy(deep=True)), id="model_copy"),
        pytest.param(lambda config: pickle.dumps(config).decode("latin-1"), id="pickle"),
        pytest.param(lambda config: repr(config.providers_by_name()), id="providers"),
        pytest.param(lambda config: repr(config.client_keys()), id="client_keys"),
        pytest.param(lambda config: repr(config.warnings()), id="warnings"),
        pytest.param(lambda config: repr(vars(config.providers["openai"])), id="fields"),
        pytest.param(lambda config: f"{config.keys[0].key!s:*^40}{config.keys[0].key:>40}", id="the_secret_itself"),
    ],
)
def test_a_configuration_never_shows_a_secret(sink: Callable[[Config], str]) -> None:
    """F210"""
    shown = sink(parse_config(DOCUMENT, environ=ENVIRON))
    assert shown
    assert CANARY not in shown


def test_the_secrets_are_there_for_who_needs_them() -> None:
    providers = parse_config(DOCUMENT, environ=ENVIRON).providers_by_name()
    assert providers["openai"].api_keys == (f"{CANARY}-literal",)
    assert providers["anthropic"].api_keys == (f"{CANARY}-variable", f"{CANARY}-second")
    assert (b"x-tenant", f"{CANARY}-header".encode()) in providers["openai"].headers


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"keys": [{"name": "a", "key": [CANARY]}]}, id="key_in_a_list"),
        pytest.param({"keys": [{"name": "a", "key": {"x": CANARY}}]}, id="key_in_a_table"),
        pytest.param({"keys": [{"name": "a", "key": f"{CANARY} x"}]}, id="key_with_a_space"),
        pytest.param({"keys": [{"name": "a", "key": f"env:{CANARY}"}]}, id="key_behind_env"),
        pytest.param({"keys": [{"name": "a", "hash": CANARY}]}, id="key_as_hash"),
        pytest.param({"keys": [CANARY]}, id="key_as_entry"),
        pytest.param({"keys": CANARY}, id="key_as_section"),
        pytest.param({"keys": [{"name": "a", "key": CANARY}, {"name": "b", "key": CANARY}]}, id="twice"),
        pytest.param({"keys": [{"name": "a", "key": CANARY, "expires": CANARY}]}, id="key_as_date"),
        pytest.param({"keys": [{"name": f"{CANARY}?", "key": "x"}]}, id="key_as_name"),
        pytest.param({"providers": {"openai": {"api_key": f"{CANARY}é"}}}, id="api_key_not_ascii"),
        pytest.param({"providers": {"openai": {"api_keys": CANARY}}}, id="api_keys_not_a_list"),
        pytest.param({"providers": {"openai": {"api_key": CANARY, "api_keys": [CANARY]}}}, id="both_spellings"),
        pytest.param({"providers": {"openai": {"headers": CANARY}}}, id="headers_not_a_table"),
        pytest.param({"providers": {"openai": {"headers": {"x": [CANARY]}}}}, id="header_in_a_list"),
        pytest.param({"providers": {"openai": {"headers": {"x": f"{CANARY}\n"}}}}, id="header_with_a_line_break"),
        pytest.param({"providers": {"openai": {"auth": CANARY}}}, id="api_key_as_auth"),
        pytest.param({"providers": {"openai": {"timeouts": {"idle": CANARY}}}}, id="api_key_as_timeout"),
        pytest.param({"providers": {"openai": {"base_url": f"http://u:{CANARY}@h/v1"}}}, id="F095_password"),
        pytest.param({"providers": {"openai": {"base_url": f"http://h/v1?key={CANARY}"}}}, id="F095_query"),
        pytest.param({"providers": {"openai": {"base_url": f"http://h:{CANARY}/v1"}}}, id="F095_port"),
        pytest.param({"providers": {"openai": {"base_url": f"{CANARY}://h"}}}, id="F095_scheme"),
        pytest.param({"providers": {"openai": CANARY}}, id="api_key_as_provider"),
        pytest.param({"store": {"url": f"redis://:{CANARY}@h:x"}}, id="store_password"),
        pytest.param({"store": {"url": f"{CANARY}://h"}}, id="store_scheme"),
        pytest.param({"store": {"url": f"redis://:{CANARY}@h?{CANARY}=1"}}, id="store_option"),
        pytest.param({"store": {"url": f"redis://h/{CANARY}"}}, id="store_database"),
        pytest.param({"server": {"port": CANARY}}, id="port"),
    ],
)
def test_an_error_never_shows_a_secret(document: dict[str, object]) -> None:
    """F211"""
    with pytest.raises(ConfigError) as caught:
        parse_config(document, environ={"OPENAI_API_KEY": "x"})
    seen: BaseException | None = caught.value
    while seen is not None:
        assert CANARY not in f"{seen!r} {seen} {seen.args} {vars(seen)}"
        seen = seen.__cause__ or seen.__context__


def test_an_override_that_is_refused_is_named_without_its_value() -> None:
    with pytest.raises(ConfigError, match="LLMGW_SERVER__PASSWORD") as caught:
        parse_config({}, environ={"LLMGW_SERVER__PASSWORD": CANARY})
    assert CANARY not in caught.value.message


def test_a_secret_that_was_pickled_says_so_instead_of_being_wrong() -> None:
    restored = pickle.loads(pickle.dumps(Secret("text")))
    assert isinstance(restored, Secret)
    with pytest.raises(ConfigError, match="pickling"):
        restored.reveal()


def test_secrets_compare_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
