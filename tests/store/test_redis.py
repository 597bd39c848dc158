"""What only Redis has: connections, scripts, keys, answers that are errors."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from asgi_llmgw.errors import ConfigError
from asgi_llmgw.store import stores
from asgi_llmgw.store.base import Claim, Denied, Limit, Reservation, StoreUnavailable
from asgi_llmgw.store.breaker import Breaker
from asgi_llmgw.store.guarded import GuardedStore
from asgi_llmgw.store.memory import MemoryStore
from asgi_llmgw.store.redis import RedisSideTable, RedisStore
from asgi_llmgw.store.redis_client import RedisClient, Script
from tests.servers import background
from tests.store.redis_server import RedisServer, free_port, redis_server
from tests.upstream.tls import make_self_signed

pytestmark = pytest.mark.anyio
SLOTS = Limit("key", "a", "slots", 10)
COST = Limit("tenant", "a", "cost", 100, "month")
MINUTE = Limit("model", "a", "tokens", 100, "minute")
EVERYTHING = (Claim(SLOTS, 1), Claim(COST, 1), Claim(MINUTE, 1))
SECRET = "hunter2-canary"


@asynccontextmanager
async def client_of(url: str, *, timeout: float = 5) -> AsyncIterator[RedisClient]:
    client = RedisClient(url, timeout=timeout)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def client(redis: RedisServer) -> AsyncIterator[RedisClient]:
    async with client_of(redis.url) as made:
        await made.execute("FLUSHALL")
        yield made


async def calls(client: RedisClient, command: str) -> int:
    """How often the server was sent a command."""
    found = await client.execute("INFO", "commandstats")
    assert isinstance(found, dict)
    stats = found.get(f"cmdstat_{command}", {"calls": 0})
    return int(stats["calls"])


async def test_each_operation_is_one_round_trip(client: RedisClient) -> None:
    store = RedisStore(client)
    first = await store.reserve(EVERYTHING, request_id="warm", lease=60)
    assert isinstance(first, Reservation)
    await store.renew([first], lease=60)
    await store.settle(first, {})
    await client.execute("CONFIG", "RESETSTAT")
    reservation = await store.reserve(EVERYTHING, request_id="1", lease=60)
    assert isinstance(reservation, Reservation)
    await store.renew([reservation], lease=60)
    await store.settle(reservation, {})
    assert await calls(client, "evalsha") == 3
    assert [await calls(client, name) for name in ("eval", "script|load", "ping", "hello", "client|setinfo")] == [0] * 5


async def test_every_key_ends_by_itself_and_none_holds_a_name(client: RedisClient) -> None:
    """D8, L1, F196: no counter, lease or record stays for ever; renewing and settling do not take the end away."""
    store = RedisStore(client, prefix="gw1:")
    tenant = Limit("tenant", "a:b\n{x}", "cost", 100, "day")
    for number in range(3):
        made = await store.reserve((*EVERYTHING, Claim(tenant, 1)), request_id=f"client-{number}", lease=60)
        assert isinstance(made, Reservation)
        await store.renew([made], lease=60)
        if number:
            await store.settle(made, {"cost": 5})
    await RedisSideTable(client, prefix="gw1:").put("team-a", "call_1", b"x", ttl=60)
    keys = await client.execute("KEYS", "*")
    assert isinstance(keys, list) and len(keys) == 3 + 4 + 3 + 1
    assert all(key.startswith(b"gw1:") and b"client" not in key and b"a:b" not in key for key in keys)
    assert sum(b"{llmgw}" in key for key in keys) == 10
    assert [key for key in keys if await client.execute("PTTL", key) == -1] == []


async def test_nothing_is_left_of_requests_that_are_over_but_their_counts(client: RedisClient) -> None:
    store = RedisStore(client)
    for number in range(5):
        made = await store.reserve(EVERYTHING, request_id=str(number), lease=60)
        assert isinstance(made, Reservation)
        await store.settle(made, {"cost": 2})
    leases = [key for key in await _keys(client) if b"}l:" in key]
    assert leases == []


async def test_the_fields_of_days_long_past_are_dropped(client: RedisClient) -> None:
    day = Limit("key", "a", "cost", 100, "day")
    now = 1_800_000_000.0
    store = RedisStore(client, clock=lambda: now)
    for number in range(30):
        made = await store.reserve([Claim(day, 10)], request_id=str(number), lease=60)
        assert isinstance(made, Reservation) and made.standings[0].remaining == 90
        await store.settle(made, {"cost": 10})
        now += 86_400
    (counter,) = [key for key in await _keys(client) if b"}c:" in key]
    assert await client.execute("HLEN", counter) in (3, 4, 5)


async def _keys(client: RedisClient) -> list[bytes]:
    keys = await client.execute("KEYS", "*")
    assert isinstance(keys, list)
    return keys


async def test_two_processes_count_together(redis: RedisServer, client: RedisClient) -> None:
    """L3"""
    async with client_of(redis.url) as other:
        one, two = RedisStore(client), RedisStore(other)
        asked = [store.reserve([Claim(SLOTS, 1)], request_id=f"{n}", lease=60) for n in range(20) for store in (one,)]
        asked += [two.reserve([Claim(SLOTS, 1)], request_id=f"two{n}", lease=60) for n in range(20)]
        results = await asyncio.gather(*asked)
    assert sum(isinstance(result, Reservation) for result in results) == 10


async def test_gateways_with_their_own_prefix_count_apart(client: RedisClient) -> None:
    for prefix in ("one:", "two:"):
        store = RedisStore(client, prefix=prefix)
        assert isinstance(await store.reserve([Claim(SLOTS, 10)], request_id="1", lease=60), Reservation)


async def test_the_server_s_clock_counts(client: RedisClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """F195: hosts whose clocks are wrong count the same minute."""
    here = time.time()
    times = []
    for skew in (-3600.0, 0.0, 3600.0):
        monkeypatch.setattr(time, "time", partial(float, here + skew))
        made = await RedisStore(client).reserve([Claim(MINUTE, 30)], request_id=str(skew), lease=60)
        assert isinstance(made, Reservation)
        times.append(made.time)
    assert max(times) - min(times) < 30 and abs(times[0] - here) < 30
    assert isinstance(await RedisStore(client).reserve([Claim(MINUTE, 30)], request_id="4", lease=60), Denied)


async def test_a_killed_worker_s_slots_come_back(redis: RedisServer, client: RedisClient) -> None:
    """F190, F204, L1: a hundred reservations of a process that ends without a word."""
    program = f"""
