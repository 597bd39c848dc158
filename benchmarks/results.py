"""What was measured: medians over the rounds, and ratios within each round, so that a busy moment hits both sides."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

import msgspec

from benchmarks.gateways import FLOOR, OURS
from benchmarks.lab import DIRECT, Sample, Scenario

Samples: TypeAlias = Mapping[str, list[Sample]]
"""The rounds of one scenario, by the gateway's name."""


class Row(msgspec.Struct, frozen=True):
    """One gateway in one scenario.

    Args:
        cpu: µs for each request, or for each event of a stream.
        over_floor, under_ours: its CPU as a multiple of the floor's, and of ours.
        added: µs above the floor.
        latency: ms above asking the vendor itself, the median; sequential scenarios only.
        gap: ms that the slowest hundredth of the gaps between events is longer than without a gateway.
        memory: kB for each open stream.
    """

    scenario: str
    gateway: str
    unit: str
    cpu: float
    per_second: float
    over_floor: float | None = None
    under_ours: float | None = None
    added: float | None = None
    latency: float | None = None
    gap: float | None = None
    memory: float | None = None
    failures: int = 0


class Machine(msgspec.Struct, frozen=True):
    """Where and when it was measured."""

    when: str
    processor: str
    cores: int
    python: str
    load_before: float
    load_after: float
    versions: dict[str, str]


class Report(msgspec.Struct, frozen=True):
    """All of one run."""

    machine: Machine
    rows: list[Row]
    process: dict[str, float]
    missing: dict[str, str]


def rows(scenario: Scenario, samples: Samples) -> list[Row]:
    """The figures of one scenario, a row for each gateway."""
    direct = samples.get(DIRECT)
    found: list[Row] = []
    for name, rounds in samples.items():
        if name == DIRECT:
            continue
        ratio = _paired(rounds, samples.get(FLOOR), lambda one, other: one.cpu / other.cpu)
        added = _paired(rounds, samples.get(FLOOR), lambda one, other: one.cpu - other.cpu)
        to_ours = _paired(rounds, samples.get(OURS), lambda one, other: one.cpu / other.cpu)
        latency = _paired(rounds, direct, lambda one, other: one.median - other.median)
        gap = _paired(rounds, direct, lambda one, other: one.gap_p99 - other.gap_p99)
        found.append(
            Row(
                scenario=scenario.name,
                gateway=name,
                unit="event" if scenario.streams else "request",
                cpu=statistics.median(sample.cpu for sample in rounds),
                per_second=statistics.median(sample.per_second for sample in rounds),
                over_floor=ratio,
                added=added,
                under_ours=to_ours,
                latency=latency if scenario.kind == "sequential" else None,
                gap=gap if scenario.kind == "paced" else None,
                # the first round finds the memory untouched
                memory=rounds[0].memory if scenario.kind == "paced" else None,
                failures=sum(sample.failures for sample in rounds),
            )
        )
    return found


def _paired(
    ones: list[Sample], others: list[Sample] | None, compare: Callable[[Sample, Sample], float]
) -> float | None:
    if not others:
        return None
    pairs = [(one, other) for one, other in zip(ones, others, strict=False) if one.cpu and (other.cpu or one.median)]
    try:
        return statistics.median(compare(one, other) for one, other in pairs)
    except (ZeroDivisionError, statistics.StatisticsError):
        return None


def machine(load_before: float, load_after: float) -> Machine:
    """This one, now."""
    versions = {}
    for name in ("asgi-llmgw", "uvicorn", "uvloop", "httptools", "aiohttp", "msgspec"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return Machine(
        when=time.strftime("%Y-%m-%d", time.gmtime()),
        processor=_processor(),
        cores=len(_lines("/proc/cpuinfo", "processor")),
        python=f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}",
        load_before=load_before,
        load_after=load_after,
        versions=versions,
    )


def table(found: Iterable[Row]) -> str:
    """The rows as they are printed: one line each, under the name of their scenario."""
    lines: list[str] = []
    scenario = ""
    for row in found:
        if row.scenario != scenario:
            scenario = row.scenario
            heads = ("µs CPU", "× floor", "above it", "× ours", "per second")
            lines += ["", f"{scenario:32}" + "".join(f"{head:>11}" for head in heads)]
        figures = (
            f"{row.cpu:.1f}",
            _shown(row.over_floor, ".2f"),
            _shown(row.added, ".1f"),
            _shown(row.under_ours, ".2f"),
            f"{row.per_second:.0f}",
        )
        extra = [
            f"{row.latency:+.2f} ms" if row.latency is not None else "",
            f"p99 gap {row.gap:+.1f} ms, {row.memory:.0f} kB a stream"
            if row.gap is not None and row.memory is not None
            else "",
            f"{row.failures} FAILED" if row.failures else "",
        ]
        lines.append(
            f"  {row.gateway:30}"
            + "".join(f"{figure:>11}" for figure in figures)
            + "  "
            + " ".join(filter(None, extra))
        )
    return "\n".join(lines)


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _processor() -> str:
    names = _lines("/proc/cpuinfo", "model name")
    return names[0].partition(":")[2].strip() if names else platform.processor()


def _lines(path: str, prefix: str) -> list[str]:
    try:
        return [line for line in Path(path).read_text().splitlines() if line.startswith(prefix)]
    except OSError:
        return []
