"""The gateway under a server of its own: `asgi-llmgw serve`."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import math
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
from types import FrameType
from typing import Final, Literal, NoReturn, TypeAlias

from asgi_llmgw import __version__
from asgi_llmgw.config import Config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols import SERVED

ServerName: TypeAlias = Literal["uvicorn", "hypercorn"]

FACTORY: Final = "asgi_llmgw.app:from_environment"
MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
CARRIERS_KEY: Final = "LLMGW_REASONING__CARRIERS_KEY"
STARTUP_FAILED: Final = 3

_EXTRA: Final[dict[ServerName, str]] = {"uvicorn": "server", "hypercorn": "hypercorn"}
_CLIENT_VARIABLE: Final[dict[Protocol, tuple[str, str]]] = {
    "openai_chat": ("OPENAI_BASE_URL", "/v1"),
    "anthropic_messages": ("ANTHROPIC_BASE_URL", ""),
    "gemini_generate": ("GOOGLE_GEMINI_BASE_URL", ""),
}
_SHOWN: Final = 8
_BACKLOG: Final = 2048


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
    listening = _listen(config.server.host, config.server.port)
    with listening, _metrics_directory(config.server.workers), shared_key(config), _ending_quietly():
        port: int = listening.getsockname()[1]
        sys.stderr.write(banner(config, Address(config.server.host, port)))
        sys.stderr.flush()
        run = _uvicorn if server == "uvicorn" else _hypercorn
        return run(config, listening)


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


def log_config(level: str) -> dict[str, object]:
    """Everything on stderr as JSON lines: our log at `level`, servers and HTTP clients when something is wrong."""
    quiet = ("uvicorn", "hypercorn.error", "aiohttp", "httpx", "httpx2", "httpcore", "httpcore2", "asyncio")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "asgi_llmgw.logs.JSONFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            "asgi_llmgw": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            **{name: {"handlers": ["stderr"], "level": "WARNING", "propagate": False} for name in quiet},
        },
    }


def _uvicorn(config: Config, listening: socket.socket) -> int:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from asgi_llmgw.app import build_app

    many = config.server.workers > 1
    settings = uvicorn.Config(
        FACTORY if many else build_app(config),
        factory=many,
        workers=config.server.workers,
        log_config=log_config(config.server.log_level),
        access_log=False,
        server_header=False,
        timeout_keep_alive=config.server.keep_alive_seconds,
        timeout_graceful_shutdown=math.ceil(config.server.drain_seconds),
        limit_concurrency=config.server.max_connections,
    )
    if many:
        Multiprocess(settings, sockets=[listening]).run()
        return 0
    server = uvicorn.Server(settings)
    server.run(sockets=[listening])
    return 0 if server.started else STARTUP_FAILED


def _hypercorn(config: Config, listening: socket.socket) -> int:
    from hypercorn.asyncio import serve as serve_one
    from hypercorn.config import Config as HypercornConfig
    from hypercorn.run import run as serve_many

    from asgi_llmgw.app import build_app

    settings = HypercornConfig()
    settings.bind = [f"fd://{os.dup(listening.fileno())}"]
    settings.include_server_header = False
    settings.accesslog = None
    settings.errorlog = logging.getLogger("hypercorn.error")
    settings.logconfig_dict = log_config(config.server.log_level)
    settings.loglevel = "WARNING"
    settings.keep_alive_timeout = config.server.keep_alive_seconds
    settings.graceful_timeout = config.server.drain_seconds
    if config.server.workers > 1:
        settings.workers = config.server.workers
        settings.application_path = f"{FACTORY}()"
        return serve_many(settings)
    # hypercorn types the messages of an ASGI app more closely than ASGI does
    asyncio.run(serve_one(build_app(config), settings))  # type: ignore[arg-type]
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, made before anything else so that a port in use is one line and not a traceback."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}: {error.strerror}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        # from here on connections wait for the server instead of being refused: the banner is true when it is read
        listening.listen(_BACKLOG)
        listening.set_inheritable(True)
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    return listening


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
