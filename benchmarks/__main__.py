"""Measures asgi_llmgw beside its floor and its peers, all of them up at once and asked in turn.

    python -m benchmarks [--quick] [--rounds 5] [--seconds 1] [--json FILE] [--svg FILE] [--litellm PROGRAM]

What it prints is CPU time, and ratios of it within one run: such ratios say the same on other machines, and on a busy
one. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

import msgspec

from benchmarks.gateways import FLOOR, HOW_TO_INSTALL, LEAN, OURS, Gateway, installed
from benchmarks.lab import DIRECT, Lab, Sample, Scenario
from benchmarks.memory import at_rest
from benchmarks.messages import Pair
from benchmarks.picture import draw
from benchmarks.results import Report, Row, machine, rows, table

CONNECTIONS: Final = 8
STREAMS: Final = 1000
_PAIRS: Final[tuple[Pair, ...]] = get_args(Pair)
_EITHER: Final = frozenset({OURS, FLOOR, LEAN, "nginx"})
"""What is quick enough for a thousand streams."""


def scenarios(*, quick: bool) -> list[Scenario]:
    """What is measured."""
    if quick:
        return [Scenario("chat-chat", "json"), Scenario("chat-anthropic", "stream")]
    return [
        *(Scenario(pair, "json") for pair in _PAIRS),
        *(Scenario(pair, "json", "200 kB") for pair in _PAIRS),
        *(Scenario(pair, "stream") for pair in _PAIRS),
        *(Scenario(pair, "sequential") for pair in _PAIRS[:2]),
        *(Scenario(pair, "paced") for pair in _PAIRS[:2]),
    ]


def measure(lab: Lab, scenario: Scenario, *, rounds: int, seconds: float, streams: int) -> list[Row]:
    """One scenario, the gateways in turn: A B C, A B C."""
    samples: dict[str, list[Sample]] = {}
    paced, one_by_one = scenario.kind == "paced", scenario.kind == "sequential"
    asked: list[Gateway | None] = [*lab.gateways]
    if paced:
        asked = [gateway for gateway in lab.gateways if gateway.name in _EITHER]
    if paced or one_by_one:
        asked.append(None)
    for number in range(-1, 1 if paced else rounds):
        for gateway in asked:
            if paced and number < 0:
                continue
            sample = lab.burst(
                gateway,
                scenario,
                seconds=60.0 if paced else seconds if number >= 0 else seconds / 3,
                connections=streams if paced else 1 if one_by_one else CONNECTIONS,
                requests=streams if paced else 10**9,
            )
            if sample is None:
                continue
            name = DIRECT if gateway is None else gateway.name
            if sample.failures:
                lab.missing[f"{name}: {scenario.name}"] = sample.said
            elif number >= 0:
                # the first burst is for warming up
                samples.setdefault(name, []).append(sample)
    return rows(scenario, samples)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    options = _options(arguments)
    gateways, missing = installed(litellm_at=options.litellm, portkey_at=options.portkey)
    if options.only:
        gateways = [gateway for gateway in gateways if gateway.name in options.only]
    for name in missing:
        print(f"{name} is not installed: {HOW_TO_INSTALL[name]}")
    load = os.getloadavg()[0]
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory, Lab(gateways, Path(directory)) as lab:
        wanted = [one for one in scenarios(quick=options.quick) if not options.scenario or options.scenario in one.name]
        for scenario in wanted:
            measured = measure(
                lab,
                scenario,
                rounds=1 if options.quick else options.rounds,
                seconds=0.1 if options.quick else options.seconds,
                streams=options.streams,
            )
            print(table(measured), flush=True)
            found += measured
        process = {} if options.quick or options.no_memory else at_rest(Path(directory))
    for name, figure in process.items():
        print(f"{name:40}{figure:10.1f}")
    for name, reason in lab.missing.items():
        print(f"not measured: {name}: {reason[:300]}")
    report = Report(machine(load, os.getloadavg()[0]), found, process, lab.missing)
    if options.json:
        Path(options.json).write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if options.svg:
        Path(options.svg).write_text(draw(report))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny amount, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each burst")
    parser.add_argument("--streams", type=int, default=STREAMS, help="that are open at once")
    parser.add_argument("--scenario", help="a part of the names of those to measure")
    parser.add_argument("--only", action="append", help="measure this gateway alone; may be given again")
    parser.add_argument("--no-memory", action="store_true", help="leave out what the process itself needs")
    parser.add_argument("--litellm", help="the program `litellm`")
    parser.add_argument("--portkey", help="the directory that npm has installed @portkey-ai/gateway in")
    parser.add_argument("--json", help="write the figures there")
    parser.add_argument("--svg", help="draw them there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
