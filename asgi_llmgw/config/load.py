"""From a TOML file and the environment to a checked configuration. Everything is looked up here, once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from asgi_llmgw.config.check import find_problems
from asgi_llmgw.config.fields import ENVIRONMENT_PREFIX
from asgi_llmgw.config.limits import LimitsSettings, LongContextSettings, PriceSettings, TenantSettings
from asgi_llmgw.config.metadata import MetadataSettings
from asgi_llmgw.config.models import (
    KeySettings,
    ModelSettings,
    ProfileSettings,
    ProviderSettings,
    RoutingSettings,
    ServerSettings,
    TargetSettings,
    TimeoutSettings,
)
from asgi_llmgw.config.overrides import NAMED, PLAIN, Table, apply_overrides
from asgi_llmgw.config.problems import Path as KeyPath
from asgi_llmgw.config.problems import Problems, unknown_key
from asgi_llmgw.config.quotas import find_quota_problems
from asgi_llmgw.config.root import Config
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.providers.catalog import CATALOG, DEMO

CONFIG_VARIABLE: Final = "LLMGW_CONFIG"

_Settings = TypeVar("_Settings", bound=BaseModel)
_NESTED_KEYS: Final = {
    KeySettings: frozenset(KeySettings.model_fields),
    ProviderSettings: frozenset(
        {*ProviderSettings.model_fields, *TimeoutSettings.model_fields, *ProfileSettings.model_fields}
    ),
    ModelSettings: frozenset({*ModelSettings.model_fields, *TargetSettings.model_fields}),
    PriceSettings: frozenset({*PriceSettings.model_fields, *LongContextSettings.model_fields}),
}
"""What an unknown key below an entry may have been meant to be."""


def load_config(path: str | Path | None = None, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration.

    Args:
        path: a TOML file; None takes the one `LLMGW_CONFIG` names, and without that does without a file.
        environ: the environment variables; None takes the process's own.

    Raises:
        ConfigError: it cannot be used; the message lists everything that is wrong, and no secret.
    """
    environ = os.environ if environ is None else environ
    source = path if path is not None else environ.get(CONFIG_VARIABLE) or None
    if source is None:
        return parse_config({}, environ=environ, source="the environment")
    return parse_config(_read(Path(source)), environ=environ, source=str(source))


def parse_config(
    document: Mapping[str, object], *, environ: Mapping[str, str] | None = None, source: str = "the configuration"
) -> Config:
    """A configuration from what TOML (or anything else) was parsed to.

    Args:
        document: tables by section, as in the file.
        environ: the environment variables; None takes the process's own.
        source: what error messages call it.

    Raises:
        ConfigError: it cannot be used.
    """
    environ = os.environ if environ is None else environ
    tables: Table = deepcopy(dict(document))
    problems = Problems()
    for name in sorted(tables.keys() - {*PLAIN, *NAMED}):
        problems.add((name,), unknown_key(name, [*PLAIN, *NAMED]))
    if not tables.get("providers"):
        tables["providers"] = {
            name: {}
            for name, row in CATALOG.items()
            if row.automatic and _usual_key(row.key_variables, environ) and row.address(environ) is not None
        }
    apply_overrides(tables, environ, problems)
    tables["providers"] = tables["providers"] or {DEMO: {}}
    _fill_in_keys(tables["providers"], environ)
    _fill_in_places(tables["providers"], environ)
    config = _Reader(tables, environ, problems).read()
    problems.raise_if_any(source=source)
    return config


