"""Who made which response."""

from __future__ import annotations

import pytest

from asgi_llmgw.store.memory import MemorySideTable
from asgi_llmgw.store.responses import RESPONSES_TTL, ResponseOwner, ResponseOwners
from asgi_llmgw.testing import FakeClock

pytestmark = pytest.mark.anyio

OWNER = ResponseOwner("team-a", "openai", 1, "gpt-5", "smart", "smart")
KEYS = {"openai": ("first", "second")}


async def test_an_owner_is_known_by_the_id_alone() -> None:
    owners = ResponseOwners(MemorySideTable(), keys=KEYS)
    await owners.remember("resp_1", OWNER)
    assert await owners.find("resp_1") == OWNER
    assert await owners.find("resp_2") is None


async def test_an_owner_is_forgotten_when_the_vendor_has_forgotten_the_response() -> None:
    clock = FakeClock()
    owners = ResponseOwners(MemorySideTable(clock=clock), keys=KEYS)
    await owners.remember("resp_1", OWNER)
    clock.advance(RESPONSES_TTL - 1)
    assert await owners.find("resp_1") == OWNER
    clock.advance(1)
    assert await owners.find("resp_1") is None


@pytest.mark.parametrize(
    ("keys", "credential"),
    [(("second", "first"), 0), (("other", "first", "second"), 2), (("first",), None), ((), None)],
)
async def test_a_key_is_known_again_wherever_it_stands_now(keys: tuple[str, ...], credential: int | None) -> None:
    """A response lies in the account of the key it was made with, and configurations change."""
    table = MemorySideTable()
    await ResponseOwners(table, keys=KEYS).remember("resp_1", OWNER)
    found = await ResponseOwners(table, keys={"openai": keys}).find("resp_1")
    assert found is not None and found.credential == credential
    kept = await table.get("\0responses", "resp_1")
    assert kept is not None and b"second" not in kept


async def test_what_another_version_has_written_is_not_known() -> None:
    table = MemorySideTable()
    await table.put("\0responses", "resp_1", b"\x93\x01\x02\x03", ttl=9)
    assert await ResponseOwners(table).find("resp_1") is None


async def test_the_state_of_clients_cannot_be_mistaken_for_an_owner() -> None:
    """Whatever a caller is called, what is remembered of turns stands elsewhere in the same table."""
    table = MemorySideTable()
    await table.put("responses", "resp_1", b"a turn", ttl=9)
    assert await ResponseOwners(table).find("resp_1") is None
