"""Several processes behind one listening socket: starts them, replaces what dies, and passes orders on."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Final

from prometheus_client.multiprocess import mark_process_dead

from asgi_llmgw.worker import CUT, DRAIN, LEAVE, RELOAD, STARTUP_FAILED

PAUSE: Final = 1.0
"""Seconds before a worker that died is replaced."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_METRICS: Final = "PROMETHEUS_MULTIPROC_DIR"
_logger: Final = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Child:
    """One worker process.

    Args:
        ready: it takes requests.
        leaving: it was told to end.
        replaces: the worker that is told to end once this one is ready.
    """

    process: BaseProcess
    orders: Connection
    ready: bool = False
    leaving: bool = False
    replaces: _Child | None = None

    def tell(self, order: bytes) -> None:
        if order in (DRAIN, LEAVE):
            self.leaving = True
        try:
            self.orders.send_bytes(order)
        except OSError:
            # it has ended, which is noticed elsewhere
            pass


class Supervisor:
    """Keeps a number of worker processes running.

    SIGTERM and SIGINT end them in order, a second one at once, a third one without mercy. SIGHUP has each of them load
    the configuration again. SIGUSR2 replaces them one after the other: each new one takes requests before an old one
    is told to leave.

    Args:
        start: starts a process that takes its orders from this connection.
        count: how many.
    """

    def __init__(self, start: Callable[[Connection], BaseProcess], count: int) -> None:
        self._start = start
        self._count = count
        self._children: list[_Child] = []
        self._to_replace: list[_Child] = []
        self._endings = 0
        self._exit_code = 0
        self._wake_reader, self._wake_writer = os.pipe()

    def run(self) -> int:
        """Return when all of them have ended; the return is the exit code."""
        with self._signals():
            for _ in range(self._count):
                self._spawn()
            while self._children:
                self._step()
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        return self._exit_code

    def _step(self) -> None:
        sentinels = {child.process.sentinel: child for child in self._children}
        talking: dict[object, _Child] = {child.orders: child for child in self._children if not child.ready}
        for woken in wait([self._wake_reader, *sentinels, *(child.orders for child in talking.values())]):
            if woken == self._wake_reader:
                for number in os.read(self._wake_reader, 64):
                    self._signalled(number)
            elif isinstance(woken, int):
                self._ended(sentinels[woken])
            else:
                self._is_ready(talking[woken])

    def _spawn(self, *, replaces: _Child | None = None) -> None:
        ours, theirs = multiprocessing.Pipe()
        process = self._start(theirs)
        theirs.close()
        self._children.append(_Child(process, ours, replaces=replaces))

    def _is_ready(self, child: _Child) -> None:
        try:
            child.orders.recv_bytes()
        except (EOFError, OSError):
            # it dies; its sentinel tells how
            child.process.join()
            return
        child.ready = True
        if child.replaces is not None:
            child.replaces.tell(LEAVE)
            child.replaces = None
            self._replace_next()

    def _ended(self, child: _Child) -> None:
        child.process.join()
        child.orders.close()
        self._children.remove(child)
        code, pid = child.process.exitcode or 0, child.process.pid
        if pid is not None and os.environ.get(_METRICS):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        if child.leaving or self._endings or any(other.replaces is child for other in self._children):
            return
        if child.replaces is not None:
            _logger.error("the new worker %s did not start: the old ones stay", pid)
            self._to_replace.clear()
        elif not child.ready and not any(other.ready for other in self._children):
            _logger.error("worker %s did not start", pid)
            self._exit_code = code or STARTUP_FAILED
            self._end()
        else:
            _logger.error("worker %s ended with exit code %s and is replaced", pid, code)
            time.sleep(PAUSE)
            self._spawn()

    def _signalled(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._end()
        elif self._endings:
            return
        elif number == signal.SIGHUP:
            self._tell_all(RELOAD)
        elif number == signal.SIGUSR2:
            self._to_replace = [child for child in self._children if not child.leaving and child.replaces is None]
            if all(child.replaces is None for child in self._children):
                self._replace_next()

    def _end(self) -> None:
        self._endings += 1
        if self._endings <= 2:
            self._tell_all(DRAIN if self._endings == 1 else CUT)
            return
        for child in self._children:
            child.process.kill()

    def _tell_all(self, order: bytes) -> None:
        for child in self._children:
            child.tell(order)

    def _replace_next(self) -> None:
        while self._to_replace and not self._endings:
            old = self._to_replace.pop(0)
            if old in self._children and not old.leaving:
                self._spawn(replaces=old)
                return

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, frame: FrameType | None) -> None:
            os.write(self._wake_writer, bytes([number]))

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
