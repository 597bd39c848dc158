"""Every known pitfall and fault of this path has a test that cites its id: in a docstring, a comment or a test's id.

Pitfalls: P is what was seen going wrong elsewhere, S tool-call deltas and indexes, T endings and order, U usage, F1 to
F18 bytes, framing and error frames, R reasoning and its signatures, J schemas, I calls and results, C coding agents.
Faults: F001 to F116 are inbound framing, bodies, routing, headers and the client's lifecycle.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parent
CITED = re.compile(r"(?<![A-Za-z0-9])[PSTUFRJIC][0-9]{1,3}(?![A-Za-z0-9])")

PITFALLS = {
    f"{letter}{number}"
    for letter, last in {"S": 15, "T": 25, "U": 11, "F": 18, "R": 12, "J": 12, "I": 17, "C": 14}.items()
    for number in range(1, last + 1)
} | {f"P{number}" for number in range(10)}
FAULTS = {
    f"F{number:03}"
    for first, last in ((1, 26), (27, 50), (69, 82), (97, 108), (109, 116))
    for number in range(first, last + 1)
}
NOT_ON_THIS_PATH = {
}


def citations() -> dict[str, set[str]]:
    """The files that cite each id."""
    found: dict[str, set[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__).resolve():
            for identifier in CITED.findall(path.read_text()):
                found.setdefault(identifier, set()).add(path.name)
    return found


def test_every_pitfall_and_fault_of_this_path_is_cited() -> None:
    assert sorted((PITFALLS | FAULTS) - citations().keys() - NOT_ON_THIS_PATH.keys()) == []


def test_what_is_said_to_be_elsewhere_is_not_here() -> None:
    """Whoever writes a test for one of them takes it out of the table."""
    assert NOT_ON_THIS_PATH.keys() <= PITFALLS | FAULTS
    assert {known: files for known, files in citations().items() if known in NOT_ON_THIS_PATH} == {}
