from __future__ import annotations

import pytest

from asgi_llmgw.store.memory import MemorySideTable

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_what_was_put_is_there_for_its_owner_alone() -> None:
    table = MemorySideTable()
    await table.put("team-a", "call_1", b"state", ttl=10)
    assert await table.get("team-a", "call_1") == b"state"
    assert await table.get("team-b", "call_1") is None
    assert await table.get("team-a", "call_2") is None


async def test_a_value_ends_with_its_time() -> None:
    clock = Clock()
    table = MemorySideTable(clock=clock)
    await table.put("a", "n", b"v", ttl=10)
    clock.now = 9.9
    assert await table.get("a", "n") == b"v"
    clock.now = 10
    assert await table.get("a", "n") is None
    assert len(table) == 0


async def test_a_newer_value_replaces_the_older() -> None:
    table = MemorySideTable(max_entries=1)
    await table.put("a", "n", b"old", ttl=10)
    await table.put("a", "n", b"new", ttl=10)
    assert await table.get("a", "n") == b"new" and len(table) == 1


async def test_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    table = MemorySideTable(max_entries=2)
    for name in ("first", "second"):
        await table.put("a", name, b"v", ttl=10)
    await table.get("a", "first")
    await table.put("a", "third", b"v", ttl=10)
    assert [await table.get("a", name) for name in ("first", "second", "third")] == [b"v", None, b"v"]


async def test_memory_is_bounded() -> None:
    table = MemorySideTable(max_bytes=10_000)
    for number in range(100):
        await table.put("a", str(number), bytes(1000), ttl=10)
    assert 1 < len(table) < 10
    assert await table.get("a", "99") is not None
    await table.put("a", "99", bytes(20_000), ttl=10)
    assert await table.get("a", "99") is None
