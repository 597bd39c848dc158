"""Processes on a core of their own, and what they have cost: read from /proc, which only Linux has."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

GATEWAY_CORE: Final = 0
OTHER_CORE: Final = 1
"""The vendor and the load generator run beside the gateways, never on the same core."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class StartError(Exception):
    """A process did not begin to listen."""


class Process:
    """A process, and all that it starts.

    Args:
        core: the only one it runs on, where there is more than one.
        log: where both its outputs go.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        core: int,
        log: Path,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        patience: float = 60.0,
    ) -> None:
        self._log = log
        cores = {core} if core in os.sched_getaffinity(0) else os.sched_getaffinity(0)
        self.started = time.perf_counter()
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
                start_new_session=True,
            )
        self.start_seconds = 0.0
        if port is not None:
            self._wait(port, patience)
            self.start_seconds = time.perf_counter() - self.started

    def _wait(self, port: int, patience: float) -> None:
        while time.perf_counter() < self.started + patience:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            if self.popen.poll() is not None:
                break
            time.sleep(0.005)
        self.stop()
        raise StartError(self._log.read_text(errors="replace")[-2000:])

    def cpu(self) -> float:
        """Seconds of CPU that it and its children have taken so far."""
        return sum(_cpu(pid) for pid in self._family())

    def memory(self) -> int:
        """Resident bytes, its children's too."""
        return sum(_resident(pid) for pid in self._family())

    def stop(self) -> None:
        """End it, and what it has started."""
        for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(patience)
                return

    def _family(self) -> list[int]:
        found = [self.popen.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += [int(child) for child in (task / "children").read_text().split()]
        return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # user and system time, of those that have ended as well
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
