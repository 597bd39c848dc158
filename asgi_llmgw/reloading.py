"""Loads the configuration again, when told to and when its file has changed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

import anyio
import anyio.to_thread

from asgi_llmgw.config import Config, load_config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.gateway import Gateway
from asgi_llmgw.logs import describe

EVERY: Final = 2.0
"""Seconds between two looks at the file."""

Fingerprint: TypeAlias = tuple[int, int, bytes]

_STARTED_WITH: Final = ("host", "port", "workers", "max_connections", "keep_alive_seconds", "log_level", "reload")
_logger: Final = logging.getLogger(__name__)


class Reloader:
    """Keeps a gateway's configuration as its file has it.

    A file that cannot be used changes nothing: what is wrong is logged, and the next change is tried again. A changed
    file is read once it has stood still from one look to the next, as editors and copies write in pieces.

    Args:
        gateway: gets the new configuration.
        load: reads it.
        path: the file to look at; None looks at nothing, and `reload` alone loads again.
        sleep: waits from one look to the next.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        load: Callable[[], Config] = load_config,
        path: Path | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._gateway = gateway
        self._load = load
        self._path = path
        self._sleep = sleep
        self._loaded: Fingerprint | None = None
        self._lock: anyio.Lock | None = None

    async def watch(self) -> None:
        """Look at the file again and again; ends only when it is cancelled.

        The first look loads it too: it may have changed since the gateway was made of it.
        """
        if self._path is None:
            return
        before = None
        while True:
            await self._sleep(EVERY)
            now = await anyio.to_thread.run_sync(fingerprint, self._path)
            if now is not None and now == before and now != self._loaded:
                await self.reload()
            before = now

    async def reload(self) -> bool:
        """Load the configuration and serve it; False where it cannot be used, and the one before stays."""
        self._lock = self._lock or anyio.Lock()
        async with self._lock:
            if self._path is not None:
                self._loaded = await anyio.to_thread.run_sync(fingerprint, self._path)
            try:
                config = await anyio.to_thread.run_sync(self._load)
                if config == self._gateway.config:
                    _logger.debug("the configuration is what it was")
                    return True
                told = _needs_a_restart(self._gateway.config, config)
                await self._gateway.reload(config)
            except ConfigError as error:
                # its message repeats no value of the file
                _logger.error("the configuration was not reloaded, the one before stays: %s", error.message)
                return False
            except Exception as error:
                _logger.error("the configuration was not reloaded, the one before stays: %s", describe(error))
                return False
            for warning in config.warnings():
                _logger.warning("%s", warning)
            if told:
                _logger.warning("changed, but in force after a restart only: %s", ", ".join(told))
            _logger.info("the configuration was reloaded")
            return True


def fingerprint(path: Path) -> Fingerprint | None:
    """What changes with a file; None while it cannot be read."""
    try:
        content = path.read_bytes()
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, hashlib.sha256(content).digest()


def _needs_a_restart(old: Config, new: Config) -> list[str]:
    return [f"server.{name}" for name in _STARTED_WITH if getattr(old.server, name) != getattr(new.server, name)]
