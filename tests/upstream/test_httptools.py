"""What the transport on httptools promises beyond the contract of all, on the loops of asyncio and of uvloop."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from ssl import create_default_context
from typing import get_args

import pytest

from asgi_llmgw.errors import ConfigError, UpstreamError
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.upstream import http1, httptools, pools
from asgi_llmgw.upstream.base import UpstreamRequest
from asgi_llmgw.upstream.httptools import HttptoolsUpstream
from tests.cancelling import How, run
from tests.faultup import CHUNKED, OK, Act, FaultServer, Step, chunk, fault_server, response
from tests.upstream.tls import SelfSigned

HOLD: list[Step] = [CHUNKED + chunk(b"data: 1\n\n"), Act.STALL]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def upstream() -> AsyncIterator[HttptoolsUpstream]:
    made = HttptoolsUpstream()
    yield made
    await made.aclose()


async def ask(upstream: HttptoolsUpstream, url: str, *, timeouts: Timeouts = Timeouts()) -> bytes:
    async with upstream.open(UpstreamRequest(url=url, body=b"{}", timeouts=timeouts)) as answer:
        return await answer.aread(limit=1000)


async def gone(server: FaultServer, count: int = 1) -> None:
    """Wait until this many connections have ended."""
    async with asyncio.timeout(5):
        await server.connections_ended(count)


@pytest.mark.anyio
@pytest.mark.parametrize("first", ["refuses", "is silent"])
async def test_another_address_of_a_host_is_tried(
    upstream: HttptoolsUpstream, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8305: one that refuses at once, and one that takes no connection and says nothing."""
    async with fault_server([OK]) as server:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
            silent = listening.getsockname()[1]
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", silent))
            ports = (1 if first == "refuses" else silent, int(server.url.rpartition(":")[2]))

            async def addresses(*_: object, **__: object) -> list[object]:
                kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
                return [(*kind, ("127.0.0.1", port)) for port in ports]

            monkeypatch.setattr(httptools, "addresses_of", addresses)
            assert await ask(upstream, "http://vendor.example/v1") == b"{}"
            for filler in fillers:
                filler.close()


@pytest.mark.anyio
@pytest.mark.parametrize("end", [Act.CLOSE, Act.RESET])
async def test_a_kept_connection_that_the_vendor_just_closed_costs_one_more_try(
    upstream: HttptoolsUpstream, end: Act
) -> None:
    """F135."""
    async with fault_server([OK], [end], [OK]) as server:
        assert await ask(upstream, server.url) == b"{}"
        assert await ask(upstream, server.url) == b"{}"
        assert (len(server.requests), server.connections) == (3, 2)


@pytest.mark.anyio
async def test_the_second_try_is_on_a_new_connection(upstream: HttptoolsUpstream) -> None:
    """F135: where one kept connection is closed, the others may be."""
    go_on = asyncio.Event()
    async with fault_server([go_on, OK], [OK], [Act.CLOSE], [OK]) as server:
        first = asyncio.create_task(ask(upstream, server.url))
        await server.requests_seen(1)
        await ask(upstream, server.url)
        go_on.set()
        await first
        assert await ask(upstream, server.url) == b"{}"
        assert (len(server.requests), server.connections) == (4, 3)


@pytest.mark.anyio
async def test_it_is_one_more_try_and_no_more(upstream: HttptoolsUpstream) -> None:
    """F135."""
    async with fault_server([OK], [Act.CLOSE]) as server:
        await ask(upstream, server.url)
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, server.url)
        assert caught.value.failure == "unreachable"
        assert len(server.requests) == 3


@pytest.mark.anyio
@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\nserver: x\r\n", b"\r\n"])
async def test_a_call_is_not_made_again_once_its_answer_has_begun(upstream: HttptoolsUpstream, begun: bytes) -> None:
    """F135."""
    async with fault_server([OK], [begun, Act.CLOSE], [OK]) as server:
        await ask(upstream, server.url)
        with pytest.raises(UpstreamError):
            await ask(upstream, server.url)
        assert len(server.requests) == 2


@pytest.mark.anyio
async def test_a_call_that_ran_out_of_time_is_not_made_again(upstream: HttptoolsUpstream) -> None:
    """F135."""
    async with fault_server([OK], [Act.STALL]) as server:
        await ask(upstream, server.url)
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, server.url, timeouts=Timeouts(first_byte_whole=0.05))
        assert caught.value.failure == "timeout"
        assert len(server.requests) == 2


