"""Environment variables that set single values: `LLMGW_SERVER__PORT=9000`, `LLMGW_PROVIDERS__OPENAI__BASE_URL=…`.

Two underscores stand between the parts of a key; a variable of ours without them (`LLMGW_KEY_TEAM_A`) is a value for
`env:` and not looked at here. Names of providers, models and keys are compared in upper case with everything but
letters and digits as `_`. What is not there yet is made, where one variable at a time can make it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import BaseModel

from asgi_llmgw.config.balancing import BreakerSettings, RetrySettings
from asgi_llmgw.config.limits import LimitsSettings, PriceSettings, TenantSettings
from asgi_llmgw.config.metadata import MetadataSettings
from asgi_llmgw.config.models import (
    KeySettings,
    MetricsSettings,
    ModelSettings,
    ProfileSettings,
    ProviderSettings,
    ReasoningSettings,
    RoutingSettings,
    ServerSettings,
    TimeoutSettings,
)
from asgi_llmgw.config.problems import Problems, did_you_mean
from asgi_llmgw.config.store import StoreSettings

PREFIX: Final = "LLMGW_"

PLAIN: Final[Mapping[str, type[BaseModel]]] = {
    "server": ServerSettings,
    "routing": RoutingSettings,
    "retry": RetrySettings,
    "breaker": BreakerSettings,
    "limits": LimitsSettings,
    "store": StoreSettings,
    "reasoning": ReasoningSettings,
    "metrics": MetricsSettings,
}
"""The sections that are one table."""
NAMED: Final[Mapping[str, type[BaseModel]]] = {
    "keys": KeySettings,
    "tenants": TenantSettings,
    "providers": ProviderSettings,
    "models": ModelSettings,
    "prices": PriceSettings,
    "metadata": MetadataSettings,
}
"""The sections that are tables by name (keys carry their name inside)."""
_NESTED: Final[Mapping[str, type[BaseModel]]] = {"timeouts": TimeoutSettings, "profile": ProfileSettings}
_MODALITIES: Final = ("input_modalities", "output_modalities")
_NOT_SCALAR: Final = frozenset(
    {"api_keys", "headers", "models", "targets", "name", "long_context", "refused_fields", *_MODALITIES, *_NESTED}
)

Table = dict[str, object]


def apply_overrides(document: Table, environ: Mapping[str, str], problems: Problems) -> None:
    """Write what the environment says into the document, in place.

    An empty variable counts as absent, as container tools pass it for a value nobody gave.
    """
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and "__" in variable and environ[variable].strip():
            message = _apply(document, variable.removeprefix(PREFIX).split("__"), environ[variable].strip())
            if message is not None:
                problems.add_variable(variable, message)


def _apply(document: Table, parts: list[str], value: str) -> str | None:
    """Set one value; the return is what is wrong."""
    section = parts[0].lower()
    if section in PLAIN:
        if len(parts) != 2:
            return f"does not name a key: write {PREFIX}{parts[0]}__KEY"
        return _set(_table(document, section), PLAIN[section], parts[1], value)
    if section not in NAMED:
        return f"there is no section of this name{did_you_mean(section, [*PLAIN, *NAMED])}"
    if len(parts) < 3 or not parts[1]:
        return f"does not name a key: write {PREFIX}{parts[0]}__NAME__KEY"
    entry = _named(document, section, parts[1])
    if isinstance(entry, str):
        return entry
    if len(parts) == 3:
        return _set(entry, NAMED[section], parts[2], value)
    nested = parts[2].lower()
    if section != "providers" or nested not in _NESTED or len(parts) != 4:
        return "does not name a key that a variable can set"
    return _set(_table(entry, nested), _NESTED[nested], parts[3], value)


def _set(table: Table, model: type[BaseModel], name: str, value: str) -> str | None:
    key = name.lower()
    if key not in model.model_fields:
        return f"there is no such key{did_you_mean(key, model.model_fields)}"
    if key in _NOT_SCALAR:
        return "a variable sets single values only: write this one into the configuration file"
    table[key] = value
    return None


def _named(document: Table, section: str, name: str) -> Table | str:
    """The entry a variable means, made if there is none; or what is wrong."""
    if section == "keys":
        return _key_named(document, name)
    tables = _table(document, section)
    found = _same_name(tables, name)
    if len(found) > 1:
        return f"may mean {' or '.join(found)}: write this one into the configuration file"
    if not found and section in ("models", "prices", "metadata"):
        return f"no {section.removesuffix('s')} of this name is configured{did_you_mean(name.lower(), tables)}"
    return _table(tables, found[0] if found else name.lower())


def _key_named(document: Table, name: str) -> Table | str:
    keys = document.setdefault("keys", [])
    if not isinstance(keys, list):
        return "cannot be set, because keys is not a list of tables"
    for entry in keys:
        if isinstance(entry, dict) and isinstance(entry.get("name"), str) and _same_name([entry["name"]], name):
            return entry
    made: Table = {"name": name.lower().replace("_", "-")}
    keys.append(made)
    return made


def _table(parent: Table, name: str) -> Table:
    """The table of this name; anything else that stands there is left for validation to refuse."""
    found = parent.setdefault(name, {})
    return found if isinstance(found, dict) else {}


def _same_name(names: Iterable[str], wanted: str) -> list[str]:
    return [name for name in names if re.sub(r"[^A-Z0-9]", "_", name.upper()) == wanted.upper()]
