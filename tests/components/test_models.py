"""ModelsApp alone."""

from __future__ import annotations

import pytest

from asgi_llmgw._types import Scope
from asgi_llmgw.components.models import ModelsApp
from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Principal, Target
from asgi_llmgw.json import JSONObject, as_list, as_object
from asgi_llmgw.routing.routes import Route, RouteTable
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, call, http_scope

pytestmark = pytest.mark.anyio

TARGETS = (Target("claude", "*"),)
TABLE = RouteTable([Route("smart", TARGETS), Route("gpt-4o", TARGETS), Route("claude-*", TARGETS)])
APP = ModelsApp(table=TABLE, created=1_700_000_000)


def asking(model: str | None = None, *, may: tuple[str, ...] | None = None, method: str = "GET") -> Scope:
    principal = None if may is None else Principal("team-a", may)
    exchange = Exchange("req_1", operation="models" if model is None else "model", model=model, principal=principal)
    return {**http_scope(method, "/v1/models"), SCOPE_KEY: exchange}


def entry(name: str) -> JSONObject:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "asgi-llmgw"}


async def test_lists_names_in_order_and_no_globs() -> None:
    answer = await call(APP, asking())
    assert answer.status == 200
    assert answer.json == {"object": "list", "data": [entry("smart"), entry("gpt-4o")]}
    assert answer.headers[b"x-request-id"] == b"req_1"
    assert answer.headers[b"cache-control"] == b"private, no-store"


async def test_lists_what_the_caller_may_use() -> None:
    answer = await call(APP, asking(may=("gpt-*",)))
    assert [as_object(item)["id"] for item in as_list(as_object(answer.json)["data"])] == ["gpt-4o"]


@pytest.mark.parametrize("model", ["smart", "claude-sonnet-4-5"], ids=["by_name", "by_glob"])
async def test_shows_a_model_that_a_route_would_take(model: str) -> None:
    answer = await call(APP, asking(model))
    assert answer.status == 200
    assert answer.json == entry(model)


async def test_a_forbidden_model_is_answered_like_one_that_does_not_exist() -> None:
    """F067"""
    forbidden = await call(APP, asking("smart", may=("gpt-*",)))
    unknown = await call(APP, asking("dummy", may=("gpt-*",)))
    assert forbidden.status == unknown.status == 404
    assert forbidden.body == unknown.body.replace(b"dummy", b"smart")
    assert as_object(as_object(unknown.json)["error"])["code"] == "model_not_found"
    assert list(forbidden.headers) == list(unknown.headers)


async def test_a_refusal_is_recorded() -> None:
    scope = asking("dummy")
    await call(APP, scope)
    exchange = scope[SCOPE_KEY]
    assert (exchange.outcome, exchange.failure.kind) == ("rejected", "model_not_found")


async def test_a_hostile_name_does_not_swell_the_answer() -> None:
    """F070, F220"""
    answer = await call(APP, asking("x" * 65_536))
    assert answer.status == 404
    assert len(answer.body) <= 4096


@pytest.mark.parametrize("model", [None, "smart", "dummy"])
async def test_a_head_has_no_body(model: str | None) -> None:
    """F108"""
    answer = await call(APP, asking(model, method="HEAD"))
    assert answer.status == (404 if model == "dummy" else 200)
    assert answer.body == b""


async def test_says_who_owns_them() -> None:
    app = ModelsApp(table=TABLE, created=0, owned_by="acme")
    answer = await call(app, asking("smart"))
    assert as_object(answer.json)["owned_by"] == "acme"


async def test_only_http_is_served() -> None:
    """F020"""
    with pytest.raises(ValueError, match="lifespan"):
        await APP({"type": "lifespan"}, ScriptedReceive(), RecordingSend())