import asyncio, os, signal
from asgi_llmgw.store.base import Claim, Limit
from asgi_llmgw.store.redis import RedisStore
from asgi_llmgw.store.redis_client import RedisClient
async def main():
    store = RedisStore(RedisClient({redis.url!r}, timeout=5), clock=lambda: 1_800_000_000.0)
    for n in range(100):
        await store.reserve([Claim(Limit("key", "a", "slots", 100), 1)], request_id=str(n), lease=30)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    worker = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], capture_output=True)
    assert worker.returncode == -9
    hundred = Limit("key", "a", "slots", 100)
    before, after = (RedisStore(client, clock=partial(float, now)) for now in (1_800_000_029.0, 1_800_000_031.0))
    assert isinstance(await before.reserve([Claim(hundred, 1)], request_id="x", lease=30), Denied)
    made = await after.reserve([Claim(hundred, 100)], request_id="y", lease=30)
    assert isinstance(made, Reservation)


async def test_what_a_failover_loses_is_charged_all_the_same(client: RedisClient) -> None:
    """F194: the claims of running requests are gone, what they use counts; nothing becomes negative."""
    store = RedisStore(client)
    running = []
    for number in range(5):
        made = await store.reserve(
            [Claim(SLOTS, 1), Claim(COST, 10), Claim(MINUTE, 10)], request_id=str(number), lease=60
        )
        assert isinstance(made, Reservation)
        running.append(made)
    await client.execute("FLUSHALL")
    await store.renew(running, lease=60)
    for made in running * 2:
        await store.settle(made, {"cost": 3, "tokens": 4})
    found = await store.reserve([Claim(SLOTS, 0), Claim(COST, 0), Claim(MINUTE, 0)], request_id="look", lease=60)
    assert [standing.remaining for standing in found.standings] == [10, 100 - 15, 100 - 20]


