"""What the process itself needs: to be imported, to start, to rest, and after a great many requests."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.gateways import ours
from benchmarks.lab import Lab, Scenario

_MANY: Final = (10_000, 100_000)
_RUNS: Final = 7


def at_rest(directory: Path) -> dict[str, float]:
    """Milliseconds and megabytes, by what they are."""
    found = {f"import {name}, ms": _import(name) * 1000 for name in ("asgi_llmgw", "asgi_llmgw.app")}
    own = directory / "memory"
    own.mkdir()
    with Lab([ours()], own) as lab:
        gateway = lab.gateways[0]
        process = lab.processes[gateway.name]
        found["start until it listens, ms"] = process.start_seconds * 1000
        time.sleep(0.5)
        found["resident at rest, MB"] = process.memory() / 1e6
        asked = 0
        for many in _MANY:
            lab.burst(gateway, Scenario("chat-chat", "json"), seconds=600, connections=8, requests=many - asked)
            asked = many
            found[f"resident after {many} requests, MB"] = process.memory() / 1e6
    return found


def _import(name: str) -> float:
    return statistics.median(_seconds(f"import {name}") - _seconds("pass") for _ in range(_RUNS))


def _seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started
