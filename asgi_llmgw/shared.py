"""What outlives a reload: connections, counters and memories are handed from one configuration to the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """Something long-lived, the settings it was made from, and how to let go of it."""

    settings: object
    value: object
    close: Callable[[], Awaitable[None]] | None


class Shared:
    """The long-lived parts of one configuration's stack.

    A new one takes over what the one before has made, wherever the settings are the same.

    Args:
        before: the parts of the configuration that is being replaced.
    """

    def __init__(self, before: Shared | None = None) -> None:
        self._before: dict[str, Part] = {} if before is None else dict(before._parts)
        self._parts: dict[str, Part] = {}

    def keep(
        self,
        name: str,
        settings: object,
        make: Callable[[], T],
        *,
        close: Callable[[T], Awaitable[None]] | None = None,
    ) -> T:
        """The part of this name: the one there is, or a new one where there is none or its settings have changed.

        Args:
            settings: compared with what the part there is was made from.
            close: called once nobody uses the part any more.
        """
        part = self._parts.get(name) or self._before.get(name)
        if part is None or part.settings != settings:
            value = make()
            part = Part(settings, value, None if close is None else lambda: close(value))
        self._parts[name] = part
        return cast(T, part.value)

    def built(self) -> None:
        """The stack stands: nothing more is taken over."""
        self._before = {}

    def parts_without(self, others: Iterable[Shared]) -> list[Part]:
        """The parts that none of the others has."""
        theirs = {id(part) for other in others for part in other._parts.values()}
        return [part for part in self._parts.values() if id(part) not in theirs]