async def test_scripts_that_the_server_has_lost_are_sent_once_more(client: RedisClient) -> None:
    """F186: NOSCRIPT."""
    store = RedisStore(client)
    await client.execute("SCRIPT", "FLUSH")
    await client.execute("CONFIG", "RESETSTAT")
    for number in range(5):
        assert isinstance(await store.reserve([Claim(SLOTS, 1)], request_id=str(number), lease=60), Reservation)
    assert (await calls(client, "eval"), await calls(client, "evalsha")) == (1, 5)


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(["--rename-command", "SCRIPT", ""], id="script_is_gone"),
        pytest.param(["--rename-command", "EVALSHA", ""], id="evalsha_is_gone"),
        pytest.param(["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-script", "-evalsha"], id="acl"),
    ],
)
async def test_eval_is_enough(tmp_path: Path, refused: list[str]) -> None:
    """M10: where scripts cannot be called by their digest, limits are shared all the same."""
    with redis_server(tmp_path, *refused) as server:
        async with client_of(server.url) as one, client_of(server.url) as two:
            for number, client in enumerate((one, two, one, two)):
                made = await RedisStore(client).reserve([Claim(SLOTS, 2)], request_id=str(number), lease=60)
                assert made.standings[0].remaining == 8 - 2 * number


async def test_without_eval_the_store_is_away_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """M10: never limits for each process alone without a word."""
    acl = ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-evalsha", "-eval"]
    with redis_server(tmp_path, *acl) as server:
        async with client_of(server.url) as client:
            guarded = GuardedStore(RedisStore(client))
            for number in range(5):
                await guarded.reserve([Claim(SLOTS, 1)], request_id=str(number), lease=60)
            assert not guarded.available
            assert "the shared store is away" in caplog.messages[0] and "NoPermissionError" in caplog.messages[0]
            await guarded.aclose()


