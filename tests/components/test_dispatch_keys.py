"""Several keys of one provider, as its vendor and the client see them, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from asgi_llmgw.exchange import Target
from asgi_llmgw.json import as_object
from asgi_llmgw.routing.health import CREDENTIAL_BENCH
from tests.dispatching import OVERLOADED, Paced, Stand, Vendor, refusal, whole
from tests.virtual_time import BACKEND

pytestmark = pytest.mark.anyio

REFUSED = refusal(401, code="invalid_api_key")
FORBIDDEN = refusal(403)
NO_MONEY = refusal(429, code="insufficient_quota")


@pytest.fixture
def anyio_backend() -> object:
    return BACKEND


async def test_keys_take_turns() -> None:
    vendor = Vendor([whole()])
    stand = Stand({"a": vendor}, keys={"a": 3})
    for _ in range(6):
        await stand.ask()
    assert vendor.keys == ["0", "1", "2", "0", "1", "2"]


@pytest.mark.parametrize("answer", [REFUSED, FORBIDDEN, NO_MONEY], ids=["D11_401", "D11_403", "D11_quota"])
async def test_a_refused_key_is_benched_and_its_siblings_carry_on(answer: Paced) -> None:
    """F173, D11: the client that met it gets its answer at once, the others never hear of it."""
    vendor = Vendor([whole()], by_key={"0": answer})
    stand = Stand({"a": vendor}, keys={"a": 3})
    answers = [await stand.ask() for _ in range(20)]
    assert {asked.send.status for asked in answers} == {200} and {asked.seconds for asked in answers} == {0.0}
    assert Counter(vendor.keys)["0"] == 1 and min(Counter(vendor.keys)[key] for key in "12") >= 9
    states = {view.key.credential: view.state for view in stand.health.views()}
    assert states == {0: "benched", 1: "closed", 2: "closed"}, "no breaker has counted it"


async def test_a_benched_key_is_tried_again_after_five_minutes() -> None:
    """F173: and nothing was restarted."""
    vendor = Vendor([whole()], by_key={"0": REFUSED})
    stand = Stand({"a": vendor}, keys={"a": 2})
    await stand.ask()
    vendor.by_key = {}
    await asyncio.sleep(CREDENTIAL_BENCH - 1)
    for _ in range(4):
        await stand.ask()
    assert Counter(vendor.keys)["0"] == 1
    await asyncio.sleep(2)
    for _ in range(4):
        await stand.ask()
    assert Counter(vendor.keys)["0"] == 3


async def test_a_429_cools_the_key_for_as_long_as_it_says() -> None:
    """D11: with a little waiting, unlike a key that is refused."""
    vendor = Vendor([whole()], by_key={"0": refusal(429, retry_after="30")})
    stand = Stand({"a": vendor}, keys={"a": 2})
    first = await stand.ask()
    assert first.send.status == 200 and 0 < first.seconds <= 0.25
    assert first.tried == [("a", "rate_limit"), ("a", None)]
    for _ in range(6):
        await stand.ask()
    assert Counter(vendor.keys)["0"] == 1
    await asyncio.sleep(30)
    vendor.by_key = {}
    for _ in range(2):
        await stand.ask()
    assert Counter(vendor.keys)["0"] == 2


async def test_a_429_for_one_model_says_nothing_about_the_other() -> None:
    vendor = Vendor([refusal(429, retry_after="30"), whole()])
    stand = Stand({"a": vendor})
    await stand.ask(stand.exchange(targets=[Target("a", "big")]))
    asked = await stand.ask(stand.exchange(targets=[Target("a", "small")]))
    assert asked.send.status == 200


async def test_when_every_key_is_refused_it_is_a_bad_gateway_and_never_401() -> None:
    """D11: the client's own key is good, at the first request and at those that ask nobody any more."""
    vendor = Vendor([REFUSED])
    stand = Stand({"a": vendor}, keys={"a": 2})
    answers = [await stand.ask() for _ in range(3)]
    assert [asked.send.status for asked in answers] == [502, 502, 502]
    assert len(vendor.requests) == 2
    assert as_object(as_object(answers[2].send.json)["error"])["code"] == "no_usable_credential"
    assert all(asked.send.headers[b"x-should-retry"] == b"false" for asked in answers)


async def test_no_key_is_told_to_anybody() -> None:
    stand = Stand({"a": Vendor([REFUSED])}, keys={"a": 2})
    asked = await stand.ask()
    told = asked.send.body + repr(asked.exchange).encode() + repr(list(stand.health.views())).encode()
    assert b"key-0" not in told and b"key-1" not in told
    assert [tried.credential for tried in asked.attempts] == [0, 1]


async def test_a_session_keeps_its_key() -> None:
    """C14: an agent's long prompt is kept warm in one account."""
    vendor = Vendor([whole()])
    stand = Stand({"a": vendor}, keys={"a": 5})
    homes = {}
    for session in ("one", "two", "three", "four", "five", "six"):
        before = len(vendor.requests)
        for _ in range(4):
            exchange = stand.exchange()
            exchange.session = session
            await stand.ask(exchange)
        assert len(set(vendor.keys[before:])) == 1
        homes[session] = vendor.keys[-1]
    assert len(set(homes.values())) > 1


async def test_a_session_comes_back_to_its_key() -> None:
    """C14: as soon as that has cooled down."""
    vendor = Vendor([whole()])
    stand = Stand({"a": vendor}, keys={"a": 3})

    async def ask() -> str:
        exchange = stand.exchange()
        exchange.session = "one"
        await stand.ask(exchange)
        return vendor.keys[-1]

    home = await ask()
    vendor.by_key = {home: refusal(429, retry_after="10")}
    away = await ask()
    vendor.by_key = {}
    assert await ask() == away != home
    await asyncio.sleep(10)
    assert await ask() == home


async def test_a_pinned_request_uses_no_other_key() -> None:
    """What is stored in one account is not found with the key of another."""
    vendor = Vendor([OVERLOADED, whole()])
    stand = Stand({"a": vendor}, keys={"a": 4})
    for _ in range(3):
        await stand.ask(stand.exchange(targets=[Target("a", "m", credential=2)]))
    assert set(vendor.keys) == {"2"}
