"""Who made which response."""

from __future__ import annotations

import pytest

from asgi_llmgw.store.memory import MemorySideTable
from asgi_llmgw.store.responses import RESPONSES_TTL, ResponseOwner, ResponseOwners
from asgi_llmgw.testing import FakeClock

pytestmark = pytest.mark.anyio

OWNER = ResponseOwner("team-a", "openai", 1, "gpt-5", "smart", "smart")


async def test_an_owner_is_known_by_the_id_alone() -> None:
    owners = ResponseOwners(MemorySideTable())
    await owners.remember("resp_1", OWNER)
    assert await owners.find("resp_1") == OWNER
    assert await owners.find("resp_2") is None


async def test_an_owner_is_forgotten_when_the_vendor_has_forgotten_the_response() -> None:
    clock = FakeClock()
    owners = ResponseOwners(MemorySideTable(clock=clock))
    await owners.remember("resp_1", OWNER)
    clock.advance(RESPONSES_TTL - 1)
    assert await owners.find("resp_1") == OWNER
    clock.advance(1)
    assert await owners.find("resp_1") is None


async def test_the_state_of_clients_cannot_be_mistaken_for_an_owner() -> None:
    """Whatever a caller is called, what is remembered of turns stands elsewhere in the same table."""
    table = MemorySideTable()
    await table.put("responses", "resp_1", b"a turn", ttl=9)
    assert await ResponseOwners(table).find("resp_1") is None
