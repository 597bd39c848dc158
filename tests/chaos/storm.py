"""Many clients, a few sick vendors at any time, and a verdict on every single answer."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from asgi_llmgw import Gateway, build_app
from asgi_llmgw.asgi import header
from asgi_llmgw.config.load import parse_config
from asgi_llmgw.conformance.readers import read
from asgi_llmgw.conformance.requests import client_request
from asgi_llmgw.ir import Protocol
from asgi_llmgw.json import JSONObject, as_int, as_list, as_object, as_str, dumps, loads_object
from asgi_llmgw.protocols import SERVED
from asgi_llmgw.testing import RecordingSend, ScriptedReceive, http_scope
from tests.chaos.vendor import FAULTS, Deployment, Fault, deployments, words

MODEL: Final = "smart"
KEY: Final = "client-key-of-the-storm"
LEAVING: Final = 0.03
"""The share of the clients that leave in the middle."""


@dataclass
class Report:
    """What a storm has shown. Every list but the first numbers ought to be empty."""

    seed: int
    requests: int = 0
    served: int = 0
    lost_after_content: int = 0
    left: int = 0
    attempts: int = 0
    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    @property
    def could_be_served(self) -> int:
        """All but those whose stream broke after its first content, and whose clients left."""
        return self.requests - self.lost_after_content - self.left

    @property
    def served_share(self) -> float:
        return self.served / max(1, self.could_be_served)

    @property
    def attempts_per_request(self) -> float:
        return self.attempts / max(1, self.requests)


def gateway_for(vendors: list[Deployment], lines: list[JSONObject], *, strategy: str) -> Gateway:
    """A gateway with all of them behind one model, impatient enough for a test."""
    timeouts = {"connect": 0.5, "first_byte": 0.3, "first_byte_whole": 0.3, "idle": 0.3, "total": 10}
    providers: dict[str, object] = {
        vendor.name: {
            "kind": "openai" if vendor.protocol == "openai_chat" else "anthropic",
            "protocol": vendor.protocol,
            "base_url": vendor.url,
            "api_key": f"key-of-{vendor.name}",
            "timeouts": timeouts,
        }
        for vendor in vendors
    }
    document: dict[str, object] = {
        "keys": [{"name": "storm", "key": KEY, "concurrency": 40, "tpm": 1_000_000_000}],
        "providers": providers,
        "models": {MODEL: {"strategy": strategy, "targets": [f"{vendor.name}/m" for vendor in vendors]}},
        "retry": {"backoff_seconds": 0.01},
        "breaker": {"open_seconds": 0.3, "max_open_seconds": 1},
    }
    return build_app(parse_config(document, environ={}), access_log=lambda line: lines.append(loads_object(line)))


class Storm:
    """One run, the same for the same seed as far as a machine can repeat the order of events.

    Args:
        faults: the share of the vendors that are sick at any time.
        period: requests after which others are.
    """

    def __init__(
        self,
        *,
        seed: int,
        requests: int,
        faults: float = 0.3,
        vendors: int = 10,
        clients: int = 32,
        period: int = 250,
        strategy: str = "least_latency",
        progress: Callable[[Report], None] | None = None,
    ) -> None:
        self._rng = random.Random(seed)
        self._requests = requests
        self._faults = faults
        self._vendors = vendors
        self._clients = clients
        self._period = period
        self._strategy = strategy
        self._progress = progress
        self._next = 0
        self._to_come: list[Fault] = []
        self.report = Report(seed)

    async def run(self) -> Report:
        """Let it rage, and look at what it has left behind."""
        lines: list[JSONObject] = []
        before = asyncio.all_tasks()
        async with deployments(self._vendors, self._rng) as vendors:
            gateway = gateway_for(vendors, lines, strategy=self._strategy)
            async with gateway.lifespan():
                await self._change(vendors)
                await asyncio.gather(*(self._client(gateway, vendors) for _ in range(self._clients)))
                await self._look_for_leaks(gateway)
            for vendor in vendors:
                self.report.calls += vendor.calls
                await vendor.suffer(None)
        self._count(lines)
        self.report.leaks += [f"{task}" for task in asyncio.all_tasks() - before]
        return self.report

    async def _change(self, vendors: list[Deployment]) -> None:
        """Others are sick now."""
        sick = self._rng.sample(vendors, round(self._faults * len(vendors)))
        for vendor in vendors:
            fault = self._next_fault() if vendor in sick else None
            if fault is not None:
                self.report.faults[fault] += 1
            await vendor.suffer(fault)

    def _next_fault(self) -> Fault:
        """Every kind once, in any order, before one comes a second time."""
        if not self._to_come:
            self._to_come = self._rng.sample(FAULTS, len(FAULTS))
        return self._to_come.pop()

    async def _client(self, gateway: Gateway, vendors: list[Deployment]) -> None:
        while self._next < self._requests:
            number, self._next = self._next, self._next + 1
            if number and number % self._period == 0:
                await self._change(vendors)
                if self._progress is not None:
                    self._progress(self.report)
            protocol = self._rng.choice(SERVED)
            stream = self._rng.random() < 0.7
            leaves = stream and self._rng.random() < LEAVING
            await self._ask(gateway, f"case-{number}", protocol, stream=stream, leaves=leaves)

    async def _ask(
        self, gateway: Gateway, case: str, protocol: Protocol, *, stream: bool, leaves: bool = False
    ) -> None:
        asked = client_request(protocol, model=MODEL, prompt="plain", text=f"Say {case}.", stream=stream, key=KEY)
        path, _, query = asked.path.partition("?")
        headers = [(name.encode(), value.encode()) for name, value in asked.headers.items()]
        receive = ScriptedReceive(dumps(asked.body))
        seen = RecordingSend(on_body=lambda body: receive.disconnect() if leaves and body else None)
        await gateway(http_scope(path=path, headers=headers, query=query.encode()), receive, seen)
        self.report.requests += 1
        if leaves and seen.body:
            self.report.left += 1
            return
        self._judge(case, protocol, seen, stream=stream)

    def _judge(self, case: str, protocol: Protocol, seen: RecordingSend, *, stream: bool) -> None:
        report, expected = self.report, "".join(words(case))
        answer = read(protocol, seen.body, status=seen.status, stream=stream, aborted=not seen.finished)
        what = f"{case} {protocol} {'stream' if stream else 'whole'} {seen.status}"
        if answer.problems:
            report.wrong.append(f"{what}: {answer.problems}")
        if answer.error is None and seen.status == 200:
            if answer.text == expected and answer.terminated and seen.finished:
                report.served += 1
            else:
                report.silent.append(f"{what}: {answer.text!r} ending in {seen.body[-120:]!r}")
        elif not expected.startswith(answer.text):
            report.wrong.append(f"{what}: {answer.text!r}")
        elif answer.text:
            report.lost_after_content += 1
        else:
            retry = header(tuple(seen.headers.items()), b"retry-after")
            report.refused.append(f"{what}: {answer.error} (retry-after {retry})")

    async def _look_for_leaks(self, gateway: Gateway) -> None:
        """All is over: every lane is empty again, and so is the client's share of slots."""
        send = RecordingSend()
        headers = [(b"authorization", f"Bearer {KEY}".encode())]
        await gateway(http_scope("GET", "/status", headers=headers), ScriptedReceive(), send)
        for entry in as_list(loads_object(send.body).get("targets")):
            lane = as_object(entry)
            if as_int(lane.get("in_flight")):
                self.report.leaks.append(f"{as_str(lane.get('provider'))} has {lane.get('in_flight')} in flight")

    def _count(self, lines: list[JSONObject]) -> None:
        chats = [line for line in lines if line.get("model") == MODEL]
        self.report.attempts = sum(as_int(line.get("attempts")) or 0 for line in chats)
        open_ends = [line for line in chats if not line.get("outcome")]
        if len(chats) != self.report.requests or open_ends:
            self.report.leaks.append(f"{len(chats)} log lines, {len(open_ends)} without an outcome")
