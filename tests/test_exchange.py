"""The record of a request."""

from __future__ import annotations

import pytest

from asgi_llmgw.exchange import SCOPE_KEY, Exchange, Principal, new_request_id
from asgi_llmgw.testing import http_scope


def test_a_scope_without_a_record_gets_a_new_one_and_stays_as_it_is() -> None:
    scope = http_scope(headers=[(b"X-Api-Key", b"secret")])
    exchange = Exchange.get_or_create(scope)
    assert exchange.headers == ((b"x-api-key", b"secret"),)
    assert SCOPE_KEY not in scope


def test_the_record_in_the_scope_is_the_one_that_is_used() -> None:
    exchange = Exchange("req_1")
    assert Exchange.get_or_create({**http_scope(), SCOPE_KEY: exchange}) is exchange


def test_something_else_under_the_key_is_not_a_record() -> None:
    assert Exchange.get_or_create({**http_scope(), SCOPE_KEY: "mine"}).request_id.startswith("req_")


def test_the_headers_of_the_record_are_a_copy() -> None:
    """F009"""
    raw = [(b"a", b"1")]
    exchange = Exchange.get_or_create(http_scope(headers=raw))
    raw.append((b"authorization", b"a trailer"))
    assert exchange.headers == ((b"a", b"1"),)


def test_the_headers_are_not_in_the_text_of_the_record() -> None:
    """F210"""
    exchange = Exchange.get_or_create(http_scope(headers=[(b"authorization", b"Bearer sk-canary")]))
    assert "canary" not in repr(exchange)


def test_request_ids_are_not_guessable() -> None:
    """F230"""
    ids = {new_request_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(id) == len("req_") + 24 for id in ids)


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        (("*",), "anything/at-all", True),
        (("gpt-*", "claude-*"), "claude-sonnet-4-5", True),
        (("gpt-*",), "claude-sonnet-4-5", False),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("GPT-*",), "gpt-4o", False),
        ((), "gpt-4o", False),
    ],
)
def test_a_principal_may_use_what_its_globs_cover(models: tuple[str, ...], model: str, allowed: bool) -> None:
    assert Principal("team", models).may_use(model) is allowed
