"""What every test has: the asyncio backend, no way out of this machine, and a place to report what was covered."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

# the very first draw in a fresh checkout builds tables of characters, which takes seconds on a busy machine
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

_coverage: dict[str, int] = {}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def report() -> Callable[[str, int], None]:
    """`report("openai_chat responses", 37)`: the closing lines of the run tell how much was covered."""

    def note(what: str, count: int) -> None:
        _coverage[what] = _coverage.get(what, 0) + count

    return note


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests talk to this machine alone."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0] if isinstance(address, tuple) else ""
            if host not in ("127.0.0.1", "::1", "localhost"):
                raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _coverage:
        terminalreporter.section("covered")
        for what, count in sorted(_coverage.items()):
            terminalreporter.write_line(f"{count:7d}  {what}")