async def answering(reply: bytes) -> asyncio.Server:
    """A server that is well, but says one thing to all that matters."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(65536):
            writer.write(b"+PONG\r\n" if b"PING" in asked else reply)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


REPLIES = [
    pytest.param(b"-READONLY You can't write against a read only replica.\r\n", "ReadOnlyError", id="READONLY"),
    pytest.param(b"-LOADING Redis is loading the dataset in memory\r\n", "BusyLoadingError", id="LOADING"),
    pytest.param(b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "OutOfMemoryError", id="OOM"),
    pytest.param(b"-MOVED 3999 127.0.0.1:6381\r\n", "MovedError", id="MOVED"),
    pytest.param(b"-ASK 3999 127.0.0.1:6381\r\n", "AskError", id="ASK"),
    pytest.param(b"-CLUSTERDOWN The cluster is down\r\n", "ClusterDownError", id="F187_CLUSTERDOWN"),
    pytest.param(b"-TRYAGAIN Multiple keys request\r\n", "TryAgainError", id="F187_TRYAGAIN"),
    pytest.param(b"-CROSSSLOT Keys in request don't hash\r\n", "ClusterCrossSlotError", id="F187_CROSSSLOT"),
    pytest.param(b"-MASTERDOWN Link with MASTER is down\r\n", "MasterDownError", id="F187_MASTERDOWN"),
    pytest.param(b"-WRONGTYPE Operation against a key\r\n", "WRONGTYPE", id="WRONGTYPE"),
    pytest.param(b"-BUSY Redis is busy running a script.\r\n", "BUSY", id="BUSY"),
    pytest.param(b"-MISCONF Redis is configured to save\r\n", "MISCONF", id="MISCONF"),
    pytest.param(b"-NOAUTH Authentication required.\r\n", "AuthenticationError", id="NOAUTH"),
    pytest.param(b"-NOREPLICAS Not enough good replicas to write.\r\n", "NOREPLICAS", id="NOREPLICAS"),
    pytest.param(b"-NOSCRIPT No matching script.\r\n", "NoScriptError", id="NOSCRIPT_for_ever"),
    pytest.param(b"-ERR unknown command 'EVALSHA'\r\n", "ResponseError", id="no_scripts_at_all"),
    pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "InvalidResponse", id="another_protocol"),
    pytest.param(b"+OK\r\n", "an unknown answer", id="a_text"),
    pytest.param(b"$-1\r\n", "an unknown answer", id="nothing"),
    pytest.param(b"*1\r\n:1\r\n", "an unknown answer", id="too_short"),
    pytest.param(b"*5\r\n:1\r\n:1\r\n:0\r\n:0\r\n$1\r\na\r\n", "an unknown answer", id="a_text_among_numbers"),
]


@pytest.mark.parametrize(("reply", "reason"), REPLIES)
async def test_an_error_of_the_server_s_is_a_failure_that_names_no_host(reply: bytes, reason: str) -> None:
    """F186, F187"""
    server = await answering(reply)
    port = server.sockets[0].getsockname()[1]
    async with server, client_of(f"redis://127.0.0.1:{port}") as client:
        store = RedisStore(client)
        with pytest.raises(StoreUnavailable, match=reason) as caught:
            await store.reserve([Claim(SLOTS, 1)], request_id="1", lease=60)
        made = Reservation("1", (Claim(SLOTS, 1),), (), 1.0)
        if not reply.startswith(b"*"):
            with pytest.raises(StoreUnavailable):
                await store.settle(made, {})
            with pytest.raises(StoreUnavailable):
                await store.renew([made], lease=60)
        assert str(port) not in repr(caught.value) and "127.0.0.1" not in repr(caught.value)
        assert caught.value.__cause__ is None and caught.value.__context__ is None
        if reply[:1] == b"-":
            assert await RedisSideTable(client).get("a", "b") is None


async def test_a_real_replica_and_a_full_server_are_failures(tmp_path: Path) -> None:
    """F186: a store that can be read alone is away."""
    with redis_server(tmp_path) as server:
        async with client_of(server.url) as client:
            store = RedisStore(client)
            await client.execute("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StoreUnavailable, match="OutOfMemoryError"):
                await store.reserve([Claim(SLOTS, 1)], request_id="1", lease=60)
            await client.execute("CONFIG", "SET", "maxmemory", "0")
            await client.execute("REPLICAOF", "127.0.0.1", str(free_port()))
            with pytest.raises(StoreUnavailable, match=r"ReadOnlyError|MasterDownError"):
                await store.reserve([Claim(SLOTS, 1)], request_id="1", lease=60)
            await client.execute("REPLICAOF", "NO", "ONE")
            made = await store.reserve([Claim(SLOTS, 10)], request_id="1", lease=60)
            assert isinstance(made, Reservation)


@pytest.mark.parametrize("broken", ["c", "l"])
async def test_a_key_of_another_type_takes_nothing_of_the_other_limits(client: RedisClient, broken: str) -> None:
    """F186, L2: WRONGTYPE in the middle of a script."""
    store = RedisStore(client)
    await store.reserve([Claim(COST, 1)], request_id="1", lease=60)
    (key,) = [key for key in await _keys(client) if f"}}{broken}:".encode() in key]
    await client.execute("SET", key, b"something else")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await store.reserve([Claim(SLOTS, 10), Claim(MINUTE, 100), Claim(COST, 1)], request_id="2", lease=60)
    made = await store.reserve([Claim(SLOTS, 10), Claim(MINUTE, 100)], request_id="3", lease=60)
    assert isinstance(made, Reservation)


async def test_a_cancelled_caller_s_reply_is_never_another_s(client: RedisClient) -> None:
    """F193: a storm of cancellations, at every moment of a call."""
    rolls = random.Random(193)
    wrong = []

    async def echo(number: int) -> None:
        if await client.execute("ECHO", str(number)) != str(number).encode():
            wrong.append(number)

    async def leave(task: asyncio.Task[None], steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()

    for start in range(0, 1000, 25):
        tasks = [asyncio.create_task(echo(number)) for number in range(start, start + 25)]
        leaving = [asyncio.create_task(leave(task, rolls.randrange(40))) for task in tasks if rolls.random() < 0.7]
        await asyncio.gather(*tasks, *leaving, return_exceptions=True)
    assert wrong == []
    await asyncio.gather(*(echo(number) for number in range(32)))
    assert wrong == []


async def test_a_cancelled_command_is_over_before_the_connections_close(redis: RedisServer) -> None:
    client = RedisClient(redis.url, timeout=5)
    task = asyncio.create_task(client.execute("SET", "cancelled", "yes"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.aclose()
    async with client_of(redis.url) as other:
        assert await other.execute("GET", "cancelled") == b"yes"


def test_each_event_loop_has_its_own_connections(redis: RedisServer) -> None:
    """F199"""
    client = RedisClient(redis.url, timeout=5)

    async def use() -> object:
        try:
            return await client.execute("ECHO", "here")
        finally:
            await client.aclose()

    assert [asyncio.run(use()) for _ in range(3)] == [b"here"] * 3


async def test_connections_of_another_loop_are_closed_there(redis: RedisServer) -> None:
    """F199: two servers in two threads share an app, and one of them closes it."""
    client = RedisClient(redis.url, timeout=5)

    async def use() -> object:
        return await client.execute("CLIENT", "SETNAME", "elsewhere")

    async with client_of(redis.url) as other:
        with background() as elsewhere:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(use(), elsewhere.loop))
            assert "elsewhere" in str(await other.execute("CLIENT", "LIST"))
            await client.aclose()
            async with asyncio.timeout(5):
                while "elsewhere" in str(await other.execute("CLIENT", "LIST")):
                    pass


@pytest.mark.parametrize("database", ["/0", "/3", ""])
async def test_a_password_opens_the_store_and_is_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, database: str
) -> None:
    with redis_server(tmp_path, "--requirepass", SECRET) as server:
        url = f"redis://:{SECRET}@127.0.0.1:{server.port}{database}"
        opened = stores.open_stores(url, timeout=5)
        assert isinstance(opened.limits, GuardedStore) and opened.side_table is not None
        assert isinstance(await opened.limits.reserve([Claim(SLOTS, 1)], request_id="1", lease=60), Reservation)
        await opened.side_table.put("a", "n", b"v", ttl=60)
        assert await opened.side_table.get("a", "n") == b"v"
        await opened.aclose()
        wrong = stores.open_stores(url.replace(SECRET, f"{SECRET}-wrong"), timeout=5)
        for number in range(6):
            await wrong.limits.reserve([Claim(SLOTS, 1)], request_id=str(number), lease=60)
        assert not wrong.available
        assert wrong.side_table is not None and await wrong.side_table.get("a", "n") is None
        await wrong.aclose()
    assert SECRET not in caplog.text + repr(opened) + repr(wrong) + repr(vars(opened.limits))


@pytest.mark.parametrize("url", [f"redis://:{SECRET}@h:x", f"mysql://{SECRET}", f"redis://h?db={SECRET}"])
def test_an_address_that_cannot_be_used_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisClient(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


async def test_a_socket_of_this_machine_will_do(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with redis_server(tmp_path, "--unixsocket", str(path)):
        async with client_of(f"unix://{path}") as client:
            made = await RedisStore(client).reserve([Claim(SLOTS, 1)], request_id="1", lease=60)
            assert isinstance(made, Reservation)


async def test_tls_is_checked(tmp_path: Path) -> None:
    signed = make_self_signed(tmp_path)
    key, port = tmp_path / "key.pem", free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", str(signed.certificate), "--tls-key-file", str(key)]
    with redis_server(tmp_path, *tls, "--tls-auth-clients", "no"):
        url = f"rediss://127.0.0.1:{port}/0"
        async with client_of(f"{url}?ssl_ca_certs={signed.certificate}") as trusting:
            assert await trusting.execute("ECHO", "sealed") == b"sealed"
        async with client_of(url) as careful:
            with pytest.raises(StoreUnavailable):
                await careful.execute("ECHO", "sealed")


def test_without_redis_py_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigError, match=r"pip install 'asgi-llmgw\[redis\]'"):
        stores.open_stores("redis://127.0.0.1")


async def test_memory_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    opened = stores.open_stores("memory://")
    assert isinstance(opened.limits, MemoryStore) and opened.side_table is None and opened.available
    heard: list[bool] = []
    opened.watch(heard.append)
    assert heard == [True]
    await opened.aclose()


async def test_the_side_table_keeps_what_it_is_given_for_its_owner_alone(client: RedisClient) -> None:
    table = RedisSideTable(client, max_bytes=100)
    await table.put("a:b", "c", b"one", ttl=60)
    await table.put("a", "b:c", b"two", ttl=60)
    assert [await table.get("a:b", "c"), await table.get("a", "b:c"), await table.get("a", "c")] == [
        b"one",
        b"two",
        None,
    ]
    await table.put("a", "b:c", b"new", ttl=60)
    assert await table.get("a", "b:c") == b"new"
    await table.put("a", "b:c", bytes(101), ttl=60)
    assert await table.get("a", "b:c") is None
    await table.put("\ud800", "n" * 1_000_000, b"odd", ttl=60)
    assert await table.get("\ud800", "n" * 1_000_000) == b"odd"


async def test_the_side_table_asks_nobody_while_the_server_is_away() -> None:
    breaker = Breaker()
    async with client_of(f"redis://127.0.0.1:{free_port()}") as client:
        table = RedisSideTable(client, breaker=breaker)
        for _ in range(5):
            assert breaker.available
            await table.put("a", "n", b"v", ttl=60)
        assert not breaker.available
        assert await table.get("a", "n") is None


def test_a_script_does_not_show_its_source() -> None:
    assert "redis.call" not in repr(Script.load("reserve"))
