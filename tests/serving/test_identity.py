"""Who asks is learnt anew with each request, whatever the connection has carried before."""

from __future__ import annotations

import pytest

from tests.serving.conftest import KEY, OpenHouse
from tests.serving.raw import connect, request, until

pytestmark = pytest.mark.anyio


async def test_who_asked_first_on_a_connection_does_not_ask_for_the_next(house: OpenHouse) -> None:
    """F061: servers may run all requests of a connection in one context."""
    async with house([]) as running, connect(running.port) as client:
        for key, status in ((KEY, 200), (None, 401), ("wrong", 401), (KEY, 200), (None, 401)):
            client.send(request(b"", method="GET", path="/v1/models", key=key))
            assert (await client.answer()).status == status
        await until(lambda: len(running.log) == 5)
        assert [line["api_key"] for line in running.log] == ["team", None, None, "team", None]
