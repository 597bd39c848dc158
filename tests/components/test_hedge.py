"""Two attempts side by side, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from asgi_llmgw.errors import UpstreamError
from asgi_llmgw.exchange import SCOPE_KEY, Hedge, Target
from asgi_llmgw.json import dumps
from asgi_llmgw.routing.health import BreakerPolicy
from asgi_llmgw.routing.retry import RetryPolicy
from asgi_llmgw.testing import SSE_HEADERS, RecordingSend, ScriptedReceive, http_scope
from tests.dispatching import OVERLOADED, Asked, Paced, Stand, Vendor, refusal, stream, whole
from tests.samples import CHAT_ROLE, chat_request
from tests.virtual_time import BACKEND

pytestmark = pytest.mark.anyio

HEDGE = Hedge(after=8.0, share=0.5)


@pytest.fixture
def anyio_backend() -> object:
    return BACKEND


async def ask(stand: Stand, *, receive: ScriptedReceive | None = None, streams: bool = True) -> Asked:
    """A hedged request; whatever happens, nothing is left of it."""
    before = asyncio.all_tasks()
    asked = await stand.ask(stand.exchange(hedge=HEDGE), receive=receive, stream=streams)
    assert asyncio.all_tasks() == before
    assert asked.exchange.attempts == len(asked.tried)
    assert stand.idle
    return asked


async def test_a_quick_first_attempt_has_nobody_beside_it() -> None:
    """F178: off unless the first one is slow."""
    stand = Stand({"a": Vendor([stream("From a", first=7.0)]), "b": Vendor([stream("From b")])})
    asked = await ask(stand)
    assert b"From a" in asked.send.body and asked.tried == [("a", None)]


async def test_a_long_answer_that_has_begun_in_time_has_nobody_beside_it() -> None:
    """F178: the second attempt is for a first one that has said nothing yet."""
    stand = Stand({"a": Vendor([stream("From a", first=7.0, between=10.0)]), "b": Vendor([stream("From b")])})
    asked = await ask(stand)
    assert b"From a" in asked.send.body and asked.tried == [("a", None)]


async def test_the_second_attempt_wins() -> None:
    """F178: after eight seconds; the first one is cancelled and written down as lost."""
    vendors = {"a": Vendor([stream("From a", first=60.0)]), "b": Vendor([stream("From b", first=1.0)])}
    stand = Stand(vendors)
    asked = await ask(stand)
    assert b"From b" in asked.send.body and b"From a" not in asked.send.body and b'"error"' not in asked.send.body
    assert sorted(asked.tried, key=str) == [("a", "lost"), ("b", None)]
    assert (vendors["b"].times, asked.seconds) == ([8.0], 9.0)
    exchange = asked.exchange
    assert (exchange.provider, exchange.upstream_model, exchange.outcome) == ("b", "m", None)
    assert exchange.first_token == 9.0


async def test_the_record_is_the_winners_before_the_client_sees_anything() -> None:
    """What stands above notes whose answer it passes on."""
    vendors = {"a": Vendor([stream("From a", first=60.0)]), "b": Vendor([stream("From b", first=1.0)])}
    stand = Stand(vendors)
    exchange = stand.exchange(hedge=HEDGE)
    seen: list[object] = []
    send = RecordingSend(lambda chunk: seen.append((exchange.provider, exchange.upstream_protocol)))
    scope = {**http_scope(), SCOPE_KEY: exchange}
    await stand.app(scope, ScriptedReceive(dumps(chat_request(stream=True))), send)
    assert set(seen) == {("b", "openai_chat")}


async def test_the_first_attempt_wins_all_the_same() -> None:
    """F178."""
    vendors = {"a": Vendor([stream("From a", first=9.0)]), "b": Vendor([stream("From b", first=5.0)])}
    stand = Stand(vendors)
    asked = await ask(stand)
    assert b"From a" in asked.send.body and b"From b" not in asked.send.body
    assert sorted(asked.tried, key=str) == [("a", None), ("b", "lost")]
    assert asked.exchange.provider == "a"


async def test_of_two_whole_answers_the_first_counts() -> None:
    stand = Stand({"a": Vendor([whole("From a", after=60)]), "b": Vendor([whole("From b", after=2)])})
    asked = await ask(stand, streams=False)
    assert b"From b" in asked.send.body and asked.seconds == 10.0


async def test_content_at_the_same_moment_reaches_the_client_once() -> None:
    stand = Stand({"a": Vendor([stream("Yes", first=10.0)]), "b": Vendor([stream("Yes", first=2.0)])})
    asked = await ask(stand)
    assert asked.send.body.count(b"Yes") == 1 and asked.send.body.count(b"[DONE]") == 1
    assert sorted(str(failure) for _, failure in asked.tried) == ["None", "lost"]


async def test_a_first_attempt_that_fails_leaves_it_to_the_second() -> None:
    broken = Paced([CHAT_ROLE, 10.0, UpstreamError("x", failure="transient")], headers=SSE_HEADERS)
    stand = Stand({"a": Vendor([broken]), "b": Vendor([stream("From b", first=20.0)])})
    asked = await ask(stand)
    assert b"From b" in asked.send.body
    assert asked.tried == [("a", "transient"), ("b", None)]
    assert stand.health.lane(Target("a", "m"), 0).failures_in_a_row == 1


async def test_a_second_attempt_that_fails_leaves_it_to_the_first() -> None:
    stand = Stand({"a": Vendor([stream("From a", first=20.0)]), "b": Vendor([OVERLOADED])})
    asked = await ask(stand)
    assert b"From a" in asked.send.body
    assert sorted(asked.tried, key=str) == [("a", None), ("b", "overloaded")]


async def test_when_both_fail_the_chain_goes_on() -> None:
    """F178, D1."""
    slow = refusal(503, after=10.0)
    vendors = {"a": Vendor([slow]), "b": Vendor([refusal(503, after=1.0)]), "c": Vendor([stream("From c")])}
    stand = Stand(vendors)
    asked = await ask(stand)
    assert b"From c" in asked.send.body
    assert [name for name, _ in asked.tried] == ["b", "a", "c"]


async def test_when_all_fail_the_last_failure_is_told() -> None:
    vendors = {"a": Vendor([refusal(503, after=10.0)]), "b": Vendor([refusal(500, after=1.0)])}
    stand = Stand(vendors, policy=RetryPolicy(attempts=1))
    asked = await ask(stand)
    assert asked.send.status == 503 and len(asked.tried) == 2
    assert asked.exchange.outcome == "upstream_error"


async def test_a_first_attempt_that_fails_early_is_followed_at_once() -> None:
    vendors = {"a": Vendor([refusal(503, after=1.0)]), "b": Vendor([stream("From b")])}
    stand = Stand(vendors)
    asked = await ask(stand)
    assert b"From b" in asked.send.body and asked.seconds == 1.0


async def test_a_refused_request_is_told_and_the_other_attempt_given_up() -> None:
    """F138: the request is at fault, whoever says so first."""
    vendors = {"a": Vendor([stream("From a", first=60.0)]), "b": Vendor([refusal(422)])}
    stand = Stand(vendors)
    asked = await ask(stand)
    assert (asked.send.status, asked.seconds) == (422, 8.0)
    assert sorted(asked.tried, key=str) == [("a", "lost"), ("b", "caller_fault")]


@pytest.mark.parametrize("seconds", [3.0, 12.0], ids=["alone", "with_two_under_way"])
async def test_a_client_that_leaves_ends_all_of_it(seconds: float) -> None:
    """F178, F113: nothing is bought for nobody."""
    vendors = {"a": Vendor([stream("From a", first=60.0)]), "b": Vendor([stream("From b", first=60.0)])}
    stand = Stand(vendors)
    receive = ScriptedReceive(dumps(chat_request(stream=True)))
    asyncio.get_running_loop().call_later(seconds, receive.disconnect)
    asked = await ask(stand, receive=receive)
    assert (asked.send.status, asked.exchange.outcome, asked.seconds) == (499, "client_disconnected", seconds)
    assert len(vendors["b"].requests) == (1 if seconds > 8 else 0)


async def test_a_client_that_leaves_in_the_middle_of_the_answer_ends_it() -> None:
    vendors = {"a": Vendor([stream("a", first=60.0)]), "b": Vendor([stream("b", "b", "b", first=1.0, between=10.0)])}
    stand = Stand(vendors)
    receive = ScriptedReceive(dumps(chat_request(stream=True)))
    asyncio.get_running_loop().call_later(15, receive.disconnect)
    asked = await ask(stand, receive=receive)
    assert asked.exchange.outcome == "client_disconnected" and asked.seconds == 15.0


async def test_a_request_that_is_cancelled_has_a_record_of_what_it_used() -> None:
    """Some servers cancel what nobody reads any more."""
    vendors = {"a": Vendor([stream("a", first=60.0)]), "b": Vendor([stream("12", "345", first=1.0, between=10.0)])}
    stand = Stand(vendors)
    exchange = stand.exchange(hedge=HEDGE)
    task = asyncio.create_task(stand.ask(exchange, stream=True))
    await asyncio.sleep(25)
    task.cancel()
    await asyncio.wait([task])
    assert (exchange.provider, exchange.text_length, exchange.first_token) == ("b", 5, 9.0)
    assert stand.idle


async def test_a_cap_holds_what_it_costs() -> None:
    """F178: at most 5 % more, and one to begin with."""
    vendors = {"a": Vendor([whole("From a", after=20)]), "b": Vendor([whole("From b", after=1)])}
    stand = Stand(vendors)
    for _ in range(200):
        await stand.ask(stand.exchange(hedge=Hedge(after=8.0, share=0.05)))
    assert len(vendors["a"].requests) == 200
    assert 10 <= len(vendors["b"].requests) <= 11


async def test_each_model_has_its_own_cap() -> None:
    vendors = {"a": Vendor([whole("From a", after=20)]), "b": Vendor([whole("From b", after=1)])}
    stand = Stand(vendors)
    for route in ("smart", "smart", "fast", "fast"):
        exchange = stand.exchange(hedge=Hedge(after=8.0, share=0.05))
        exchange.route = route
        await stand.ask(exchange)
    assert len(vendors["b"].requests) == 2


async def test_another_key_will_do_where_there_is_no_other_target() -> None:
    vendor = Vendor([stream("From 1")], by_key={"0": stream("From 0", first=60.0)})
    stand = Stand({"a": vendor}, keys={"a": 2})
    asked = await ask(stand)
    assert b"From 1" in asked.send.body and vendor.keys == ["0", "1"]
    assert {tried.credential: tried.failure for tried in asked.attempts} == {0: "lost", 1: None}


async def test_where_there_is_nobody_else_the_first_is_waited_for() -> None:
    stand = Stand({"a": Vendor([stream("From a", first=20.0)])})
    asked = await ask(stand)
    assert b"From a" in asked.send.body and asked.tried == [("a", None)]


async def test_losing_is_no_failure_of_the_vendors() -> None:
    """F178: the breaker does not count it, nor does a probe that lost keep the next one out."""
    vendors = {"a": Vendor([stream("From a", first=60.0)]), "b": Vendor([stream("From b")])}
    stand = Stand(vendors, breaker=BreakerPolicy(failures=1))
    for _ in range(5):
        await ask(stand)
    assert [view.state for view in stand.health.views()] == ["closed", "closed"]


async def test_a_hundred_hedged_requests_probe_once() -> None:
    """F171: although each begins in a task of its own."""
    vendors = {"a": Vendor([OVERLOADED]), "b": Vendor([whole("From b")])}
    stand = Stand(vendors, breaker=BreakerPolicy(failures=1, jitter=0))
    await ask(stand)
    await asyncio.sleep(5)
    vendors["a"].answers = [whole("From a", after=1.0)]
    answers = await asyncio.gather(*(stand.ask(stand.exchange(hedge=HEDGE)) for _ in range(100)))
    assert sum(b"From a" in asked.send.body for asked in answers) == 1
    assert {asked.send.status for asked in answers} == {200}
    assert len(vendors["a"].requests) == 2 and stand.idle


async def test_the_usage_of_the_loser_is_not_the_winners() -> None:
    """F178: each attempt has an account of its own."""
    vendors = {"a": Vendor([stream("From a", first=60.0)]), "b": Vendor([whole("From b")])}
    stand = Stand(vendors)
    asked = await ask(stand, streams=False)
    usages = {tried.provider: tried.usage for tried in asked.attempts}
    assert usages["a"] is None
    assert usages["b"] is asked.exchange.usage and usages["b"] is not None
