"""What is refused, and how it is said."""

from __future__ import annotations

import pytest

from asgi_llmgw.config import Config, parse_config
from asgi_llmgw.config.models import ServerSettings
from asgi_llmgw.errors import ConfigError

ENVIRON = {"OPENAI_API_KEY": "sk-one", "ANTHROPIC_API_KEY": "sk-two"}
HASH = "sha256:" + "0" * 64


def refusal(document: dict[str, object], environ: dict[str, str] | None = None) -> list[str]:
    """The lines of the error, less the heading."""
    with pytest.raises(ConfigError) as caught:
        parse_config(document, environ=ENVIRON if environ is None else environ)
    heading, *lines = caught.value.message.splitlines()
    assert heading.endswith("in the configuration:")
    return [line.strip() for line in lines]


def local(**settings: object) -> dict[str, object]:
    return {"providers": {"local": {"protocol": "openai_chat", "base_url": "http://127.0.0.1:1/v1", **settings}}}


@pytest.mark.parametrize(
    ("document", "line"),
    [
        pytest.param({"servr": {}}, 'servr: there is no such key, did you mean "server"?', id="unknown_section"),
        pytest.param(
            {"server": {"prt": 1}}, 'server.prt: there is no such key, did you mean "port"?', id="unknown_key"
        ),
        pytest.param({"server": {"port": "http"}}, "server.port: input should be a valid integer", id="wrong_type"),
        pytest.param({"server": {"port": 70000}}, "server.port: input should be less than", id="out_of_range"),
        pytest.param({"server": 3}, "server: must be a table", id="section_that_is_no_table"),
        pytest.param({"keys": {"a": {}}}, "keys: must be a list of tables", id="keys_that_are_no_list"),
        pytest.param({"providers": ["openai"]}, "providers: must be tables by name", id="providers_that_are_a_list"),
        pytest.param({"providers": {"openai": 3}}, "providers.openai: must be a table", id="provider_that_is_a_number"),
        pytest.param(
            {"keys": [{"name": "a", "hash": HASH, "rpm": 0}]}, "keys[0].rpm: input should be greater", id="limit_of_0"
        ),
        pytest.param(
            {"keys": [{"name": "a", "hash": HASH, "budget_period": "day"}]},
            "keys[0]: has a budget_period and no budget_usd",
            id="period_without_budget",
        ),
        pytest.param(
            {"keys": [{"name": "a", "hash": HASH, "tenant": "acm"}], "tenants": {"acme": {}}},
            'keys[0].tenant: there is no tenant "acm", did you mean "acme"?',
            id="unknown_tenant",
        ),
        pytest.param(
            {"prices": {"gpt-4o": {"input": -1, "output": 1}}}, 'prices."gpt-4o".input: input should', id="price"
        ),
        pytest.param({"prices": {"gpt-4o": {"input": 1}}}, 'prices."gpt-4o".output: is missing', id="half_a_price"),
        pytest.param({"keys": [{"name": "a"}]}, "keys[0]: needs exactly one of key", id="key_without_secret"),
        pytest.param(
            {"keys": [{"name": "a", "key": "s", "hash": HASH}]}, "keys[0]: needs exactly one of key", id="key_with_two"
        ),
        pytest.param({"keys": [{"name": "a", "key": " "}]}, "keys[0].key: must not be empty", id="empty_key"),
        pytest.param({"keys": [{"name": "a", "key": "a b"}]}, "keys[0].key: has a space", id="key_with_a_space"),
        pytest.param({"keys": [{"name": "a", "hash": "abc"}]}, 'keys[0].hash: must be "sha256:"', id="no_hash"),
        pytest.param({"keys": [{"key": "s"}]}, "keys[0].name: is missing", id="key_without_name"),
        pytest.param(
            {"keys": [{"name": "a", "key": "s"}, {"name": "a", "key": "t"}]},
            'keys[1].name: "a" is the name of keys[0] too',
            id="two_keys_of_one_name",
        ),
        pytest.param(
            {"keys": [{"name": "a", "key": "s"}, {"name": "b", "key": "s"}]},
            "keys[1].key: is the same secret as that of keys[0]",
            id="two_keys_of_one_secret",
        ),
        pytest.param(
            {"keys": [{"name": "a", "key": "env:NOT_SET"}]},
            "keys[0].key: the environment variable NOT_SET is not set",
            id="unset_variable",
        ),
        pytest.param(
            {"server": {"host": "0.0.0.0"}}, "server.host: without [[keys]] everybody", id="open_to_the_world"
        ),
        pytest.param({"store": {"url": "http://h"}}, 'store.url: must be "memory://", or begin', id="store_scheme"),
        pytest.param({"store": {"url": 6379}}, "store.url: expected a text", id="store_not_a_text"),
        pytest.param({"store": {"url": "redis://h:x"}}, "store.url: is not an address", id="store_port"),
        pytest.param({"store": {"url": "redis://"}}, "store.url: has no host", id="store_host"),
        pytest.param({"store": {"url": "unix://"}}, "store.url: has no path", id="store_path"),
        pytest.param({"store": {"url": "redis://h/x"}}, "store.url: has a database that is", id="store_database"),
        pytest.param({"store": {"url": "redis://:a b@h"}}, "store.url: has characters that", id="store_characters"),
        pytest.param(
            {"store": {"url": "redis://h?socket_timeout=9"}}, "store.url: has other options", id="store_options"
        ),
        pytest.param({"store": {"url": "redis://h#f"}}, "store.url: has other options", id="store_fragment"),
        pytest.param({"routing": {"default": "x"}}, 'routing.default: there is no model "x"', id="default_nowhere"),
        pytest.param(
            {"providers": {"opnai": {}}},
            "providers.opnai: is not in the catalog and has no protocol",
            id="unknown_vendor",
        ),
        pytest.param(
            {"providers": {"x": {"kind": "antropic"}}},
            'providers.x.kind: "antropic" is not in the catalog, did you mean "anthropic"?',
            id="unknown_kind",
        ),
        pytest.param(
            {"providers": {"x": {"protocol": "openai_chat"}}},
            "providers.x: is not in the catalog and has no base_url",
            id="D17_protocol_without_address",
        ),
        pytest.param(local(protocol="grpc"), "providers.local.protocol[0]: input should be", id="D17_unknown_protocol"),
        pytest.param(local(auth="bearer"), "providers.local.api_key: is missing", id="auth_without_a_key"),
        pytest.param(
            {"providers": {"mistral": {}}},
            "providers.mistral.api_key: is missing: set MISTRAL_API_KEY",
            id="vendor_without_a_key",
        ),
        pytest.param(
            local(api_key="a", api_keys=["b"]), "providers.local: has both api_key and api_keys", id="two_spellings"
        ),
        pytest.param(local(base_url="ftp://h/"), "providers.local.base_url: must begin with http", id="F095_scheme"),
        pytest.param(local(base_url="file:///etc"), "providers.local.base_url: must begin with http", id="F095_file"),
        pytest.param(
            local(base_url="api.example.com"), "providers.local.base_url: must begin with", id="F095_no_scheme"
        ),
        pytest.param(local(base_url="http:///v1"), "providers.local.base_url: has no host", id="F095_no_host"),
        pytest.param(local(base_url="http://h:x/"), "providers.local.base_url: is not an address", id="F095_port"),
        pytest.param(
            local(base_url="http://h/?key=s"), "providers.local.base_url: must not have a query", id="F095_query"
        ),
        pytest.param(
            local(base_url="http://u:p@h/"),
            "providers.local.base_url: must not hold a user name",
            id="F095_credentials",
        ),
        pytest.param(
            local(timeouts={"conect": 1}),
            'providers.local.timeouts.conect: there is no such key, did you mean "connect"?',
            id="unknown_timeout",
        ),
        pytest.param(
            local(timeouts={"idle": 0}), "providers.local.timeouts.idle: input should be", id="no_time_at_all"
        ),
        pytest.param(
            local(headers={"x": "a\r\nb: c"}),
            "providers.local.headers.x: has characters",
            id="header_with_a_line_break",
        ),
        pytest.param(
            {"models": {"m": {"targets": ["openai/a", "opena/b"]}}},
            'models."m".targets[1]: there is no provider "opena", did you mean "openai"?',
            id="target_without_provider",
        ),
        pytest.param(
            {"models": {"m": {"targets": ["gpt-4o"]}}},
            'models."m".targets[0]: must be written "provider/model"',
            id="target_without_slash",
        ),
        pytest.param(
            {"models": {"m": {"targets": []}}}, 'models."m": needs exactly one of targets', id="empty_targets"
        ),
        pytest.param(
            {"models": {"m": {"targets": [{"provider": "openai", "model": "a", "weight": 0}]}}},
            'models."m".targets[0].weight: input should be greater',
            id="a_weight_of_nothing",
        ),
        pytest.param(
            {"models": {"m": {"targets": ["openai/a"], "strategy": "fastest"}}},
            "models.\"m\".strategy: input should be 'fallback', 'weighted'",
            id="unknown_strategy",
        ),
        pytest.param(
            {"models": {"m": {"targets": ["openai/a"], "fallbacks": ["m"]}}},
            'models."m".fallbacks[0]: is the model itself',
            id="fallback_to_itself",
        ),
        pytest.param(
            {"models": {"m": {"targets": ["openai/a"], "fallbacks": ["n"]}}},
            'models."m".fallbacks[0]: there is no model "n"',
            id="D17_dangling_fallback",
        ),
        pytest.param(
            {"models": {"m": {"targets": ["openai/a"]}, "n": {"alias": "m", "fallbacks": ["m"]}}},
            'models."n".fallbacks[0]: belongs to the model that this alias means',
            id="fallback_of_an_alias",
        ),
        pytest.param(
            {"breaker": {"open_seconds": 9, "max_open_seconds": 3}},
            "breaker: has max_open_seconds below open_seconds",
            id="breaker_out_of_order",
        ),
        pytest.param(
            {"models": {"m": {"targets": ["openai/a"], "hedge": {"after_seconds": 5}}}},
            'models."m".hedge: has nobody to ask beside the only target',
            id="D17_hedge_without_another_target",
        ),
        pytest.param(
            {"models": {"m": {"targets": ["openai/a"]}, "n": {"alias": "m", "hedge": {"after_seconds": 5}}}},
            'models."n".hedge: belongs to the model that this alias means',
            id="hedge_of_an_alias",
        ),
        pytest.param({"models": {"m": {"alias": "x"}}}, 'models."m".alias: there is no model "x"', id="dangling_alias"),
        pytest.param(
            {"models": {"m": {"alias": "m"}}}, 'models."m".alias: leads back to "m"', id="F072_alias_of_itself"
        ),
    ],
)
def test_refuses(document: dict[str, object], line: str) -> None:
    lines = refusal(document)
    assert any(found.startswith(line) for found in lines), lines


