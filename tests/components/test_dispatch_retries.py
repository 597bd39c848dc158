"""Retries and fallbacks as a client and its vendors see them, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from asgi_llmgw.errors import FailureClass, UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Target
from asgi_llmgw.json import as_object, dumps, loads_object
from asgi_llmgw.routing.health import BreakerPolicy
from asgi_llmgw.routing.retry import RetryPolicy
from asgi_llmgw.testing import SSE_HEADERS, RecordingSend, ScriptedReceive, http_scope
from tests.dispatching import OVERLOADED, Paced, Stand, Vendor, now, refusal, stream, whole
from tests.samples import CHAT_ROLE, chat_chunk, chat_request, messages_answer
from tests.virtual_time import BACKEND

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return BACKEND


def broken(failure: FailureClass) -> UpstreamError:
    return UpstreamError("It broke.", failure=failure)


async def test_an_overloaded_vendor_is_asked_again_after_a_moment() -> None:
    """F137, D5: with backoff, and the client sees nothing of it."""
    stand = Stand({"a": Vendor([OVERLOADED, OVERLOADED, whole()])})
    asked = await stand.ask()
    assert asked.send.status == 200 and b"Hello" in asked.send.body
    assert asked.tried == [("a", "overloaded"), ("a", "overloaded"), ("a", None)]
    assert 0 < asked.seconds <= 0.25 + 0.5
    assert stand.idle


async def test_three_tries_and_no_more() -> None:
    """F175: and the SDK is told that this has been done already."""
    stand = Stand({"a": Vendor([OVERLOADED])})
    asked = await stand.ask()
    assert asked.send.status == 503 and len(asked.tried) == 3
    assert asked.send.headers[b"x-should-retry"] == b"false"
    assert b"retry-after" not in asked.send.headers


async def test_retry_after_is_waited_for_to_the_second() -> None:
    """D5, F136."""
    vendor = Vendor([refusal(429, retry_after="2"), whole()])
    asked = await Stand({"a": vendor}, policy=RetryPolicy(backoff=0)).ask()
    assert asked.send.status == 200
    assert vendor.times == [0.0, 2.0]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("0", 0.0), ("-1", 0.0), ("1.5", 1.5), ("20", 20.0)],
)
async def test_every_spelling_of_a_short_time_is_obeyed(said: str, seconds: float) -> None:
    """F136."""
    vendor = Vendor([refusal(429, retry_after=said), whole()])
    asked = await Stand({"a": vendor}, policy=RetryPolicy(backoff=0)).ask()
    assert (asked.send.status, asked.seconds) == (200, seconds)


@pytest.mark.parametrize(
    ("said", "told"), [("21", b"21"), ("1000000000", b"3600"), ("soon", b"10")], ids=["long", "absurd", "junk"]
)
async def test_a_long_time_is_handed_on_to_the_client(said: str, told: bytes) -> None:
    """F136, D4: with a sane header and at once."""
    vendor = Vendor([refusal(429, retry_after=said)])
    asked = await Stand({"a": vendor}).ask()
    assert (asked.send.status, asked.send.headers[b"retry-after"]) == (429, told)
    assert (len(vendor.requests), asked.seconds) == (1, 0.0)


@pytest.mark.parametrize(("said", "retries"), [("59", True), ("61", False)])
async def test_an_sdk_that_would_not_wait_so_long_is_told_not_to_come_back(said: str, retries: bool) -> None:
    """F175: beyond a minute SDKs ignore Retry-After and come back within seconds."""
    asked = await Stand({"a": Vendor([refusal(429, retry_after=said)])}).ask()
    assert (asked.send.headers.get(b"x-should-retry") is None) == retries


async def test_while_everything_cools_down_clients_are_told_when() -> None:
    """D4, D12: nobody is asked, and the time is that of the first who may be asked again."""
    vendors = {"a": Vendor([refusal(429, retry_after="50")]), "b": Vendor([refusal(429, retry_after="30")])}
    stand = Stand(vendors)
    await stand.ask()
    await asyncio.sleep(10)
    asked = await stand.ask()
    assert (asked.send.status, asked.send.headers[b"retry-after"]) == (429, b"20")
    assert as_object(as_object(asked.send.json)["error"])["code"] == "all_targets_cooling_down"
    assert [len(vendor.requests) for vendor in vendors.values()] == [1, 1]
    await asyncio.sleep(21)
    await stand.ask()
    assert [len(vendor.requests) for vendor in vendors.values()] == [1, 2]


async def test_a_broken_connection_is_tried_once_more_at_once() -> None:
    """F125, F135: zero bytes of an answer, the request is whole in memory (F169)."""
    vendor = Vendor([broken("unreachable"), whole()])
    asked = await Stand({"a": vendor}).ask(body={**chat_request(), "padding": "x" * 200_000})
    assert (asked.send.status, asked.seconds) == (200, 0.0)
    assert vendor.requests[0].body == vendor.requests[1].body and len(vendor.requests[0].body) > 200_000


async def test_the_deadline_is_not_slept_past() -> None:
    """F176: five seconds in all, and the backoff would be eight."""
    policy = RetryPolicy(backoff=1000, max_backoff=1000, deadline=5)
    asked = await Stand({"a": Vendor([OVERLOADED])}, policy=policy).ask()
    assert (asked.send.status, asked.seconds, len(asked.tried)) == (503, 0.0, 1)


async def test_every_attempt_is_made_from_the_untouched_original() -> None:
    """D13, F177: what was added for one vendor is not seen by the next, nor by the same one again."""
    vendors = {"a": Vendor([OVERLOADED]), "b": Vendor([refusal(529)]), "c": Vendor([OVERLOADED, whole()])}
    stand = Stand(vendors, protocols={"b": "anthropic_messages"}, policy=RetryPolicy(backoff=0))
    body = chat_request(temperature=0.3, stop="END")
    exchange = stand.exchange(targets=[Target("a", "one"), Target("b", "two"), Target("c", "three")])
    await stand.ask(exchange, body=body)
    bodies = {name: [loads_object(request.body) for request in vendor.requests] for name, vendor in vendors.items()}
    assert bodies["a"] == [{**body, "model": "one"}]
    assert bodies["c"] == [{**body, "model": "three"}]
    assert bodies["b"][0]["model"] == "two" and bodies["b"][0]["stop_sequences"] == ["END"]


async def test_nothing_of_a_failed_attempt_is_left_in_the_record() -> None:
    """D10: the same pipeline for each attempt, from the start."""
    broken_late = Paced([CHAT_ROLE, broken("transient")], headers=SSE_HEADERS)
    stand = Stand(
        {"a": Vendor([Paced([messages_answer("x")[:40]])]), "b": Vendor([broken_late, stream("Hi")])},
        protocols={"a": "anthropic_messages"},
        policy=RetryPolicy(backoff=0, attempts=5),
    )
    asked = await stand.ask(stream=True)
    exchange = asked.exchange
    assert asked.send.status == 200 and b"Hi" in asked.send.body
    assert (exchange.provider, exchange.upstream_protocol, exchange.translated) == ("b", "openai_chat", False)
    assert exchange.failure is None and exchange.attempts == len(exchange.tried)
    assert asked.tried[-1] == ("b", None)


async def test_no_prompt_is_made_up_to_go_on_with_a_broken_answer() -> None:
    """D2, F168: after the first word there is no second attempt, and no continuation of ours."""
    half = Paced([CHAT_ROLE, chat_chunk({"content": "Once upon"}), broken("unreachable")], headers=SSE_HEADERS)
    vendors = {"a": Vendor([half, stream("never")]), "b": Vendor([stream("never")])}
    stand = Stand(vendors)
    asked = await stand.ask(stream=True)
    assert len(vendors["a"].requests) == 1 and vendors["b"].requests == []
    assert b"Once upon" in asked.send.body and b'"error"' in asked.send.body and b"[DONE]" not in asked.send.body
    assert stand.health.lane(Target("a", "m"), 0).failures_in_a_row == 1, "the vendor's lane knows of it"


@pytest.mark.parametrize("late", [broken("transient"), broken("timeout"), b"data: {broken\n\n"], ids=str)
async def test_before_the_first_word_a_stream_may_fail_anyhow(late: bytes | UpstreamError) -> None:
    """D1, D3: cut, silent or malformed."""
    bad = Paced([CHAT_ROLE, 1.0, late], headers=SSE_HEADERS)
    asked = await Stand({"a": Vendor([bad]), "b": Vendor([stream("From b")])}).ask(stream=True)
    assert asked.send.status == 200 and b"From b" in asked.send.body and b'"error"' not in asked.send.body


async def test_the_clock_of_the_held_start_runs_while_the_vendor_is_silent() -> None:
    """D14, D16: what is held is let go after five seconds, not when the next chunk comes."""
    seen: list[float] = []
    send = RecordingSend(lambda chunk: seen.append(now()))
    stand = Stand({"a": Vendor([stream("Hi", first=40.0)])})
    scope = {**http_scope(), SCOPE_KEY: stand.exchange()}
    await stand.app(scope, ScriptedReceive(dumps(chat_request(stream=True))), send)
    assert seen[:2] == [5.0, 40.0]


async def test_with_restart_nothing_is_let_go_before_content() -> None:
    """D1: forty seconds of silence, and the next target still takes over."""
    silent = Paced([CHAT_ROLE, 40.0, broken("timeout")], headers=SSE_HEADERS)
    stand = Stand({"a": Vendor([silent]), "b": Vendor([stream("From b")])})
    exchange = stand.exchange()
    exchange.stream_failure = "restart_if_no_output"
    asked = await stand.ask(exchange, stream=True)
    assert b"From b" in asked.send.body and b'"error"' not in asked.send.body


async def test_a_client_that_leaves_during_the_wait_ends_it() -> None:
    """F113: no attempt follows, and its place among the retries is free again."""
    vendor = Vendor([refusal(429, retry_after="15")])
    stand = Stand({"a": vendor}, policy=RetryPolicy(budget=0, budget_cap=0, min_concurrent=1))
    for _ in range(3):
        receive = ScriptedReceive(dumps(chat_request()))
        asyncio.get_running_loop().call_later(5, receive.disconnect)
        asked = await stand.ask(receive=receive)
        assert (asked.send.status, asked.exchange.outcome, asked.seconds) == (499, "client_disconnected", 5.0)
        await asyncio.sleep(60)
    assert len(vendor.requests) == 3 and stand.idle
    assert stand.retries.budget("a").spend()


async def test_breakers_are_remembered_between_requests() -> None:
    """D7, D8, D12: five failures, then the head of the chain is left alone until its time has come."""
    vendors = {"a": Vendor([OVERLOADED] * 5 + [whole("From a")]), "b": Vendor([whole("From b")])}
    stand = Stand(vendors, breaker=BreakerPolicy(jitter=0))
    for _ in range(20):
        assert b"From b" in (await stand.ask()).send.body
    assert len(vendors["a"].requests) == 5
    await asyncio.sleep(5)
    assert b"From a" in (await stand.ask()).send.body
    assert b"From a" in (await stand.ask()).send.body


async def test_a_fallback_that_fails_rests_as_well() -> None:
    """D8."""
    vendors = {"a": Vendor([OVERLOADED]), "b": Vendor([OVERLOADED])}
    stand = Stand(vendors, policy=RetryPolicy(attempts=1))
    for _ in range(5):
        await stand.ask()
    assert [view.state for view in stand.health.views()] == ["open", "open"]


async def test_when_all_are_down_the_answer_is_fast_and_says_when() -> None:
    """F170: one request a second tries nevertheless, the others get a 503 at once."""
    vendors = {"a": Vendor([OVERLOADED]), "b": Vendor([OVERLOADED])}
    stand = Stand(vendors, policy=RetryPolicy(attempts=1), breaker=BreakerPolicy(failures=1, jitter=0))
    await stand.ask()
    answers = [await stand.ask() for _ in range(10)]
    assert [asked.send.status for asked in answers] == [503] * 10
    assert {asked.seconds for asked in answers} == {0.0}
    assert all(int(asked.send.headers[b"retry-after"]) in range(1, 11) for asked in answers)
    assert sum(len(asked.tried) for asked in answers) == 1
    vendors["a"].answers = vendors["b"].answers = [whole("Back")]
    await asyncio.sleep(1)
    assert b"Back" in (await stand.ask()).send.body, "nothing has to be restarted"


async def test_half_open_admits_one_of_a_thousand_requests() -> None:
    """F171: concurrently, and the others are answered by the next target."""
    vendors = {"a": Vendor([OVERLOADED]), "b": Vendor([whole("From b")])}
    stand = Stand(vendors, breaker=BreakerPolicy(failures=1, jitter=0))
    await stand.ask()
    await asyncio.sleep(5)
    vendors["a"].answers = [whole("From a", after=1.0)]
    answers = await asyncio.gather(*(stand.ask() for _ in range(1000)))
    assert sum(b"From a" in asked.send.body for asked in answers) == 1
    assert len(vendors["a"].requests) == 2 and len(vendors["b"].requests) == 1000
    assert stand.idle
    assert b"From a" in (await stand.ask()).send.body


async def test_requests_that_wait_together_do_not_probe_together() -> None:
    """F171: what was well when the waiting began may rest by the time it is over."""
    vendor = Vendor([broken("transient")] * 10 + [whole(after=1.0)])
    stand = Stand({"a": vendor}, breaker=BreakerPolicy(failures=10, open_seconds=0.1, jitter=0))
    await asyncio.gather(*(stand.ask() for _ in range(10)), return_exceptions=True)
    assert len(vendor.requests) == 11, "of ten retries one was let in"
    assert stand.idle


async def test_a_model_that_is_missing_stays_missing() -> None:
    """D12: 404 the second time as well, without asking; not a 429."""
    vendor = Vendor([refusal(404, code="model_not_found")])
    stand = Stand({"a": vendor})
    first, second = await stand.ask(), await stand.ask()
    assert (first.send.status, second.send.status) == (404, 404)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    "last", [refusal(404, code="model_not_found"), refusal(401), refusal(429, code="insufficient_quota")], ids=str
)
async def test_the_failure_that_may_pass_is_told_and_not_that_of_a_badly_configured_target(last: Paced) -> None:
    """D11: a client that read 404 would not come back, though the model it asked for is only overloaded."""
    stand = Stand({"a": Vendor([OVERLOADED]), "b": Vendor([last])}, policy=RetryPolicy(attempts=1))
    asked = await stand.ask()
    assert (asked.send.status, len(asked.tried)) == (503, 2)
    assert asked.exchange.failure is not None and asked.exchange.failure.kind == "overloaded"


async def test_what_a_substitute_cannot_express_is_not_the_answer() -> None:
    """F177."""
    stand = Stand(
        {"a": Vendor([OVERLOADED]), "b": Vendor([whole()])},
        protocols={"b": "anthropic_messages"},
        policy=RetryPolicy(attempts=1),
    )
    asked = await stand.ask(body=chat_request(n=2))
    assert (asked.send.status, asked.tried) == (503, [("a", "overloaded"), ("b", "unsupported")])


async def test_the_clients_own_mistakes_are_told_as_they_are_and_count_for_nothing() -> None:
    """F138."""
    stand = Stand({"a": Vendor([refusal(422)])}, breaker=BreakerPolicy(failures=2))
    answers = [await stand.ask() for _ in range(5)]
    assert {asked.send.status for asked in answers} == {422}
    assert all(len(asked.tried) == 1 and b"x-should-retry" not in asked.send.headers for asked in answers)
    assert [view.state for view in stand.health.views()] == ["closed"]
