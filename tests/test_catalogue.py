"""Every known pitfall and fault has a test that cites its number: in a docstring, a comment or a test's id.

Pitfalls: P is what was seen going wrong elsewhere, S tool-call deltas and indexes, T endings and order, U usage, F1 to
F18 bytes, framing and error frames, R reasoning and its signatures, J schemas, I calls and results, C coding agents,
D routing, retries, fallback and timeouts, L limits, budgets and clients that leave.
Faults, F001 to F208: inbound framing, bodies, keys and tenants, paths, egress, headers, clients that leave or dawdle,
vendors' answers, vendors' streams, retries and breakers, stores and budgets, lifespan and hosts.

A fault about which the gateway can do nothing stands in docs/faults.md instead, with who can.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
LEFT_TO_OTHERS = TESTS.parent / "docs" / "faults.md"
CITED = re.compile(r"(?<![A-Za-z0-9])[PSTUFRJICDL][0-9]{1,3}(?![A-Za-z0-9])")
ROW = re.compile(r"^\| ([A-Z][0-9]{1,3}) \| [^|]{20,} \| [^|]{40,} \|$", re.MULTILINE)

LAST = {"S": 15, "T": 25, "U": 11, "F": 18, "R": 12, "J": 12, "I": 17, "C": 14, "D": 17, "L": 10}
PITFALLS = {f"{letter}{number}" for letter, last in LAST.items() for number in range(1, last + 1)} | {
    f"P{number}" for number in range(10)
}
FAULTS = {f"F{number:03}" for number in range(1, 209)}


def citations() -> dict[str, set[str]]:
    """The files that cite each number."""
    found: dict[str, set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__).resolve():
            for identifier in CITED.findall(path.read_text()):
                found.setdefault(identifier, set()).add(path.name)
    return found


def left_to_others() -> set[str]:
    """The numbers of the table in the documentation."""
    return set(ROW.findall(LEFT_TO_OTHERS.read_text()))


def test_every_pitfall_and_fault_is_cited_or_said_to_be_somebody_elses() -> None:
    assert sorted((PITFALLS | FAULTS) - citations().keys() - left_to_others()) == []


def test_what_is_left_to_others_is_known_and_not_tested_here() -> None:
    """Whoever writes a test for one of them takes it out of the table."""
    assert left_to_others()
    assert left_to_others() <= PITFALLS | FAULTS
    assert left_to_others() & citations().keys() == set()


def test_every_row_of_that_table_says_what_and_who() -> None:
    rows = [line for line in LEFT_TO_OTHERS.read_text().splitlines() if re.match(r"\| [A-Z][0-9]+ ", line)]
    assert len(rows) == len(left_to_others())