@pytest.mark.anyio
async def test_the_connection_used_last_is_used_next(upstream: HttptoolsUpstream) -> None:
    """So that those too many become idle and are closed."""
    arrived, go_on, counter = asyncio.Event(), asyncio.Event(), itertools.count(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(counter)
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n{}")
            if number == 1:
                arrived.set()
                await go_on.wait()
            writer.write(response(b"%d" % number))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        first = asyncio.create_task(ask(upstream, url))
        await arrived.wait()
        assert await ask(upstream, url) == b"2"
        go_on.set()
        assert await first == b"1"
        assert [await ask(upstream, url) for _ in range(3)] == [b"1"] * 3
        await upstream.aclose()


@pytest.mark.anyio
async def test_a_connection_nobody_uses_is_closed(upstream: HttptoolsUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "KEEP_ALIVE", 0.05)
    async with fault_server([OK]) as server:
        await ask(upstream, server.url)
        await gone(server)


@pytest.mark.anyio
async def test_a_call_may_take_longer_than_a_connection_is_kept(
    upstream: HttptoolsUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "KEEP_ALIVE", 0.01)
    go_on = asyncio.Event()
    async with fault_server([go_on, OK]) as server:
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        assert await ask(upstream, server.url) == b"{}"


@pytest.mark.anyio
async def test_a_call_too_many_waits_a_little_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "POOL_WAIT", 0.05)
    upstream = HttptoolsUpstream(limit=1)
    async with fault_server(HOLD, [OK]) as server:
        async with upstream.open(UpstreamRequest(url=server.url, stream=True)):
            with pytest.raises(UpstreamError) as caught:
                await ask(upstream, server.url)
            assert (caught.value.failure, caught.value.kind) == ("overloaded", "overloaded")
        assert await ask(upstream, server.url) == b"{}"
        await upstream.aclose()


@pytest.mark.anyio
async def test_waiting_calls_that_are_cancelled_take_no_slot() -> None:
    """F124."""
    upstream = HttptoolsUpstream(limit=1)
    async with fault_server(HOLD, [OK]) as server:
        async with upstream.open(UpstreamRequest(url=server.url, stream=True)):
            waiting = [asyncio.create_task(ask(upstream, server.url)) for _ in range(20)]
            await asyncio.sleep(0)
            for call in waiting:
                call.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        assert await ask(upstream, server.url) == b"{}"
        await upstream.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("secure", [False, True])
async def test_a_call_may_be_cancelled_at_any_moment(secure: bool, self_signed: SelfSigned) -> None:
    """F124: with one slot for all calls, one that is lost would be missed at once; nor is a connection lost."""
    upstream = HttptoolsUpstream(limit=1, ssl=create_default_context(cafile=self_signed.certificate))
    async with fault_server([OK], tls=self_signed.server if secure else None) as server:
        for moment in range(40):
            call = asyncio.create_task(ask(upstream, server.url))
            for _ in range(moment):
                await asyncio.sleep(0)
            call.cancel()
            assert (await asyncio.gather(call, return_exceptions=True))[0] == b"{}" or call.cancelled()
            async with asyncio.timeout(1):
                assert await ask(upstream, server.url) == b"{}"
            # so that the next one makes a connection of its own
            await upstream.aclose()
        await gone(server, server.connections)


@pytest.mark.anyio
@pytest.mark.parametrize("how", get_args(How))
async def test_a_call_may_be_cancelled_at_any_await(how: How) -> None:
    """F124: while a connection is made, on a new one, and on one that was kept."""
    upstream = HttptoolsUpstream(limit=1)
    async with fault_server([OK], [CHUNKED, chunk(b"{}"), chunk(b"")]) as server:

        async def scenario() -> None:
            for _ in range(2):
                await ask(upstream, server.url)
            await upstream.aclose()

        awaits = await run(scenario, at=0, how=how)
        assert awaits >= 5
        for at in range(1, awaits + 1):
            await run(scenario, at=at, how=how)
            async with asyncio.timeout(1):
                assert await ask(upstream, server.url) == b"{}"
        await upstream.aclose()
        await gone(server, server.connections)


@pytest.mark.anyio
async def test_many_first_calls_share_one_pool() -> None:
    """F197."""
    upstream = HttptoolsUpstream(limit=200)
    async with fault_server([OK]) as server:
        answers = await asyncio.gather(*(ask(upstream, server.url) for _ in range(300)))
        assert answers == [b"{}"] * 300
        assert server.connections <= 200
        await upstream.aclose()
        await gone(server, server.connections)


