from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.redis_server import RedisServer, redis_server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that all tests share; whoever breaks one starts its own."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server
