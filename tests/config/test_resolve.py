"""What the gateway is built from."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from asgi_llmgw.components.auth import hash_key
from asgi_llmgw.config import parse_config
from asgi_llmgw.config.models import ProfileSettings, TimeoutSettings
from asgi_llmgw.exchange import Target
from asgi_llmgw.protocols import Profile
from asgi_llmgw.providers.catalog import CATALOG
from asgi_llmgw.routing.routes import RouteTable
from asgi_llmgw.timeouts import Timeouts

ENVIRON = {"OPENAI_API_KEY": "one", "ANTHROPIC_API_KEY": "two"}
LOCAL = {"protocol": "openai_chat", "base_url": "http://127.0.0.1:1/v1"}


def routes(document: dict[str, object]) -> RouteTable:
    return parse_config(document, environ=ENVIRON).route_table()


def going(table: RouteTable, model: str) -> tuple[Target, ...]:
    route = table.match(model)
    return () if route is None else route.targets_for(model)


def test_every_fact_of_a_profile_can_be_written() -> None:
    assert set(ProfileSettings.model_fields) == set(Profile.__struct_fields__)


def test_timeouts_have_the_same_defaults_everywhere() -> None:
    assert Timeouts(**TimeoutSettings().model_dump()) == Timeouts()


def test_a_vendor_takes_everything_from_the_catalog() -> None:
    document: dict[str, object] = {"providers": {"claude": {"kind": "anthropic", "headers": {"X-A": "b"}}}}
    provider = parse_config(document, environ=ENVIRON).providers_by_name()["claude"]
    row = CATALOG["anthropic"]
    assert (provider.base_url, provider.protocols, provider.auth) == (row.base_url, row.protocols, row.auth)
    assert provider.api_keys == ("two",)
    assert provider.headers == (*row.headers, (b"x-a", b"b"))
    assert provider.profiles == row.profiles
    assert provider.forward_headers == row.forward_headers


def test_a_written_fact_holds_for_every_model_of_the_vendor() -> None:
    document: dict[str, object] = {"providers": {"anthropic": {"profile": {"max_output_tokens": 99}}}}
    provider = parse_config(document, environ=ENVIRON).providers_by_name()["anthropic"]
    assert {facts.max_output_tokens for _, facts in provider.profiles} == {99}
    assert provider.profile.max_output_tokens == 99
    for (_, facts), (_, original) in zip(provider.profiles, CATALOG["anthropic"].profiles, strict=True):
        assert facts == msgspec.structs.replace(original, max_output_tokens=99)


def test_a_server_of_ones_own_needs_no_key() -> None:
    provider = parse_config({"providers": {"local": LOCAL}}, environ={}).providers_by_name()["local"]
    assert provider.auth == "none"
    assert provider.usable()


def test_a_server_of_ones_own_is_told_who_we_are_as_its_protocol_does_it() -> None:
    document: dict[str, object] = {
        "providers": {
            "mine": {"protocol": "anthropic_messages", "base_url": "http://127.0.0.1:1", "api_key": "k"},
            "other": {**LOCAL, "api_key": "k", "auth": "api-key"},
        }
    }
    providers = parse_config(document, environ={}).providers_by_name()
    assert providers["mine"].credentials() == ((b"x-api-key", b"k"),)
    assert (b"anthropic-version", b"2023-06-01") in providers["mine"].headers
    assert providers["other"].credentials() == ((b"api-key", b"k"),)


def test_several_protocols_keep_their_order() -> None:
    document: dict[str, object] = {"providers": {"p": {**LOCAL, "protocol": ["anthropic_messages", "openai_chat"]}}}
    provider = parse_config(document, environ={}).providers_by_name()["p"]
    assert provider.protocols == ("anthropic_messages", "openai_chat")


def test_the_first_slash_ends_the_providers_name() -> None:
    table = routes({"models": {"m": {"targets": ["openai/org/model", {"provider": "anthropic", "model": "c"}]}}})
    assert going(table, "m") == (Target("openai", "org/model"), Target("anthropic", "c"))


def test_an_alias_goes_where_its_model_goes() -> None:
    table = routes(
        {
            "models": {
                "fast": {"alias": "claude-haiku"},
                "faster": {"alias": "fast", "on_loss": "allow"},
                "claude-*": {"targets": ["anthropic/*"], "on_loss": "reject"},
            }
        }
    )
    assert going(table, "fast") == (Target("anthropic", "claude-haiku"),)
    assert going(table, "faster") == (Target("anthropic", "claude-haiku"),)
    assert [route.on_loss for route in table.routes] == ["reject", "allow", "reject"]


def test_models_are_listed_as_they_were_written() -> None:
    table = routes({"models": {"b": {"alias": "a"}, "x-*": {"targets": ["openai/*"]}, "a": {"targets": ["openai/a"]}}})
    assert table.names() == ("b", "a")


def test_the_default_takes_every_other_name() -> None:
    document: dict[str, object] = {
        "models": {"s": {"alias": "m"}, "m": {"targets": ["openai/gpt-4o"]}},
        "routing": {"default": "s"},
    }
    assert going(routes(document), "anything") == (Target("openai", "gpt-4o"),)


def test_two_providers_of_one_name_fall_back_to_each_other() -> None:
    document: dict[str, object] = {"providers": {"openai": {"models": ["gpt-*"]}, "eu": {**LOCAL, "models": ["gpt-*"]}}}
    assert going(routes(document), "gpt-5") == (Target("openai", "gpt-5"), Target("eu", "gpt-5"))


def test_a_configured_model_wins_over_a_providers_list() -> None:
    document: dict[str, object] = {
        "providers": {"openai": {"models": ["m"]}, "anthropic": {}},
        "models": {"m": {"targets": ["anthropic/c"]}},
    }
    assert going(routes(document), "m") == (Target("anthropic", "c"),)


def test_client_keys_are_digests() -> None:
    document: dict[str, object] = {
        "keys": [
            {"name": "a", "key": "env:KEY_A", "models": ["gpt-*"], "expires": "2099-01-01"},
            {"name": "b", "hash": hash_key("b")},
        ]
    }
    keys = parse_config(document, environ={**ENVIRON, "KEY_A": "a"}).client_keys()
    assert [f"sha256:{key.digest}" for key in keys] == [hash_key("a"), hash_key("b")]
    assert keys[0].models == ("gpt-*",)
    assert [key.expires for key in keys] == [datetime(2099, 1, 1, tzinfo=UTC), None]
