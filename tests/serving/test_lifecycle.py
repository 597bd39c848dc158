"""The gateway as a process, from its signals to its end, before a vendor whose answers take their time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faultup import CHUNKED, Act, FaultServer, Step, chunk, fault_server, response
from tests.processes import serving
from tests.samples import DONE, chat_answer, chat_chunk, chat_request
from tests.serving.raw import RawAnswer, RawClient, connect, request

pytestmark = pytest.mark.anyio

SERVERS = pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
KEY = "client-key"
WHOLE = response(chat_answer(), headers=(b"content-type: application/json",))


@dataclass
class House:
    """A gateway's process, its vendor and its file."""

    process: subprocess.Popen[str]
    port: int
    vendor: FaultServer
    file: Path
    gate: asyncio.Event
    said: list[asyncio.Task[str]]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ask(self, body: object = None, *, path: str = "", key: str = KEY) -> RawAnswer:
        async with connect(self.port) as client:
            if path:
                client.send(request(b"", method="GET", path=path, key=key))
            else:
                client.send(request(chat_request("smart"), key=key))
            return await client.answer()

    async def ended(self) -> tuple[int, list[dict[str, Any]], str]:
        """The exit code, the access log and what was said besides."""
        async with asyncio.timeout(30):
            out, err = await asyncio.gather(*self.said)
        return self.process.wait(), [json.loads(line) for line in out.splitlines()], err


