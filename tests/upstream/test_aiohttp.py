"""What the transport over aiohttp promises beyond the contract of all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from ssl import create_default_context

import pytest

from asgi_llmgw.errors import ConfigError, UpstreamError
from asgi_llmgw.timeouts import Timeouts
from asgi_llmgw.upstream import pools
from asgi_llmgw.upstream.aiohttp import AiohttpUpstream
from asgi_llmgw.upstream.base import UpstreamRequest
from tests.faultup import CHUNKED, OK, Act, Step, chunk, fault_server, response, unused_port
from tests.upstream.tls import SelfSigned

HOLD: list[Step] = [CHUNKED + chunk(b"data: 1\n\n"), Act.STALL]


async def ask(upstream: AiohttpUpstream, url: str, *, timeouts: Timeouts = Timeouts()) -> bytes:
    async with upstream.open(UpstreamRequest(url=url, body=b"{}", timeouts=timeouts)) as answer:
        return await answer.aread(limit=1000)


@pytest.mark.anyio
@pytest.mark.parametrize("end", [Act.CLOSE, Act.RESET])
async def test_a_kept_connection_that_the_vendor_just_closed_costs_one_more_try(end: Act) -> None:
    """F135."""
    upstream = AiohttpUpstream()
    async with fault_server([OK], [end], [OK]) as server:
        assert await ask(upstream, server.url) == b"{}"
        assert await ask(upstream, server.url) == b"{}"
        assert (len(server.requests), server.connections) == (3, 2)
        await upstream.aclose()


@pytest.mark.anyio
async def test_it_is_one_more_try_and_no_more() -> None:
    """F135."""
    upstream = AiohttpUpstream()
    async with fault_server([OK], [Act.CLOSE]) as server:
        await ask(upstream, server.url)
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, server.url)
        assert caught.value.failure == "unreachable"
        assert len(server.requests) == 3
        await upstream.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\nserver: x\r\n"])
async def test_a_call_is_not_made_again_once_its_answer_has_begun(begun: bytes) -> None:
    """F135."""
    upstream = AiohttpUpstream()
    async with fault_server([OK], [begun, Act.CLOSE], [OK]) as server:
        await ask(upstream, server.url)
        with pytest.raises(UpstreamError):
            await ask(upstream, server.url)
        assert len(server.requests) == 2
        await upstream.aclose()


@pytest.mark.anyio
async def test_a_call_that_ran_out_of_time_is_not_made_again() -> None:
    """F135."""
    upstream = AiohttpUpstream()
    async with fault_server([OK], [Act.STALL]) as server:
        await ask(upstream, server.url)
        with pytest.raises(UpstreamError) as caught:
            await ask(upstream, server.url, timeouts=Timeouts(first_byte_whole=0.05))
        assert caught.value.failure == "timeout"
        assert len(server.requests) == 2
        await upstream.aclose()


@pytest.mark.anyio
async def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    """F134."""
    upstream = AiohttpUpstream()
    async with fault_server([OK + response(b"not yours")], [response(b"yours")]) as server:
        await ask(upstream, server.url)
        assert await ask(upstream, server.url) == b"yours"
        await upstream.aclose()


@pytest.mark.anyio
async def test_a_call_too_many_waits_a_little_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "POOL_WAIT", 0.05)
    upstream = AiohttpUpstream(limit=1)
    async with fault_server(HOLD, [OK]) as server:
        async with upstream.open(UpstreamRequest(url=server.url, stream=True)):
            with pytest.raises(UpstreamError) as caught:
                await ask(upstream, server.url)
            assert (caught.value.failure, caught.value.kind) == ("overloaded", "overloaded")
        assert await ask(upstream, server.url) == b"{}"
        await upstream.aclose()


@pytest.mark.anyio
async def test_a_waiting_call_goes_ahead_when_another_ends() -> None:
    upstream = AiohttpUpstream(limit=1)
    async with fault_server(HOLD, [OK]) as server:
        async with upstream.open(UpstreamRequest(url=server.url, stream=True)):
            waiting = asyncio.create_task(ask(upstream, server.url))
            await asyncio.sleep(0)
            assert len(server.requests) == 1
        assert await waiting == b"{}"
        await upstream.aclose()


@pytest.mark.anyio
async def test_waiting_calls_that_are_cancelled_take_no_slot() -> None:
    """F124."""
    upstream = AiohttpUpstream(limit=1)
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
async def test_a_call_may_be_cancelled_at_any_moment() -> None:
    """F124: with one slot for all calls, one that is lost would be missed at once."""
    upstream = AiohttpUpstream(limit=1)
    async with fault_server([OK]) as server:
        for moment in range(40):
            call = asyncio.create_task(ask(upstream, server.url))
            for _ in range(moment):
                await asyncio.sleep(0)
            call.cancel()
            assert (await asyncio.gather(call, return_exceptions=True))[0] == b"{}" or call.cancelled()
            async with asyncio.timeout(1):
                assert await ask(upstream, server.url) == b"{}"
        await upstream.aclose()


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="limit must be positive"):
        AiohttpUpstream(limit=0)


def test_one_instance_serves_one_event_loop_after_another() -> None:
    """F199."""
    upstream = AiohttpUpstream()

    async def main() -> bytes:
        async with fault_server([OK]) as server:
            answer = await ask(upstream, server.url)
            await upstream.aclose()
            return answer

    assert [asyncio.run(main()) for _ in range(2)] == [b"{}", b"{}"]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_that_ended_without_closing_does_no_harm() -> None:
    """F199: its sockets are the garbage collector's, which warns; the next loop has its own."""
    upstream = AiohttpUpstream()

    async def main() -> bytes:
        async with fault_server([OK, Act.CLOSE]) as server:
            return await ask(upstream, server.url)

    assert asyncio.run(main()) == b"{}"
    assert asyncio.run(main()) == b"{}"
    asyncio.run(upstream.aclose())


