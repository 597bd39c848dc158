"""What the headers of a refusal say about another try."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import Final

MAX_RETRY_AFTER: Final = 3600.0
"""Nobody waits longer, and a broken clock at the vendor's must not bench it for years."""


def retry_after(headers: Iterable[tuple[bytes, bytes]], *, clock: Callable[[], float] = time.time) -> float | None:
    """Seconds to wait, between 0 and `MAX_RETRY_AFTER`; None where nothing readable is said.

    `retry-after-ms` is OpenAI's and Anthropic's finer form and wins; `retry-after` is a number of seconds or a date
    (https://www.rfc-editor.org/rfc/rfc9110#field.retry-after).
    """
    said = {name: value for name, value in headers if name in (b"retry-after", b"retry-after-ms")}
    milliseconds = _number(said.get(b"retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    value = said.get(b"retry-after")
    seconds = _number(value)
    if seconds is None:
        seconds = _until(value, clock)
    return None if seconds is None else _bounded(seconds)


def _number(value: bytes | None) -> float | None:
    try:
        number = float(value or b"")
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _until(value: bytes | None, clock: Callable[[], float]) -> float | None:
    try:
        return parsedate_to_datetime((value or b"").decode("ascii")).timestamp() - clock()
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
