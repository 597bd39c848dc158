"""Limits: how a refusal is told in each protocol, and how limits stand."""

from __future__ import annotations

import pytest

from asgi_llmgw.exchange import Exchange
from asgi_llmgw.ir import Protocol, Usage
from asgi_llmgw.json import JSONObject, as_object
from asgi_llmgw.testing import call
from tests.limited import Away, Vendor, error_of, limit, limits, scope_of
from tests.samples import chat_request

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("protocol", "fields"),
    [
        ("openai_chat", {"type": "requests", "code": "rate_limit_exceeded"}),
        ("openai_responses", {"type": "requests", "code": "rate_limit_exceeded"}),
        ("anthropic_messages", {"type": "rate_limit_error"}),
        ("gemini_generate", {"code": 429, "status": "RESOURCE_EXHAUSTED"}),
    ],
)
async def test_a_refusal_speaks_the_clients_protocol(protocol: Protocol, fields: JSONObject) -> None:
    app = limits(Vendor(), limit("requests", 1))
    exchange = Exchange("req_1")
    await call(app, scope_of(protocol=protocol), chat_request())
    answer = await call(app, scope_of(protocol=protocol, exchange=exchange), chat_request())
    error = error_of(answer)
    assert (answer.status, exchange.outcome, exchange.limited) == (429, "rejected", "key_rpm")
    assert {name: error.get(name) for name in fields} == fields
    assert "key team-a: 1 request per minute" in str(error["message"])
    assert 0 < int(answer.headers[b"retry-after"]) <= 66


@pytest.mark.parametrize(
    ("protocol", "fields"),
    [
        ("openai_chat", {"type": "insufficient_quota", "code": "insufficient_quota"}),
        ("openai_responses", {"code": "insufficient_quota"}),
        ("anthropic_messages", {"type": "rate_limit_error"}),
        ("gemini_generate", {"status": "RESOURCE_EXHAUSTED"}),
    ],
)
async def test_a_budget_that_is_used_up_says_until_when(protocol: Protocol, fields: JSONObject) -> None:
    vendor = Vendor(Usage(input_tokens=100, output_tokens=99_000))
    app = limits(vendor, limit("cost", 1_000_000, "month"))
    await call(app, scope_of(protocol=protocol), chat_request(max_tokens=99_000))
    answer = await call(app, scope_of(protocol=protocol), chat_request())
    error = error_of(answer)
    assert answer.status == 429
    assert {name: error.get(name) for name in fields} == fields
    # the clock of these tests stands in November 2023
    assert "1 USD per month is used up; the month ends at 2023-12-01 00:00 UTC" in str(error["message"])
    assert int(answer.headers[b"retry-after"]) > 86_400
    if protocol != "gemini_generate":
        assert answer.headers[b"x-should-retry"] == b"false"


async def test_gemini_clients_are_told_in_the_details() -> None:
    app = limits(Vendor(), limit("requests", 1))
    for _ in range(2):
        answer = await call(app, scope_of(protocol="gemini_generate"), chat_request())
    (delay,) = [
        as_object(detail).get("retryDelay")
        for detail in error_of(answer)["details"]  # type: ignore[union-attr]
        if as_object(detail).get("@type") == "type.googleapis.com/google.rpc.RetryInfo"
    ]
    assert delay == f"{int(answer.headers[b'retry-after'])}s"


@pytest.mark.parametrize(
    ("protocol", "prefix", "suffix"),
    [("openai_chat", b"x-ratelimit-remaining-", b""), ("anthropic_messages", b"anthropic-ratelimit-", b"-remaining")],
)
async def test_every_answer_says_how_the_limits_stand(protocol: Protocol, prefix: bytes, suffix: bytes) -> None:
    app = limits(Vendor(), limit("requests", 1), limit("tokens", 5000))
    good = await call(app, scope_of(protocol=protocol), chat_request(max_tokens=100))
    refused = await call(app, scope_of(protocol=protocol), chat_request(max_tokens=100))
    assert good.headers[prefix + b"requests" + suffix] == b"0"
    assert 4800 < int(good.headers[prefix + b"tokens" + suffix]) < 4900
    assert refused.headers[prefix + b"requests" + suffix] == b"0"
    assert int(refused.headers[b"retry-after-ms"]) == 1000 * int(refused.headers[b"retry-after"])


@pytest.mark.parametrize(("protocol", "status"), [("openai_chat", 503), ("anthropic_messages", 529)])
async def test_a_store_that_is_away_lets_nobody_in(protocol: Protocol, status: int) -> None:
    """F185: each protocol has its own word for "overloaded"."""
    vendor = Vendor()
    app = limits(vendor, limit("requests", 1), store=Away())
    answer = await call(app, scope_of(protocol=protocol), chat_request())
    assert (answer.status, answer.headers[b"retry-after"], vendor.calls) == (status, b"5", 0)
    assert "cannot be checked" in str(error_of(answer)["message"])
