"""Limits, tenants and prices in the configuration."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from asgi_llmgw.config import Config, parse_config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.exchange import Exchange, Principal
from asgi_llmgw.store.base import Limit

LOCAL = {"protocol": "openai_chat", "base_url": "http://127.0.0.1:1/v1"}
KEY = {"name": "team-a", "key": "client-key"}
EVERYTHING = {
    "rpm": 1,
    "tpm": 2,
    "concurrency": 3,
    "tokens_per_day": 4,
    "tokens_per_month": 5,
    "budget_usd": 6.5,
    "budget_period": "day",
}


def configured(environ: Mapping[str, str] | None = None, /, **sections: object) -> Config:
    document = {"providers": {"openai": {"api_key": "k"}, "local": LOCAL}, **sections}
    return parse_config(document, environ=environ or {})


def refused(**sections: object) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(**sections)
    return caught.value.message


def met(
    config: Config, *, key: str = "team-a", tenant: str | None = None, route: str | None = None
) -> tuple[Limit, ...]:
    exchange = Exchange("req_1", principal=Principal(key, tenant=tenant), route=route)
    return tuple(claim.limit for claim in config.limit_table().of(exchange).claims)


def test_every_limit_becomes_what_the_store_counts() -> None:
    assert met(configured(keys=[KEY | EVERYTHING])) == (
        Limit("key", "team-a", "requests", 1, "minute"),
        Limit("key", "team-a", "tokens", 2, "minute"),
        Limit("key", "team-a", "slots", 3),
        Limit("key", "team-a", "tokens", 4, "day"),
        Limit("key", "team-a", "tokens", 5, "month"),
        Limit("key", "team-a", "cost", 6_500_000, "day"),
    )


def test_a_budget_is_for_a_month_unless_it_is_said_otherwise() -> None:
    assert met(configured(keys=[KEY | {"budget_usd": 1}])) == (Limit("key", "team-a", "cost", 1_000_000, "month"),)


def test_without_limits_the_table_is_empty() -> None:
    assert not configured(
        keys=[KEY], tenants={"acme": {}}, models={"smart": {"targets": ["openai/gpt-4o"]}}
    ).limit_table()


def test_a_key_belongs_to_its_tenant() -> None:
    config = configured(keys=[KEY | {"tenant": "acme", "rpm": 1}], tenants={"acme": {"rpm": 2}})
    assert config.client_keys()[0].tenant == "acme"
    assert [limit.scope for limit in met(config, tenant="acme")] == ["key", "tenant"]


def test_an_alias_has_its_own_limits_and_those_of_all_it_leads_to() -> None:
    models = {
        "fast": {"alias": "faster", "rpm": 1},
        "faster": {"alias": "smart", "rpm": 2},
        "smart": {"targets": ["openai/gpt-4o"], "rpm": 3},
    }
    config = configured(models=models)
    assert [(limit.owner, limit.ceiling) for limit in met(config, route="fast")] == [
        ("fast", 1),
        ("faster", 2),
        ("smart", 3),
    ]
    assert [limit.owner for limit in met(config, route="smart")] == ["smart"]


def test_own_prices_are_reckoned_with() -> None:
    long = {"over": 1000, "input": 2.0, "output": 4.0}
    price = {"input": 1, "output": 2.0, "cached_input": 0.5, "reasoning": 3.0, "long_context": long}
    table = configured(prices={"local/*": price}).price_table()
    found = table.find("local", "anything")
    assert found is not None and found.long_context is not None
    assert (found.input, found.cached_input, found.reasoning, found.long_context.over) == (1.0, 0.5, 3.0, 1000)
    assert table.find("openai", "gpt-4o") is not None


def test_what_the_demo_makes_up_is_free() -> None:
    found = configured(providers={"playground": {"kind": "demo"}}).price_table().find("playground", "gpt-4o")
    assert found is not None and (found.input, found.output) == (0.0, 0.0)


BLIND = {"smart": {"targets": ["openai/gpt-4o", "local/llama"]}, "small": {"alias": "smart"}}


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        pytest.param({"keys": [KEY | {"budget_usd": 1}]}, "keys[0].budget_usd", id="key"),
        pytest.param({"keys": [KEY | {"budget_usd": 1, "models": ["small"]}]}, "keys[0].budget_usd", id="key-by-alias"),
        pytest.param(
            {"keys": [KEY | {"tenant": "acme"}], "tenants": {"acme": {"budget_usd": 1}}},
            "tenants.acme.budget_usd",
            id="tenant",
        ),
        pytest.param(
            {"models": {"smart": {"targets": ["local/llama"], "budget_usd": 1}}},
            'models."smart".budget_usd',
            id="model",
        ),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(sections: dict[str, object], place: str) -> None:
    told = refused(**{"models": BLIND, **sections})
    assert f'{place}: cannot be kept without the price of "local/llama": write [prices."local/llama"]' in told


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({"prices": {"local/*": {"input": 0, "output": 0}}}, id="priced"),
        pytest.param({"limits": {"unpriced": "allow"}}, id="allowed"),
        pytest.param({"keys": [KEY | {"budget_usd": 1, "models": ["gpt-*"]}]}, id="out-of-reach"),
        pytest.param({"models": {"any-*": {"targets": ["local/*"]}}}, id="nobody-knows-its-name"),
    ],
)
def test_a_budget_that_can_be_kept_is_not(sections: dict[str, object]) -> None:
    config = configured(**{"models": BLIND, "keys": [KEY | {"budget_usd": 1}], **sections})
    assert config.limit_table()


def test_many_unknown_prices_are_not_all_listed() -> None:
    models = {f"m{number}": {"targets": [f"local/{number}"]} for number in range(5)}
    told = refused(models=models, keys=[KEY | {"budget_usd": 1}])
    assert '"local/0", "local/1", "local/2" and 2 more' in told


def test_what_is_allowed_for_nothing_is_told() -> None:
    config = configured(models=BLIND, keys=[KEY | {"budget_usd": 1}], limits={"unpriced": "allow"})
    (told,) = config.warnings()
    assert told == 'Budgets do not count "local/llama": no price is known for it.'
    assert configured(models=BLIND, keys=[KEY], limits={"unpriced": "allow"}).warnings() == ()


def test_the_environment_sets_limits_and_makes_tenants() -> None:
    environ = {"LLMGW_KEYS__TEAM_A__RPM": "7", "LLMGW_TENANTS__ACME__TPM": "9", "LLMGW_LIMITS__LEASE_SECONDS": "5"}
    config = configured(environ, keys=[KEY | {"tenant": "acme"}])
    assert [limit.ceiling for limit in met(config, tenant="acme")] == [7, 9]
    assert config.limits.lease_seconds == 5.0


def test_the_environment_invents_no_prices() -> None:
    environ = {"LLMGW_PRICES__GPT_4O__INPUT": "7"}
    with pytest.raises(ConfigError, match="no price of this name is configured"):
        configured(environ)
    config = configured(environ, prices={"gpt-4o": {"input": 1, "output": 2}})
    found = config.price_table().find("openai", "gpt-4o")
    assert found is not None and found.input == 7.0


def test_a_broken_tenant_is_reported_once() -> None:
    told = refused(keys=[KEY | {"tenant": "acme"}], tenants={"acme": {"rpm": "many"}})
    assert told.count("\n") == 1 and "tenants.acme.rpm" in told