def test_one_instance_serves_two_event_loops_at_once_and_is_closed_from_one() -> None:
    """F199."""
    upstream = AiohttpUpstream()
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


@pytest.mark.anyio
async def test_many_first_calls_share_one_session() -> None:
    """F197."""
    upstream = AiohttpUpstream(limit=200)
    async with fault_server([OK]) as server:
        answers = await asyncio.gather(*(ask(upstream, server.url) for _ in range(300)))
        assert answers == [b"{}"] * 300
        assert server.connections <= 200
        await upstream.aclose()


@pytest.mark.anyio
async def test_the_environment_s_proxy_is_used_when_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """F091: the proxy, but not the passwords of a .netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine vendor.test login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    upstream = AiohttpUpstream(trust_env=True)
    async with fault_server([OK]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert await ask(upstream, "http://vendor.test/v1/x") == b"{}"
        assert proxy.requests[0].request_line == "POST http://vendor.test/v1/x HTTP/1.1"
        assert "authorization" not in dict(proxy.requests[0].headers)
        await upstream.aclose()


@pytest.mark.anyio
async def test_the_environment_s_exceptions_from_the_proxy_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    upstream = AiohttpUpstream(trust_env=True)
    async with fault_server([OK]) as server:
        assert await ask(upstream, server.url) == b"{}"
        await upstream.aclose()


@pytest.mark.anyio
async def test_a_private_authority_can_be_trusted(self_signed: SelfSigned) -> None:
    """F093."""
    upstream = AiohttpUpstream(ssl=create_default_context(cafile=self_signed.certificate))
    async with fault_server([OK], tls=self_signed.server) as server:
        assert await ask(upstream, server.url) == b"{}"
        with pytest.raises(UpstreamError):
            await ask(upstream, server.url.replace("127.0.0.1", "localhost"))
        await upstream.aclose()


@pytest.mark.anyio
async def test_tls_connections_are_closed_at_once_too(self_signed: SelfSigned) -> None:
    """F109."""
    upstream = AiohttpUpstream(ssl=create_default_context(cafile=self_signed.certificate))
    async with fault_server(HOLD, tls=self_signed.server) as server:
        async with upstream.open(UpstreamRequest(url=server.url, stream=True)) as answer:
            assert await anext(answer.aiter_raw()) == b"data: 1\n\n"
        async with asyncio.timeout(0.1):
            await server.connections_ended()
        await upstream.aclose()


def test_nothing_is_opened_when_it_is_imported_or_made() -> None:
    """F200."""
    script = (
        "import os\n"
        "before = set(os.listdir('/proc/self/fd'))\n"
        "from asgi_llmgw.upstream.aiohttp import AiohttpUpstream\n"
        "AiohttpUpstream()\n"
        "import threading\n"
        "print(len(set(os.listdir('/proc/self/fd')) - before), threading.active_count())\n"
    )
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["0", "1"]
