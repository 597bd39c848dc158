"""Limits in words and in headers."""

from __future__ import annotations

import pytest

from asgi_llmgw.ir import Protocol
from asgi_llmgw.limiting.headers import rate_limit_headers, retry_headers, told_of
from asgi_llmgw.limiting.words import denial, describe, dollars, hopeless, label, too_much
from asgi_llmgw.store.base import Claim, Denied, Limit, Standing

NOW = 1_700_000_000.25  # 2023-11-14 22:13:20 UTC
RPM = Limit("key", "team-a", "requests", 600, "minute")
TPM = Limit("tenant", "acme", "tokens", 50_000, "minute")
SLOTS = Limit("model", "smart", "slots", 1)
BUDGET = Limit("key", "team-a", "cost", 12_500_000, "month")
DAY = Limit("key", "team-a", "tokens", 1_000_000, "day")


def told(standings: list[Standing], protocol: Protocol) -> dict[bytes, bytes]:
    places = told_of([standing.limit for standing in standings])
    return dict(rate_limit_headers(standings, places, protocol, now=NOW))


@pytest.mark.parametrize(
    ("limit", "words", "name"),
    [
        (RPM, "key team-a: 600 requests per minute", "key_rpm"),
        (TPM, "tenant acme: 50000 tokens per minute", "tenant_tpm"),
        (SLOTS, "model smart: 1 request at the same time", "model_concurrency"),
        (BUDGET, "key team-a: 12.5 USD per month", "key_budget"),
        (DAY, "key team-a: 1000000 tokens per day", "key_tokens_per_day"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_limit_has_words_and_a_label(limit: Limit, words: str, name: str) -> None:
    assert (describe(limit), label(limit)) == (words, name)


@pytest.mark.parametrize(("millionths", "text"), [(50_000_000, "50 USD"), (10, "0.00001 USD"), (1_500_000, "1.5 USD")])
def test_dollars_are_written_without_zeros(millionths: int, text: str) -> None:
    assert dollars(millionths) == text


def test_a_denial_says_when_to_try_again() -> None:
    error = denial(Denied(RPM, 11.2, ()), "openai_chat", now=NOW)
    assert (error.kind, error.retry_after) == ("rate_limited", 12)
    assert error.message == "The limit of key team-a: 600 requests per minute is reached; try again in 12 seconds."
    assert not hopeless(error)


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        ("openai_chat", "quota_exceeded"),
        ("openai_responses", "quota_exceeded"),
        ("gemini_generate", "quota_exceeded"),
        ("anthropic_messages", "rate_limited"),
    ],
)
def test_a_quota_that_is_used_up_says_when_its_period_ends(protocol: Protocol, kind: str) -> None:
    error = denial(Denied(BUDGET, 1_389_999.75, ()), protocol, now=NOW)
    assert (error.kind, error.status) == (kind, 429)
    assert "12.5 USD per month is used up; the month ends at 2023-12-01 00:20 UTC" in error.message
    assert hopeless(error)


def test_a_quota_that_running_requests_hold_is_worth_another_try() -> None:
    error = denial(Denied(BUDGET, 1.0, ()), "openai_chat", now=NOW)
    assert (error.kind, error.retry_after) == ("rate_limited", 1)
    assert error.message.endswith("try again in 1 second.")


def test_a_request_that_never_fits_is_told_so() -> None:
    error = too_much(Claim(BUDGET, 13_000_000))
    assert "up to 13 USD, which is more than the limit of key team-a: 12.5 USD per month allows" in error.message
    assert hopeless(error)


def test_openai_clients_read_limit_remainder_and_reset() -> None:
    standings = [Standing(RPM, 599, 55.0), Standing(TPM, 48_976, 361.5), Standing(SLOTS, 0, 1.0)]
    assert told(standings, "openai_responses") == {
        b"x-ratelimit-limit-requests": b"600",
        b"x-ratelimit-remaining-requests": b"599",
        b"x-ratelimit-reset-requests": b"55s",
        b"x-ratelimit-limit-tokens": b"50000",
        b"x-ratelimit-remaining-tokens": b"48976",
        b"x-ratelimit-reset-tokens": b"6m2s",
    }


def test_anthropic_clients_read_a_time() -> None:
    assert told([Standing(RPM, 599, 55.5)], "anthropic_messages") == {
        b"anthropic-ratelimit-requests-limit": b"600",
        b"anthropic-ratelimit-requests-remaining": b"599",
        b"anthropic-ratelimit-requests-reset": b"2023-11-14T22:14:17Z",
    }


def test_gemini_clients_read_no_headers() -> None:
    assert told([Standing(RPM, 1, 5.0)], "gemini_generate") == {}
    assert retry_headers(5.0, "gemini_generate", hopeless=False) == ()


def test_of_several_limits_the_tightest_is_shown_and_none_that_tells_of_others() -> None:
    """What is left of a model is the business of all its clients together."""
    tenant = Limit("tenant", "acme", "requests", 1000, "minute")
    model = Limit("model", "smart", "requests", 10, "minute")
    standings = [Standing(RPM, 599, 5.0), Standing(tenant, 20, 5.0), Standing(model, 1, 5.0)]
    headers = told(standings, "openai_chat")
    assert headers[b"x-ratelimit-remaining-requests"] == b"20"
    assert headers[b"x-ratelimit-limit-requests"] == b"1000"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, b"0s"), (0.12, b"120ms"), (1.5, b"1.5s"), (60.0, b"1m0s"), (7384.0, b"2h3m4s")]
)
def test_a_reset_is_written_as_go_does(seconds: float, text: bytes) -> None:
    headers = told([Standing(RPM, 1, seconds)], "openai_chat")
    assert headers[b"x-ratelimit-reset-requests"] == text


def test_sdks_are_told_milliseconds_or_not_to_try() -> None:
    assert retry_headers(1.5, "openai_chat", hopeless=False) == ((b"retry-after-ms", b"1500"),)
    assert retry_headers(90.0, "anthropic_messages", hopeless=True) == ((b"x-should-retry", b"false"),)
    assert retry_headers(None, "openai_chat", hopeless=False) == ()
