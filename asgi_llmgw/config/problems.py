"""Everything that is wrong with a configuration, in one list that names each key and says what to write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final, TypeAlias

from pydantic import ValidationError

from asgi_llmgw.errors import ConfigError

Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands: `("models", "smart", "targets", 1)`."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


class Problems:
    """Collects what is wrong; the first problem of a place is kept, what follows from it is not."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: Path, message: str) -> None:
        """Note what is wrong at a place."""
        self._found.setdefault(spell(path), message)

    def add_variable(self, name: str, message: str) -> None:
        """Note what is wrong with an environment variable."""
        self._found.setdefault(name, message)

    def add_validation(self, path: Path, error: ValidationError, known: Iterable[str]) -> None:
        """Note what pydantic found below a place, without what was written there."""
        for found in error.errors(include_url=False, include_context=False, include_input=False):
            where = (*path, *(part for part in found["loc"] if part != "[key]"))
            if found["type"] == "extra_forbidden":
                self.add(where, unknown_key(str(where[-1]), known))
            elif found["type"] == "missing":
                self.add(where, "is missing")
            else:
                self.add(where, _lowered(found["msg"].removeprefix("Value error, ")))

    def raise_if_any(self, *, source: str = "the configuration") -> None:
        """Report all of it at once.

        Raises:
            ConfigError: something was found.
        """
        if self._found:
            lines = [f"  {where}: {message}" for where, message in self._found.items()]
            count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
            raise ConfigError("\n".join([f"{count} in {source}:", *lines]))


def unknown_key(name: str, known: Iterable[str]) -> str:
    """What to say about a key that does not exist."""
    return f"there is no such key{did_you_mean(name, known)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean "openai"?` where something comes close, otherwise nothing."""
    close = get_close_matches(name, sorted(known), n=1)
    return f', did you mean "{close[0]}"?' if close else ""


def spell(path: Sequence[str | int]) -> str:
    """A path as TOML spells it: `models."smart".targets[1]`."""
    text = ""
    for number, part in enumerate(path):
        if isinstance(part, int):
            text += f"[{part}]"
        elif number == 1 and path[0] in ("models", "prices", "metadata"):
            text += f'."{part}"'
        else:
            name = part if _BARE.match(part) else f'"{part}"'
            text += f".{name}" if text else name
    return text


def _lowered(message: str) -> str:
    first, _, _ = message.partition(" ")
    return message if not first.istitle() else message[:1].lower() + message[1:]
