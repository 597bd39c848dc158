"""Logging without secrets: one JSON object on a line, keys blanked in URLs, tracebacks without the values in them."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from asgi_llmgw.json import dumps

LOGGER: Final = "asgi_llmgw"

_TRANSPORTS: Final = ("aiohttp", "httpx", "httpx2", "httpcore", "httpcore2")
_ACCESS_LOGS: Final = ("uvicorn.access", "hypercorn.access")
# a server logs the path as the client wrote it, and %6bey reads as key just as well
_QUERY_KEY: Final = re.compile(r"([?&](?:k|%6b)(?:e|%65)(?:y|%79)=)[^&\s\"'#]+", re.IGNORECASE)
_BLANK: Final = r"\1***"
_FRACTIONS: Final = tuple(f".{milliseconds:03}Z" for milliseconds in range(1000))
_LINE_BREAKS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def redact_query_keys(text: str) -> str:
    """The text with the values of `key=` in query strings blanked."""
    return _QUERY_KEY.sub(_BLANK, text)


def json_line(record: object) -> bytes:
    """One JSON object on one line, whatever line separators a reader may believe in."""
    line = dumps(record)
    if line.isascii():
        return line + b"\n"
    for separator, escaped in _LINE_BREAKS:
        if separator in line:
            line = line.replace(separator, escaped)
    return line + b"\n"


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as UTC, to the millisecond."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return _second(whole) + _FRACTIONS[milliseconds]


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def describe(error: BaseException) -> str:
    """The class and the stack of an exception and of those behind it.

    Messages are left out: an exception nobody foresaw may carry a request's text or a key in them.
    """
    return "\ncaused by ".join(
        "".join((type(found).__name__, "\n", *traceback.format_tb(found.__traceback__))).rstrip()
        for found in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, BaseExceptionGroup):
            waiting.extend(found.exceptions)
        behind = found.__cause__ if found.__cause__ is not None or found.__suppress_context__ else found.__context__
        if behind is not None:
            waiting.append(behind)


class RedactQueryKeys(logging.Filter):
    """Blanks the values of `key=` in a server's access log; put it on `uvicorn.access`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = _redacted(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_redacted(value) for value in record.args)
        elif isinstance(record.args, Mapping):
            record.args = {name: _redacted(value) for name, value in record.args.items()}
        return True


def _redacted(value: object) -> object:
    return redact_query_keys(value) if isinstance(value, str) else value


class JSONFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": "log",
            "logger": record.name,
            "message": redact_query_keys(record.getMessage()).encode("utf-8", "replace").decode(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            entry["error"] = describe(record.exc_info[1])
        return json_line(entry).decode().rstrip("\n")


def configure_logging(level: str = "info", json: bool = True) -> None:
    """Send our own log to stderr, keep HTTP clients quiet (they log URLs) and blank keys in servers' access logs.

    Calling it again replaces what the first call did.
    """
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler()
    handler.setFormatter(
        JSONFormatter() if json else logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    )
    for old in [found for found in logger.handlers if isinstance(found, logging.StreamHandler)]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    for name in _TRANSPORTS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _ACCESS_LOGS:
        access = logging.getLogger(name)
        if not any(isinstance(found, RedactQueryKeys) for found in access.filters):
            access.addFilter(RedactQueryKeys())
