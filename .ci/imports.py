"""Print how long importing the package takes, and fail where `import asgi_llmgw` takes 150 ms or more."""

from __future__ import annotations

import subprocess
import sys

LIMIT = 150.0
TIMED = "import time; start = time.perf_counter(); {}; print((time.perf_counter() - start) * 1000)"
STATEMENTS = ("import asgi_llmgw", "from asgi_llmgw import StreamTranslator", "from asgi_llmgw import build_app")


def milliseconds(statement: str, *, runs: int = 5) -> float:
    """The best of some runs, each in an interpreter of its own."""
    command = [sys.executable, "-c", TIMED.format(statement)]
    return min(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(runs))


def main() -> None:
    times = {statement: milliseconds(statement) for statement in STATEMENTS}
    for statement, taken in times.items():
        print(f"{statement}: {taken:.0f} ms")
    assert times[STATEMENTS[0]] < LIMIT, f"importing the package takes {LIMIT:g} ms or more"


if __name__ == "__main__":
    main()
