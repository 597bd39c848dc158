"""Two gateways with two workers each on one Redis: what the example starts, under load, while workers are killed."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from asgi_llmgw.json import JSONObject, as_str, dumps, loads_object
from tests.faultup import unused_port
from tests.samples import chat_answer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers as Linux tells them"),
]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cluster"
CLIENTS, SECONDS, KILL_EVERY = 64, 7.0, 2.0
TOKENS_IN, TOKENS_OUT = 9, 3
RPM, TPM, CONCURRENCY, BUDGET = 90, 1200, 6, 0.002
COST = 20e-6
"""USD for one answer, at the prices below."""

CONFIG = f"""
[providers.vendor]
protocol = "openai_chat"
base_url = "env:VENDOR_URL"

[models]
requests.targets = ["vendor/requests"]
tokens.targets = ["vendor/tokens"]
slots.targets = ["vendor/slots"]
cost.targets = ["vendor/cost"]

[prices."vendor/cost"]
input = 1.222222222
output = 3.0

[[keys]]
name = "requests"
key = "key-of-requests"
rpm = {RPM}

[[keys]]
name = "tokens"
key = "key-of-tokens"
tpm = {TPM}

[[keys]]
name = "slots"
key = "key-of-slots"
concurrency = {CONCURRENCY}

[[keys]]
name = "cost"
key = "key-of-cost"
models = ["cost"]
budget_usd = {BUDGET}

[limits]
lease_seconds = 3

