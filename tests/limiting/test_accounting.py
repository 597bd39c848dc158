"""What a request has really used."""

from __future__ import annotations

import logging

import pytest

from asgi_llmgw.errors import RequestError, UpstreamError
from asgi_llmgw.exchange import Exchange, Tried
from asgi_llmgw.ir import Usage
from asgi_llmgw.limiting.accounting import Answered, Used, cost_of, reported, tokens_of, used_by
from asgi_llmgw.limiting.estimate import Estimate
from asgi_llmgw.pricing import Price, PriceTable

EXPECTED = Estimate(100, 1000)
WHOLE = Answered(began=True, finished=True)
CUT = Answered(began=True)
BROKEN = UpstreamError("it broke", failure="transient")


def exchange(usage: Usage | None = None, **fields: object) -> Exchange:
    made = Exchange("req_1", provider="openai", upstream_model="gpt-4o", usage=usage)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def counts(used: list[Used]) -> list[tuple[int | None, int | None]]:
    return [(one.usage.input_tokens, one.usage.output_tokens) for one in used]


def test_a_whole_answer_counts_as_reported() -> None:
    told = exchange(Usage(input_tokens=8, output_tokens=3), finish_reason="stop", text_length=9000)
    assert counts(used_by(told, EXPECTED, WHOLE)) == [(8, 3)]


def test_an_answer_whose_end_was_drained_for_a_client_that_left_counts_as_reported() -> None:
    """L7"""
    told = exchange(
        Usage(input_tokens=8, output_tokens=3), finish_reason="stop", outcome="client_disconnected", text_length=9000
    )
    assert counts(used_by(told, EXPECTED, CUT)) == [(8, 3)]


def test_a_client_that_left_is_counted_the_input_and_what_was_streamed() -> None:
    """F109 L8"""
    left = exchange(outcome="client_disconnected", text_length=300)
    assert counts(used_by(left, EXPECTED, CUT)) == [(100, 100)]


def test_the_first_report_of_a_stream_is_no_report_of_its_output() -> None:
    """L8: Anthropic's `message_start` says 1."""
    left = exchange(Usage(input_tokens=8, output_tokens=1), outcome="client_disconnected", text_length=300)
    assert counts(used_by(left, EXPECTED, CUT)) == [(8, 100)]


def test_a_stream_that_broke_counts_at_least_what_was_reported() -> None:
    broke = exchange(Usage(input_tokens=8, output_tokens=500), failure=BROKEN, text_length=300)
    assert counts(used_by(broke, EXPECTED, CUT)) == [(8, 500)]


def test_a_client_that_left_before_the_first_byte_is_counted_the_input() -> None:
    """F109"""
    assert counts(used_by(exchange(outcome="client_disconnected"), EXPECTED, Answered())) == [(100, 0)]


def test_a_request_that_reached_nobody_has_used_nothing() -> None:
    """F113"""
    assert used_by(Exchange("req_1", outcome="client_disconnected"), EXPECTED, Answered()) == []


@pytest.mark.parametrize("failure", [BROKEN, RequestError("no")], ids=["failed", "refused"])
def test_what_the_upstream_refused_has_used_nothing(failure: UpstreamError) -> None:
    assert used_by(exchange(failure=failure), EXPECTED, Answered()) == []


def test_failed_attempts_count_as_far_as_they_are_known() -> None:
    last = Usage(input_tokens=8, output_tokens=3)
    told = exchange(last, finish_reason="stop")
    told.tried = [
        Tried("anthropic", "claude-sonnet-4-5", 0, "transient", Usage(input_tokens=5, output_tokens=2)),
        Tried("anthropic", "claude-sonnet-4-5", 1, "timeout", None),
        Tried("openai", "gpt-4o", 0, None, last),
    ]
    used = used_by(told, EXPECTED, WHOLE)
    assert counts(used) == [(5, 2), (8, 3)]
    assert tokens_of(used) == 18
    assert [one.provider for one in used] == ["anthropic", "openai"]
    assert counts(reported(told)) == [(5, 2), (8, 3)]


def test_the_last_attempt_counts_once_while_it_is_not_over_yet() -> None:
    """L6"""
    told = exchange(Usage(input_tokens=8, output_tokens=3), finish_reason="stop")
    told.tried = [Tried("openai", "gpt-4o", 0)]
    assert counts(used_by(told, EXPECTED, WHOLE)) == [(8, 3)]


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (Usage(input_tokens=-5, output_tokens=3), (100, 3)),
        (Usage(input_tokens=8, output_tokens=10**18), (8, 100)),
        (Usage(input_tokens=None, output_tokens=3), (100, 3)),
        (Usage(input_tokens=8, output_tokens=None), (8, 100)),
    ],
    ids=["negative", "absurd", "no-input", "no-output"],
)
def test_an_impossible_number_is_replaced_by_an_estimate(usage: Usage, counted: tuple[int, int]) -> None:
    """F140"""
    told = exchange(usage, finish_reason="stop", text_length=300)
    assert counts(used_by(told, EXPECTED, WHOLE)) == [counted]


def test_an_impossible_number_is_flagged(caplog: pytest.LogCaptureFixture) -> None:
    """F140"""
    with caplog.at_level(logging.WARNING):
        used_by(exchange(Usage(input_tokens=-5, output_tokens=3), finish_reason="stop"), EXPECTED, WHOLE)
    assert "impossible usage" in caplog.text


def test_a_whole_answer_without_usage_is_measured() -> None:
    answered = Answered(began=True, finished=True, size=600)
    assert counts(used_by(exchange(finish_reason="stop"), EXPECTED, answered)) == [(100, 200)]


def test_what_is_answered_later_counts_as_estimated() -> None:
    answered = Answered(began=True, finished=True, size=600)
    assert counts(used_by(exchange(), Estimate(100, 1000, later=True), answered)) == [(100, 1000)]


def test_an_app_that_is_not_ours_is_measured_too() -> None:
    alone = Exchange("req_1", text_length=30)
    assert counts(used_by(alone, Estimate(100, 1000, model="gpt-4o"), CUT)) == [(100, 10)]
    assert used_by(alone, Estimate(100, 1000, model="gpt-4o"), CUT)[0].model == "gpt-4o"


def test_the_cost_is_that_of_every_attempt_with_a_price() -> None:
    table = PriceTable({"a/*": Price(input=1.0, output=10.0)}, packaged=False)
    used = [Used("a", "one", Usage(input_tokens=10, output_tokens=1)), Used("b", "two", Usage(input_tokens=10))]
    assert cost_of(used, table) == 20
    assert cost_of(used[1:], table) is None