def test_an_alias_loop_is_found() -> None:
    """F072"""
    document: dict[str, object] = {"models": {"a": {"alias": "b"}, "b": {"alias": "a"}, "c": {"alias": "a"}}}
    assert [line.split(":")[0] for line in refusal(document)] == [f'models."{name}".alias' for name in "abc"]


def test_ten_thousand_aliases_in_a_row_are_followed() -> None:
    """F072"""
    chain = {f"m{number}": {"alias": f"m{number + 1}"} for number in range(10_000)}
    document: dict[str, object] = {"models": {**chain, "m10000": {"targets": ["openai/gpt-4o"]}}}
    route = parse_config(document, environ=ENVIRON).route_table().match("m0")
    assert route is not None
    assert route.targets[0].model == "gpt-4o"


def test_all_problems_are_reported_together() -> None:
    lines = refusal(
        {
            "server": {"port": "x"},
            "keys": [{"name": "a", "key": "env:NOT_SET"}],
            "providers": {"openai": {"kind": 3}, "anthropic": {}},
            "models": {"m": {"targets": ["nobody/x"]}},
        },
        {**ENVIRON, "LLMGW_SERVER__PROT": "1"},
    )
    assert [line.split(": ")[0] for line in lines] == [
        "LLMGW_SERVER__PROT",
        "server.port",
        "keys[0].key",
        "providers.openai.kind",
        'models."m".targets[0]',
    ]