def _read(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _usual_key(variables: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    return next((name for name in variables if environ.get(name, "").strip()), None)


def _fill_in_keys(providers: object, environ: Mapping[str, str]) -> None:
    """A vendor of the catalog without a key written down takes the one its own SDK would take."""
    for name, entry in providers.items() if isinstance(providers, dict) else ():
        if not isinstance(entry, dict) or entry.keys() & {"api_key", "api_keys"} or entry.get("auth") == "none":
            continue
        kind = entry.get("kind", name)
        row = CATALOG.get(kind) if isinstance(kind, str) else None
        variable = _usual_key(row.key_variables, environ) if row else None
        if variable is not None:
            entry["api_key"] = ENVIRONMENT_PREFIX + variable


def _fill_in_places(providers: object, environ: Mapping[str, str]) -> None:
    """What the catalog's address leaves open is taken from where the vendor's own SDK would take it."""
    for name, entry in providers.items() if isinstance(providers, dict) else ():
        kind = entry.get("kind", name) if isinstance(entry, dict) else None
        row = CATALOG.get(kind) if isinstance(kind, str) else None
        if row is None or not row.places:
            continue
        given = {key: value for key, value in entry.items() if isinstance(value, str)}
        for key, value in row.filled(given, environ).items():
            if key in ProviderSettings.model_fields:
                entry.setdefault(key, value)
        address = row.address(environ, given)
        if address is not None:
            entry.setdefault("base_url", address)


class _Reader:
    """Validates entry by entry, so that one mistake does not hide another."""

    def __init__(self, tables: Table, environ: Mapping[str, str], problems: Problems) -> None:
        self._tables = tables
        self._context = {"environ": environ}
        self._problems = problems
        self._broken: set[tuple[str, str]] = set()

    def read(self) -> Config:
        server = self._section("server", ServerSettings)
        routing = self._section("routing", RoutingSettings)
        limits = self._section("limits", LimitsSettings)
        read = {"server": server, "routing": routing, "limits": limits}
        others = {name: self._section(name, model) for name, model in PLAIN.items() if name not in read}
        keys = self._keys()
        tenants = self._named("tenants", TenantSettings)
        providers = self._named("providers", ProviderSettings)
        models = self._named("models", ModelSettings)
        prices = self._named("prices", PriceSettings)
        metadata = self._named("metadata", MetadataSettings)
        find_problems(
            self._problems,
            server=server,
            routing=routing,
            keys=keys,
            providers=providers,
            models=models,
            broken=self._broken,
            open_to_all=not self._tables.get("keys"),
        )
        find_quota_problems(
            self._problems,
            limits=limits,
            keys=keys,
            tenants=tenants,
            providers=providers,
            models=models,
            prices=prices,
            broken=self._broken,
        )
        return Config.model_construct(
            _fields_set=None,
            **read,
            **others,
            keys=tuple(keys.values()),
            tenants=tenants,
            providers=providers,
            models=models,
            prices=prices,
            metadata=metadata,
        )

    def _section(self, name: str, model: type[_Settings]) -> _Settings:
        """The section, or its defaults where it is wrong (which is noted)."""
        return self._validate((name,), model, self._tables.get(name, {})) or model()

    def _keys(self) -> dict[int, KeySettings]:
        entries = self._tables.get("keys", [])
        if not isinstance(entries, list):
            self._problems.add(("keys",), "must be a list of tables: write [[keys]] with two brackets")
            return {}
        found = {number: self._validate(("keys", number), KeySettings, entry) for number, entry in enumerate(entries)}
        return {number: key for number, key in found.items() if key is not None}

    def _named(self, section: str, model: type[_Settings]) -> dict[str, _Settings]:
        entries = self._tables.get(section, {})
        if not isinstance(entries, dict):
            self._problems.add((section,), f"must be tables by name: write [{section}.NAME]")
            return {}
        found: dict[str, _Settings] = {}
        for name, entry in entries.items():
            settings = self._validate((section, name), model, entry)
            if settings is None:
                self._broken.add((section, name))
            else:
                found[name] = settings
        return found

    def _validate(self, path: KeyPath, model: type[_Settings], value: object) -> _Settings | None:
        if not isinstance(value, dict):
            self._problems.add(path, "must be a table")
            return None
        try:
            return model.model_validate(value, context=self._context)
        except ValidationError as error:
            self._problems.add_validation(path, error, _NESTED_KEYS.get(model, frozenset(model.model_fields)))
            return None
