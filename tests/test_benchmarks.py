"""The benchmarks run. What they measure is printed and never asserted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from benchmarks.lab import Sample, Scenario
from benchmarks.picture import draw
from benchmarks.results import Machine, Report, rows, table


def sample(cpu: float) -> Sample:
    return Sample(cpu=cpu, per_second=10.0, median=1.0, p99=2.0)


def test_ratios_are_taken_within_each_round() -> None:
    """A busy moment hits both sides: the ratio of the medians would be another one."""
    measured = rows(
        Scenario("chat-chat", "json"),
        {"asgi_llmgw": [sample(20), sample(400), sample(30)], "floor": [sample(10), sample(200), sample(20)]},
    )
    assert [(row.gateway, row.cpu, row.over_floor) for row in measured] == [("asgi_llmgw", 30, 2), ("floor", 20, 1)]
    assert "2.00" in table(measured)


def test_the_picture_is_one() -> None:
    found = rows(Scenario("chat-chat", "stream"), {"asgi_llmgw": [sample(5)], "a<b": [sample(500)]})
    report = Report(Machine("2026-01-01", "a processor", 2, "a Python", 0.0, 0.0, {}), found, {}, {})
    texts = [element.text for element in ElementTree.fromstring(draw(report)).iter() if element.text]
    assert any("a<b" in text for text in texts) and any("one event of a stream" in text for text in texts)


@pytest.mark.skipif(sys.platform != "linux", reason="CPU time is read from /proc")
def test_the_command_measures_the_gateway_and_its_floor(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "asgi_llmgw", "--only", "floor"]
    done = subprocess.run([*command, "--json", str(results)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode(results.read_bytes(), type=Report)
    assert not report.missing
    assert {(row.scenario, row.gateway) for row in report.rows} == {
        (scenario, gateway)
        for scenario in ("chat-chat, json, 1 kB", "chat-anthropic, stream")
        for gateway in ("asgi_llmgw", "floor")
    }