[store]
url = "env:LLMGW_REDIS_URL"
timeout_ms = 10_000
"""


@dataclass
class Vendor:
    """Answers every request after a moment, and knows what it was asked for and how much of it at once."""

    asked: Counter[str] = field(default_factory=Counter)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)
    url: str = ""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                model = as_str(loads_object(await reader.readexactly(length)).get("model")) or ""
                await self._answer(model, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, model: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked[model] += 1
        self.at_once[model] += 1
        self.most_at_once[model] = max(self.most_at_once[model], self.at_once[model])
        body = chat_answer("Hi")
        try:
            await asyncio.sleep(0.02)
        finally:
            self.at_once[model] -= 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()


@asynccontextmanager
async def vendor() -> AsyncIterator[Vendor]:
    found = Vendor()
    server = await asyncio.start_server(found.accept, "127.0.0.1", 0, backlog=512)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield found
    finally:
        server.close()
        await found.stop()
        await server.wait_closed()


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **more}


@asynccontextmanager
async def cluster(*options: str, **environ: str) -> AsyncIterator[tuple[int, list[str]]]:
    """What the example's own script starts, on free ports: its process, and the addresses of the gateways."""
    ports = [str(unused_port()) for _ in range(2)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE / "start.py"), *options),
        *("--redis-port", str(unused_port()), "--ports", *ports),
        env=environment(**environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while not (await process.stdout.readline()).startswith(b"ready"):
                assert process.returncode is None
        draining = asyncio.ensure_future(process.stdout.read())
        yield process.pid, [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
    await draining


def workers(pid: int) -> list[int]:
    """The worker processes below a process."""
    found = []
    for child in children(pid):
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        found += [child] if b"--multiprocessing-fork" in command else workers(child)
    return found


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@dataclass
class Load:
    """Clients that ask both gateways in turn, without a pause, until the time is up."""

    session: aiohttp.ClientSession
    urls: list[str]
    outcomes: dict[str, Counter[int]] = field(default_factory=dict)

    async def ask(self, url: str, name: str) -> int:
        """One request with the key of this name; the status, 0 where the connection broke."""
        body: JSONObject = {"model": name, "max_tokens": TOKENS_OUT, "messages": [{"role": "user", "content": "Hello"}]}
        headers = {"authorization": f"Bearer key-of-{name}", "content-type": "application/json"}
        try:
            async with self.session.post(f"{url}/v1/chat/completions", data=dumps(body), headers=headers) as response:
                await response.read()
                return response.status
        except aiohttp.ClientError:
            return 0

    async def client(self, name: str, until: float) -> None:
        turns = cycle(random.Random(name).sample(self.urls, len(self.urls)))
        while asyncio.get_running_loop().time() < until:
            status = await self.ask(next(turns), name)
            self.outcomes.setdefault(name, Counter())[status] += 1
            # a refused client comes back at once, but lets the others have the processor
            await asyncio.sleep(0 if status == 200 else 0.05)


async def kill_workers(pid: int, until: float) -> int:
    """SIGKILL one every two seconds."""
    killed = 0
    while asyncio.get_running_loop().time() + KILL_EVERY < until:
        await asyncio.sleep(KILL_EVERY)
        found = workers(pid)
        os.kill(random.Random(killed).choice(found), signal.SIGKILL)
        killed += 1
    return killed


async def slots_are_free_again(load: Load) -> bool:
    """As many requests at the same time as there are slots are all served, once the leases of the dead have ended."""
    async with asyncio.timeout(15):
        while True:
            asked = [load.ask(url, "slots") for url, _ in zip(cycle(load.urls), range(CONCURRENCY), strict=False)]
            if await asyncio.gather(*asked) == [200] * CONCURRENCY:
                return True


@pytest.mark.timeout(180)
async def test_limits_hold_across_processes_that_are_killed(tmp_path: Path, report: Callable[[str, int], None]) -> None:
    """F189, F190, L1, L3, L4: 64 clients, four workers, one killed every two seconds; nothing over any limit."""
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIG)
    async with (
        vendor() as asked,
        cluster("--config", str(config), VENDOR_URL=asked.url) as (pid, urls),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        assert len(workers(pid)) == 4
        load = Load(session, urls)
        until = asyncio.get_running_loop().time() + SECONDS
        names = ("requests", "tokens", "slots", "cost")
        clients = [load.client(name, until) for name in names for _ in range(CLIENTS // len(names))]
        killed, *_ = cast(list[int], await asyncio.gather(kill_workers(pid, until), *clients))
        assert killed >= 2
        served = {name: load.outcomes[name][200] for name in names}
        assert await slots_are_free_again(load)
    answers = TOKENS_IN + TOKENS_OUT
    assert RPM * 0.9 <= asked.asked["requests"] <= RPM
    assert TPM * 0.8 <= asked.asked["tokens"] * answers <= TPM
    # what a killed worker had set aside of a budget is given back with its lease, though the vendor has served it
    lost = load.outcomes["cost"][0]
    assert BUDGET * 0.8 <= asked.asked["cost"] * COST <= BUDGET + lost * COST
    assert CONCURRENCY * 0.5 <= asked.most_at_once["slots"] <= CONCURRENCY
    refusals = {status for outcomes in load.outcomes.values() for status in outcomes} - {0, 200}
    assert refusals <= {429, 503}
    report("requests served by a cluster whose workers are killed", sum(served.values()))


async def test_the_example_lets_through_what_its_key_may_have() -> None:
    """L3: as its README says, and as nobody counts who counts for himself."""
    secret = "a-long-secret-of-team-a"
    # a busy machine is no reason to think that Redis is away
    async with cluster(LLMGW_KEY_TEAM_A=secret, LLMGW_STORE__TIMEOUT_MS="10000") as (_, urls):
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLE / "client.py")),
            env=environment(LLMGW_KEY_TEAM_A=secret, LLMGW_URLS=" ".join(f"{url}/v1" for url in urls)),
            stdout=subprocess.PIPE,
        )
        told, _ = await client.communicate()
    assert client.returncode == 0
    counts = dict(line.strip().split(None, 1)[::-1] for line in told.decode().splitlines())
    assert counts.pop("served") == "120"
    assert all(outcome.startswith("429, retry after") for outcome in counts)
    assert sum(int(count) for count in counts.values()) == 180