@pytest.mark.anyio
async def test_a_call_that_ends_after_the_pool_was_closed_leaves_nothing_open(upstream: HttptoolsUpstream) -> None:
    go_on = asyncio.Event()
    async with fault_server([go_on, OK]) as server:
        call = asyncio.create_task(ask(upstream, server.url))
        await server.requests_seen(1)
        await upstream.aclose()
        go_on.set()
        assert await call == b"{}"
        await gone(server)


@pytest.mark.anyio
async def test_a_private_authority_can_be_trusted(self_signed: SelfSigned) -> None:
    """F093."""
    upstream = HttptoolsUpstream(ssl=create_default_context(cafile=self_signed.certificate))
    async with fault_server([OK], tls=self_signed.server) as server:
        assert [await ask(upstream, server.url) for _ in range(2)] == [b"{}"] * 2
        assert server.connections == 1
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, server.url.replace("127.0.0.1", "localhost"))
        assert caught.value.failure == "unreachable"
        await upstream.aclose()


@pytest.mark.anyio
async def test_tls_connections_are_closed_at_once_too(self_signed: SelfSigned) -> None:
    """F109."""
    upstream = HttptoolsUpstream(ssl=create_default_context(cafile=self_signed.certificate))
    async with fault_server(HOLD, tls=self_signed.server) as server:
        async with upstream.open(UpstreamRequest(url=server.url, stream=True)) as answer:
            assert await anext(answer.aiter_raw()) == b"data: 1\n\n"
        async with asyncio.timeout(0.1):
            await server.connections_ended()
        await upstream.aclose()


@pytest.mark.anyio
async def test_a_handshake_may_not_take_for_ever(upstream: HttptoolsUpstream) -> None:
    """F125: the connection stands, but nobody speaks TLS on it."""
    async with fault_server([Act.STALL]) as server:
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, server.url.replace("http:", "https:"), timeouts=Timeouts(connect=0.05))
        assert caught.value.failure == "timeout"
        await gone(server)


@pytest.mark.anyio
async def test_a_host_that_has_no_address_cannot_be_reached(upstream: HttptoolsUpstream) -> None:
    """F125."""
    for host in (f"{'x' * 64}.invalid", "a..invalid"):
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, f"http://{host}/")
        assert caught.value.failure == "unreachable"


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="limit must be positive"):
        HttptoolsUpstream(limit=0)


def test_one_instance_serves_one_event_loop_after_another() -> None:
    """F199."""
    upstream = HttptoolsUpstream()

    async def main() -> bytes:
        async with fault_server([OK]) as server:
            answer = await ask(upstream, server.url)
            await upstream.aclose()
            return answer

    assert [asyncio.run(main()) for _ in range(2)] == [b"{}", b"{}"]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_ended_without_closing_does_no_harm() -> None:
    """F199: its sockets are the garbage collector's, which warns; the next loop has its own."""
    upstream = HttptoolsUpstream()

    async def main() -> bytes:
        async with fault_server([OK, Act.CLOSE]) as server:
            return await ask(upstream, server.url)

    assert asyncio.run(main()) == b"{}"
    assert asyncio.run(main()) == b"{}"
    asyncio.run(upstream.aclose())


def test_one_instance_serves_two_event_loops_at_once_and_is_closed_from_one() -> None:
    """F199."""
    upstream = HttptoolsUpstream()
    served, closed = threading.Barrier(2, timeout=20), threading.Event()
    answers: list[bytes] = []

    async def other() -> None:
        async with fault_server([OK]) as server:
            answers.append(await ask(upstream, server.url))
            await asyncio.to_thread(served.wait)
            await server.connections_ended()
            assert await asyncio.to_thread(closed.wait, 20)

    async def main() -> None:
        async with fault_server([OK]) as server:
            answers.append(await ask(upstream, server.url))
            await asyncio.to_thread(served.wait)
            await upstream.aclose()
            await server.connections_ended()
            closed.set()

    thread = threading.Thread(target=asyncio.run, args=(other(),))
    thread.start()
    asyncio.run(main())
    thread.join(20)
    assert not thread.is_alive()
    assert answers == [b"{}", b"{}"]


def test_nothing_is_opened_when_it_is_imported_or_made() -> None:
    """F200."""
    script = (
        "import os\n"
        "before = set(os.listdir('/proc/self/fd'))\n"
        "from asgi_llmgw.upstream.httptools import HttptoolsUpstream\n"
        "HttptoolsUpstream()\n"
        "import sys, threading\n"
        "print(len(set(os.listdir('/proc/self/fd')) - before), threading.active_count(), 'aiohttp' in sys.modules)\n"
    )
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["0", "1", "False"]