@asynccontextmanager
async def house(
    tmp_path: Path, *options: str, drain: float = 20, whole: bool = False, text: Callable[[str], str] = str
) -> AsyncIterator[House]:
    """A gateway whose vendor says one word of each stream and the rest when the gate is opened."""
    gate = asyncio.Event()
    stream: list[Step] = [
        CHUNKED + chunk(chat_chunk({"content": "Hel"})),
        gate,
        chunk(chat_chunk({"content": "lo"}) + chat_chunk({}, "stop") + DONE) + chunk(b""),
    ]
    async with fault_server([WHOLE] if whole else stream) as vendor:
        file = tmp_path / "gateway.toml"
        file.write_text(text(CONFIG.format(drain=drain, vendor=vendor.url)))
        environ = {"LLMGW_CONFIG": str(file), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
        with serving(*options, environ=environ) as (process, address):
            assert process.stdout is not None and process.stderr is not None
            # a pipe that nobody reads would stop the process
            said = [asyncio.create_task(asyncio.to_thread(pipe.read)) for pipe in (process.stdout, process.stderr)]
            running = House(process, int(address.rpartition(":")[2]), vendor, file, gate, said)
            assert (await running.ask(path="/health")).status == 200
            try:
                yield running
            finally:
                if process.poll() is None:
                    found = children(process.pid)
                    for pid in (process.pid, *found):
                        os.kill(pid, signal.SIGKILL)
                await asyncio.gather(*said)


CONFIG = f"""
[server]
drain_seconds = {{drain}}

[[keys]]
name = "team"
key = "{KEY}"

[providers.vendor]
kind = "openai"
base_url = "{{vendor}}/v1"
api_key = "upstream-key"

[models.smart]
targets = ["vendor/the-model"]
"""


async def open_streams(running: House, stack: AsyncExitStack, count: int) -> list[RawClient]:
    clients = [await stack.enter_async_context(connect(running.port)) for _ in range(count)]
    for client in clients:
        client.send(request(chat_request("smart", stream=True), key=KEY))
    for client in clients:
        await client.until(b"Hel")
    return clients


async def rest_of(client: RawClient) -> bytes:
    return await asyncio.wait_for(client.reader.read(), 20)


async def refused(running: House) -> RawAnswer:
    """The first answer of a gateway that has heard the signal.

    A worker that has no streams is gone at once, and whoever it let in meanwhile with it.
    """
    async with asyncio.timeout(10):
        while True:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                answer = await running.ask(path="/ready")
                if answer.status == 503:
                    return answer


@SERVERS
async def test_a_hundred_streams_survive_a_sigterm(tmp_path: Path, server: str) -> None:
    """F202, F203: none is cut, new requests are refused, readiness says so, and every one of them is settled."""
    async with house(tmp_path, "--server", server) as running, AsyncExitStack() as stack:
        clients = await open_streams(running, stack, 100)
        running.signal(signal.SIGTERM)
        assert b"shutting down" in (await refused(running)).body
        answer = await running.ask()
        assert (answer.status, answer.json["error"]["code"]) == (503, "shutting_down")  # type: ignore[index,call-overload]
        head = answer.head.lower()
        assert b"connection: close" in head and b"retry-after: 1" in head
        running.gate.set()
        for client in clients:
            assert DONE in await rest_of(client)
        code, log, err = await running.ended()
        assert code == 0
        assert "Traceback" not in err
        streams = [line for line in log if line["stream"]]
        assert [line["outcome"] for line in streams] == ["completed"] * 100


@SERVERS
async def test_what_outlasts_the_window_ends_with_an_error_event(tmp_path: Path, server: str) -> None:
    """F202, F203."""
    async with house(tmp_path, "--server", server, drain=0.2) as running, AsyncExitStack() as stack:
        clients = await open_streams(running, stack, 5)
        running.signal(signal.SIGTERM)
        for client in clients:
            rest = await rest_of(client)
            assert b'"shutting_down"' in rest and rest.endswith(b"0\r\n\r\n")
        code, log, err = await running.ended()
        assert code == 0 and "5 requests are cut off" in err
        told = [(line["outcome"], line["error"]["code"]) for line in log if line["stream"]]
        assert told == [("rejected", "shutting_down")] * 5


@SERVERS
async def test_a_second_signal_does_not_wait(tmp_path: Path, server: str) -> None:
    """F204: the streams are told and settled all the same."""
    async with house(tmp_path, "--server", server, drain=600) as running, AsyncExitStack() as stack:
        (client,) = await open_streams(running, stack, 1)
        running.signal(signal.SIGTERM)
        await refused(running)
        running.signal(signal.SIGTERM)
        assert b'"shutting_down"' in await rest_of(client)
        code, log, _ = await running.ended()
        assert code == 0
        assert [line["outcome"] for line in log if line["stream"]] == ["rejected"]


@SERVERS
async def test_workers_drain_together(tmp_path: Path, server: str) -> None:
    """F202, F204: the signal of a whole process group counts once, and a second one cuts."""
    async with house(tmp_path, "--server", server, "--workers", "2") as running, AsyncExitStack() as stack:
        clients = await open_streams(running, stack, 20)
        running.signal(signal.SIGTERM)
        await refused(running)
        for child in children(running.process.pid):
            os.kill(child, signal.SIGTERM)
        running.gate.set()
        for client in clients:
            assert DONE in await rest_of(client)
        code, log, err = await running.ended()
        assert code == 0 and "Traceback" not in err
        assert [line["outcome"] for line in log if line["stream"]] == ["completed"] * 20


def children(pid: int) -> list[int]:
    """The worker processes, without the one that tracks their resources."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in command(child)]


async def all_children(running: House, count: int) -> list[int]:
    """The workers once they are so many and have answered."""
    async with asyncio.timeout(20):
        while len(found := children(running.process.pid)) != count:
            assert (await running.ask(path="/health")).status == 200
    return found


def command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def until_models(running: House, *names: str, times: int = 1) -> None:
    """Ask until so many answers in a row name these models."""
    matching = 0
    async with asyncio.timeout(20):
        while matching < times:
            data = (await running.ask(path="/v1/models")).json.get("data") or []
            found = [model["id"] for model in data]  # type: ignore[index,call-overload,union-attr]
            matching = matching + 1 if found == list(names) else 0


@pytest.mark.parametrize(("server", "workers"), [("uvicorn", "1"), ("hypercorn", "2")])
async def test_sighup_loads_the_configuration_again(tmp_path: Path, server: str, workers: str) -> None:
    """F229, F059: streams go on, keys that are gone are refused."""
    options = ("--server", server, "--workers", workers)
    async with house(tmp_path, *options) as running, AsyncExitStack() as stack:
        clients = await open_streams(running, stack, 4)
        text = running.file.read_text()
        running.file.write_text(text.replace("[models.smart]", "[models.clever]").replace(KEY, "another-key"))
        running.signal(signal.SIGHUP)
        async with asyncio.timeout(20):
            statuses = [0]
            while statuses[-5:] != [401] * 5:
                statuses.append((await running.ask(path="/v1/models")).status)
        answer = await running.ask(path="/v1/models", key="another-key")
        assert b'"clever"' in answer.body
        running.gate.set()
        for client in clients:
            running.signal(signal.SIGHUP)
            client.writer.write(b"")
            assert DONE in await client.until(DONE)
        running.signal(signal.SIGTERM)
        code, log, _ = await running.ended()
        assert code == 0
        assert [line["outcome"] for line in log if line["stream"]] == ["completed"] * 4


async def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    """F229: in each of the workers; a bad one stops none of them."""
    async with house(tmp_path, "--workers", "2") as running:
        text = running.file.read_text()
        running.file.write_text(text + "[models")
        await until_models(running, "smart")
        running.file.write_text(text + '[models.clever]\nalias = "smart"\n')
        await until_models(running, "smart", "clever", times=20)
        running.signal(signal.SIGTERM)
        code, _, err = await running.ended()
        assert code == 0 and KEY not in err


async def test_reloading_can_be_turned_off(tmp_path: Path) -> None:
    def off(text: str) -> str:
        return text.replace("[server]", "[server]\nreload = false")

    async with house(tmp_path, text=off) as running:
        running.file.write_text("[models")
        running.signal(signal.SIGHUP)
        assert (await running.ask(path="/v1/models")).status == 200
        running.signal(signal.SIGTERM)
        code, _, err = await running.ended()
        assert code == 0 and "is not TOML" in err, "an order is an order"


@SERVERS
async def test_replacing_the_workers_fails_no_request(tmp_path: Path, server: str) -> None:
    """F205: each new worker serves before an old one leaves, and clients with a connection are told to take another."""
    async with house(tmp_path, "--workers", "2", "--server", server, whole=True) as running:
        before = await all_children(running, 2)
        statuses: list[int] = []
        over = asyncio.Event()

        async def load() -> None:
            while not over.is_set():
                async with connect(running.port) as client:
                    head = b""
                    while not over.is_set() and b"connection: close" not in head:
                        client.send(request(chat_request("smart"), key=KEY))
                        answer = await client.answer()
                        statuses.append(answer.status)
                        head = answer.head.lower()

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(load())
            try:
                await running.vendor.requests_seen(20)
                running.signal(signal.SIGUSR2)
                async with asyncio.timeout(60):
                    while set(children(running.process.pid)) & set(before) or len(children(running.process.pid)) != 2:
                        await running.vendor.requests_seen(len(running.vendor.requests) + 10)
            finally:
                over.set()
        assert set(statuses) == {200} and len(statuses) > 40
        running.signal(signal.SIGTERM)
        code, _, err = await running.ended()
        assert code == 0 and "Traceback" not in err


async def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """F204: kill -9."""
    async with house(tmp_path, "--workers", "2", whole=True) as running:
        before = await all_children(running, 2)
        os.kill(before[0], signal.SIGKILL)
        async with asyncio.timeout(20):
            while len(found := children(running.process.pid)) != 2 or found == before:
                assert (await running.ask()).status == 200
        running.signal(signal.SIGTERM)
        code, _, err = await running.ended()
        assert code == 0 and "is replaced" in err


async def test_workers_that_cannot_start_end_the_command(tmp_path: Path) -> None:
    """F198."""
    file = tmp_path / "gateway.toml"
    file.write_text("")
    with serving("--workers", "2", environ={"LLMGW_CONFIG": str(file)}) as (process, _):
        file.write_text("[models")
        # whether the first ones have read it before or not, their successors do
        async with asyncio.timeout(30):
            while process.poll() is None:
                for child in children(process.pid):
                    os.kill(child, signal.SIGKILL)
                await asyncio.to_thread(lambda: process.poll())
        assert process.returncode != 0


async def test_a_plain_uvicorn_that_loses_patience_does_not_cut_in_silence(tmp_path: Path) -> None:
    """F203: it never tells the app of the signal, but the client is told, and the request is settled."""
    async with fault_server([CHUNKED + chunk(chat_chunk({"content": "Hel"})), Act.STALL]) as vendor:
        file = tmp_path / "gateway.toml"
        file.write_text(CONFIG.format(drain=20, vendor=vendor.url))
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            listening.set_inheritable(True)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "uvicorn", "--factory", "asgi_llmgw.app:from_environment"),
                *("--fd", str(listening.fileno()), "--timeout-graceful-shutdown", "1", "--no-access-log"),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[listening.fileno()],
                env={"LLMGW_CONFIG": str(file), "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            async with connect(listening.getsockname()[1]) as client:
                client.send(request(chat_request("smart", stream=True), key=KEY))
                await client.until(b"Hel")
                process.send_signal(signal.SIGTERM)
                assert b'"shutting_down"' in await rest_of(client)
            out, _ = await asyncio.wait_for(process.communicate(), 20)
        assert json.loads(out)["error"]["code"] == "shutting_down"


async def test_workers_that_start_without_a_parent_end(tmp_path: Path) -> None:
    """F204: it was killed before they could say that they are ready."""
    with serving("--workers", "2", environ={"TMPDIR": str(tmp_path)}) as (process, address):
        async with asyncio.timeout(30):
            while len(children(process.pid)) < 2:
                await asyncio.to_thread(process.poll)
            process.kill()
            with pytest.raises(OSError):
                while True:
                    # connections wait in the backlog while there is a process that holds the port
                    async with connect(int(address.rpartition(":")[2])) as client:
                        await asyncio.to_thread(process.poll)
                        client.leave()


async def test_workers_do_not_outlive_their_parent(tmp_path: Path) -> None:
    """F204: kill -9; they finish what they have, and let go of the port."""
    async with house(tmp_path, "--workers", "2") as running, AsyncExitStack() as stack:
        (client,) = await open_streams(running, stack, 1)
        running.signal(signal.SIGKILL)
        running.gate.set()
        assert DONE in await rest_of(client)
        async with asyncio.timeout(20):
            with pytest.raises(OSError):
                while True:
                    # a worker that is about to go may let a connection in and not hear of its request any more
                    with suppress(EOFError):
                        await running.ask(path="/health")
