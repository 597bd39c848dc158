"""The bench itself: a vendor and a load generator on one core, gateways on another, one measured burst at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Self

import msgspec

from benchmarks.gateways import Ask, Gateway
from benchmarks.load import Order, Outcome
from benchmarks.messages import Pair, Size, path_of, request
from benchmarks.processes import OTHER_CORE, Process, StartError, free_port

DIRECT: Final = "direct"
"""No gateway at all: the vendor is asked."""
_MIDDLE: Final = 0.6
"""The part of a paced burst after which memory is looked at: all streams are open by then."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked for.

    Args:
        kind: whole answers, streams that come all at once, streams of ten events a second, or one request after the
            other, for its latency.
    """

    pair: Pair
    kind: Literal["json", "stream", "paced", "sequential"]
    size: Size = "1 kB"

    @property
    def name(self) -> str:
        """As it is printed."""
        size = f", {self.size}" if self.kind == "json" else ""
        return f"{self.pair}, {self.kind}{size}"

    @property
    def streams(self) -> bool:
        """Whether it is counted in events."""
        return self.kind in ("stream", "paced")


@dataclass(frozen=True, slots=True)
class Sample:
    """One burst. CPU is in µs for each request or event, times are in ms, memory in kB for each open stream."""

    cpu: float
    per_second: float
    median: float
    p99: float
    gap_p99: float = 0.0
    memory: float = 0.0
    failures: int = 0
    said: str = ""


@dataclass(slots=True)
class Lab:
    """Everything that runs during a measurement; a context manager that ends it all.

    Args:
        directory: for configurations and logs.
    """

    gateways: Sequence[Gateway]
    directory: Path
    missing: dict[str, str] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict)
    _load: subprocess.Popen[bytes] | None = None
    _vendor: Process | None = None

    def __enter__(self) -> Self:
        vendor_port = self._ports[DIRECT] = free_port()
        command = [sys.executable, "-m", "benchmarks.upstream", "--port", str(vendor_port)]
        self._vendor = Process(command, core=OTHER_CORE, log=self.directory / "vendor.log", port=vendor_port)
        cores = {OTHER_CORE} & os.sched_getaffinity(0) or os.sched_getaffinity(0)
        self._load = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        for gateway in self.gateways:
            own = self.directory / gateway.name
            own.mkdir()
            port = self._ports[gateway.name] = free_port()
            try:
                self.processes[gateway.name] = gateway.start(port, vendor_port, own)
            except StartError as error:
                self.missing[gateway.name] = f"did not start: {error}"
        return self

    def __exit__(self, *error: object) -> None:
        if self._load is not None and self._load.stdin is not None:
            self._load.kill()
            self._load.communicate()
        for process in (*self.processes.values(), *([self._vendor] if self._vendor is not None else [])):
            process.stop()

    def burst(
        self, gateway: Gateway | None, scenario: Scenario, *, seconds: float, connections: int, requests: int = 10**9
    ) -> Sample | None:
        """Ask one gateway, or the vendor itself, for a while; None where it does not do that at all."""
        ask = Ask("paced" if scenario.kind == "paced" else "model")
        if gateway is not None:
            if gateway.name not in self.processes:
                return None
            found = gateway.ask(scenario.pair, scenario.kind == "paced")
            if found is None:
                return None
            ask = found
        name = DIRECT if gateway is None else gateway.name
        order = Order(
            port=self._ports[name],
            path=path_of(scenario.pair),
            body=request(scenario.pair, model=ask.model, size=scenario.size, stream=scenario.streams),
            headers=dict(ask.headers),
            connections=connections,
            requests=requests,
            seconds=seconds,
            paced=scenario.kind == "paced",
            spread=1.0 if scenario.kind == "paced" else 0.0,
        )
        process = self.processes.get(name)
        cpu = process.cpu() if process is not None else 0.0
        memory = process.memory() if process is not None else 0
        self._order(order)
        if scenario.kind == "paced" and process is not None:
            time.sleep(_MIDDLE * 10)
            memory = process.memory() - memory
        outcome = self._outcome()
        cpu = process.cpu() - cpu if process is not None else 0.0
        return _sample(outcome, scenario, cpu, memory / connections)

    def _order(self, order: Order) -> None:
        assert self._load is not None and self._load.stdin is not None
        self._load.stdin.write(msgspec.json.encode(order) + b"\n")
        self._load.stdin.flush()

    def _outcome(self) -> Outcome:
        assert self._load is not None and self._load.stdout is not None
        return msgspec.json.decode(self._load.stdout.readline(), type=Outcome)


def _sample(outcome: Outcome, scenario: Scenario, cpu: float, memory: float) -> Sample:
    units = outcome.events if scenario.streams else outcome.requests
    return Sample(
        cpu=cpu / max(1, units) * 1e6,
        per_second=units / max(1e-9, outcome.seconds),
        median=percentile(outcome.latency, 0.5) * 1e3,
        p99=percentile(outcome.latency, 0.99) * 1e3,
        gap_p99=percentile(outcome.gaps, 0.99) * 1e3,
        memory=memory / 1000 if scenario.kind == "paced" else 0.0,
        failures=outcome.failures,
        said=outcome.said,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of a sorted sequence; 0 of an empty one."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