def test_a_wrong_provider_is_not_reported_again_by_what_points_at_it() -> None:
    document: dict[str, object] = {
        "providers": {"openai": {"on_disconnect": "x"}},
        "models": {"m": {"targets": ["openai/a"]}, "n": {"alias": "m"}},
    }
    assert len(refusal(document)) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_without_keys_it_listens_on_this_machine_alone(host: str) -> None:
    config = parse_config({"server": {"host": host}}, environ=ENVIRON)
    assert any("every program on this machine" in warning for warning in config.warnings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example.com"])
def test_with_a_key_it_may_listen_anywhere(host: str) -> None:
    document: dict[str, object] = {"server": {"host": host}, "keys": [{"name": "a", "key": "s"}]}
    assert parse_config(document, environ=ENVIRON).warnings() == ()


def test_a_broken_key_does_not_make_the_gateway_seem_open() -> None:
    document: dict[str, object] = {"server": {"host": "0.0.0.0"}, "keys": [{"name": "a", "key": "env:NOT_SET"}]}
    assert [line.split(":")[0] for line in refusal(document)] == ["keys[0].key"]


def test_an_expired_key_is_a_warning() -> None:
    document: dict[str, object] = {"keys": [{"name": "old", "key": "s", "expires": "2020-01-01"}]}
    assert parse_config(document, environ=ENVIRON).warnings() == (
        'The key "old" has expired on 2020-01-01: it is refused.',
    )


def test_a_configuration_made_in_code_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"server\.host"):
        Config(server=ServerSettings(host="0.0.0.0"))


def test_a_hedge_may_go_to_another_key_or_a_fallback() -> None:
    hedge = {"after_seconds": 5}
    parse_config(
        {
            "providers": {"openai": {"api_keys": ["a", "b"]}, "anthropic": {}},
            "models": {
                "keys": {"targets": ["openai/a"], "hedge": hedge},
                "other": {"targets": ["anthropic/b"], "fallbacks": ["keys"], "hedge": hedge},
            },
        },
        environ=ENVIRON,
    )
