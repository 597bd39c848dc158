"""Names and globs, and what stands for them."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_GLOB: Final = frozenset("*?[")


class Patterns(Generic[T]):
    """What is said of some names: an exact name wins over globs, a longer glob over shorter ones."""

    def __init__(self, said: Mapping[str, T]) -> None:
        self._exact = {name: value for name, value in said.items() if _GLOB.isdisjoint(name)}
        globs = [pattern for pattern in said if pattern not in self._exact]
        self._globs = [(glob, said[glob]) for glob in sorted(globs, key=len, reverse=True)]

    def match(self, name: str) -> T | None:
        """What stands for the name, None if nothing matches."""
        found = self._exact.get(name)
        if found is not None:
            return found
        return next((value for glob, value in self._globs if fnmatchcase(name, glob)), None)
