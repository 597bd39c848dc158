"""Draws the figures: a bar for each gateway, in µs of CPU on a logarithmic scale, as a picture that GitHub shows.

python -m benchmarks.picture results.json picture.svg
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.gateways import OURS
from benchmarks.results import Report, Row

SHOWN: Final = {
    "chat-chat, json, 1 kB": "one JSON request of 1 kB, passed through",
    "chat-anthropic, json, 1 kB": "one JSON request of 1 kB, translated from Chat to Anthropic",
    "chat-chat, stream": "one event of a stream, passed through",
    "chat-anthropic, stream": "one event of a stream, translated from Anthropic to Chat",
}
_WIDTH: Final = 760
_LEFT: Final = 110
_LONGEST: Final = 520
_BAR: Final = 16
_STEP: Final = 22
_TITLE: Final = 30
_LEAST: Final = 0.3


def draw(report: Report) -> str:
    """An SVG."""
    shapes: list[str] = []
    top = 12
    for scenario, title in SHOWN.items():
        rows = [row for row in report.rows if row.scenario == scenario]
        if rows:
            shapes.append(_text(_LEFT, top + 14, f"µs of CPU for {title}", weight="bold"))
            top += _TITLE
            shapes += _bars(rows, top)
            top += _STEP * len(rows) + 10
    machine = report.machine
    about = f"{machine.processor}, {machine.cores} cores, {machine.python}, {machine.when}; logarithmic scale"
    shapes.append(_text(_LEFT, top + 10, about, size=10))
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 24}" width="{_WIDTH}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _bars(rows: list[Row], top: int) -> Iterator[str]:
    highest = math.log10(max(row.cpu for row in rows) / _LEAST)
    for number, row in enumerate(sorted(rows, key=lambda row: row.cpu)):
        y = top + number * _STEP
        length = max(2.0, math.log10(max(row.cpu, 2 * _LEAST) / _LEAST) / highest * _LONGEST)
        color = "#0b7285" if row.gateway == OURS else "#adb5bd"
        yield _text(_LEFT - 8, y + 12, row.gateway, anchor="end")
        yield f'<rect x="{_LEFT}" y="{y}" width="{length:.0f}" height="{_BAR}" fill="{color}"/>'
        figure = f"{row.cpu:,.0f}" if row.cpu >= 100 else f"{row.cpu:.1f}"
        ratio = "" if row.over_floor is None else f"  ({row.over_floor:.3g} × floor)"
        yield _text(_LEFT + length + 6, y + 12, figure + ratio)


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal", size: int = 12) -> str:
    escaped = words.replace("&", "&amp;").replace("<", "&lt;")
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}" font-size="{size}" '
        f'fill="#212529">{escaped}</text>'
    )


def main(results: str, picture: str) -> int:
    """Draw what an earlier run has written."""
    report = msgspec.json.decode(Path(results).read_bytes(), type=Report)
    Path(picture).write_text(draw(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
