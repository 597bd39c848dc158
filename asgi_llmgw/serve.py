"""The gateway under a server of its own: `asgi-llmgw serve`."""

from __future__ import annotations

import importlib.util
import logging.config
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Final, NoReturn

from asgi_llmgw import __version__
from asgi_llmgw.config import Config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols import SERVED
from asgi_llmgw.worker import ServerName, log_config, run, run_child

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
CARRIERS_KEY: Final = "LLMGW_REASONING__CARRIERS_KEY"

_EXTRA: Final[dict[ServerName, str]] = {"uvicorn": "server", "hypercorn": "hypercorn"}
_CLIENT_VARIABLE: Final[dict[Protocol, tuple[str, str]]] = {
    "openai_chat": ("OPENAI_BASE_URL", "/v1"),
    "anthropic_messages": ("ANTHROPIC_BASE_URL", ""),
    "gemini_generate": ("GOOGLE_GEMINI_BASE_URL", ""),
}
_SHOWN: Final = 8
_BACKLOG: Final = 2048
UNSENT: Final = 64 * 1024
"""Bytes of an answer that the kernel takes before the client has room for them."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the gateway listens, as a client on this machine would write it."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host and "[" not in host else f"http://{host}:{self.port}"


def serve(config: Config, *, server: ServerName = "uvicorn") -> int:
    """Listen until a signal comes; the return is the exit code.

    With more than one worker each of them reads the configuration again, from the environment: the caller has put
    there what it was given.

    Raises:
        ConfigError: the server is not installed, or cannot listen there.
    """
    if importlib.util.find_spec(server) is None:
        raise ConfigError(f"{server} is not installed: pip install 'asgi-llmgw[{_EXTRA[server]}]'")
    if server == "hypercorn" and config.server.max_connections is not None:
        raise ConfigError("server.max_connections cannot be had with hypercorn: take it out, or use --server uvicorn")
    listening = listen(config.server.host, config.server.port)
    with listening, _metrics_directory(config.server.workers), shared_key(config), _ending_quietly():
        port: int = listening.getsockname()[1]
        sys.stderr.write(banner(config, Address(config.server.host, port)))
        sys.stderr.flush()
        if config.server.workers > 1:
            return _serve_many(config, listening, server)
        return run(config, listening, server)


def banner(config: Config, address: Address) -> str:
    """What an operator wants to see first: where, what, for whom, and how to try it."""
    table = config.route_table()
    names = list(dict.fromkeys(route.name for route in table.routes))
    keys = [key.name for key in config.keys]
    model = next(iter(table.names()), "MODEL")
    authorization = " -H 'authorization: Bearer YOUR_KEY'" if keys else ""
    lines = [
        f"asgi-llmgw {__version__} listens on {address.url}",
        f"  models     {_some(names)}",
        f"  keys       {_some(keys) or 'none: open to everybody on this machine'}",
    ]
    for protocol in SERVED:
        variable, suffix = _CLIENT_VARIABLE.get(protocol, ("", ""))
        if variable:
            lines.append(f"  point to   {variable}={address.url}{suffix}")
    lines += [
        f"  try        curl {address.url}/v1/chat/completions -H 'content-type: application/json'{authorization} "
        f'-d \'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}\'',
        *(f"warning: {warning}" for warning in config.warnings()),
    ]
    return "\n".join(lines) + "\n"


def _serve_many(config: Config, listening: socket.socket, server: ServerName) -> int:
    # one process alone does without it
    from asgi_llmgw.supervisor import Supervisor

    context = multiprocessing.get_context("spawn")

    def start(orders: Connection) -> BaseProcess:
        process = context.Process(target=run_child, args=(listening, server, orders))
        process.start()
        return process

    logging.config.dictConfig(log_config(config.server.log_level))
    return Supervisor(start, config.server.workers).run()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, made before anything else so that a port in use is one line and not a traceback.

    Raises:
        ConfigError: there is no such address, or it is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}: {error.strerror}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _keep_little(listening)
        listening.bind(address)
        # from here on connections wait for the server instead of being refused: the banner is true when it is read
        listening.listen(_BACKLOG)
        listening.set_inheritable(True)
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    return listening


def _keep_little(listening: socket.socket) -> None:
    """Let the kernel hold little that it has not sent yet; connections have this from the socket that listens.

    Otherwise it takes 4 MB for a client that does not read, and tells of one that reads slowly a megabyte at a time.
    What is on its way is not bounded by it, so it costs no throughput (https://lwn.net/Articles/560082/).
    """
    option: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        listening.setsockopt(socket.IPPROTO_TCP, option, UNSENT)


@contextmanager
def _metrics_directory(workers: int) -> Iterator[None]:
    """Worker processes add their metrics up in a directory; a fresh one, as old files would be counted again."""
    if workers == 1 or os.environ.get(MULTIPROCESS):
        yield
        return
    directory = tempfile.mkdtemp(prefix="asgi-llmgw-metrics-")
    os.environ[MULTIPROCESS] = directory
    try:
        yield
    finally:
        os.environ.pop(MULTIPROCESS, None)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def shared_key(config: Config) -> Iterator[None]:
    """Worker processes open what one of them has sealed: where no key is configured they get one for this run."""
    if config.server.workers == 1 or config.reasoning.carriers_key is not None:
        yield
        return
    os.environ[CARRIERS_KEY] = secrets.token_hex(32)
    try:
        yield
    finally:
        os.environ.pop(CARRIERS_KEY, None)


@contextmanager
def _ending_quietly() -> Iterator[None]:
    """A server that drained after a signal raises it again; for us that is a normal end."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(0) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
