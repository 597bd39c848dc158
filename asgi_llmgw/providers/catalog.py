"""The catalog of vendors, and how a row of it becomes a provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.errors import ConfigError
from asgi_llmgw.providers.base import AuthStyle, Provider
from asgi_llmgw.providers.entry import CatalogEntry, Place
from asgi_llmgw.providers.vendors import DEMO, VENDORS
from asgi_llmgw.signing import Signer, make_signer

__all__ = ("CATALOG", "DEMO", "CatalogEntry", "Place", "provider_from_catalog")

CATALOG: Final[Mapping[str, CatalogEntry]] = VENDORS


def provider_from_catalog(
    name: str,
    kind: str,
    *,
    api_keys: Sequence[str] = (),
    base_url: str | None = None,
    headers: Headers = (),
    auth: AuthStyle | None = None,
    signer: Signer | None = None,
    places: Mapping[str, str] | None = None,
) -> Provider:
    """A vendor of the catalog under a name of the operator's.

    Args:
        api_keys: the credentials; a vendor that needs none is called without.
        base_url: another address of the same vendor's, a regional one or a proxy.
        headers: more headers for every request; they replace the catalog's of the same name.
        auth: another way of telling who we are than the usual one.
        signer: carries out a way that is no header; None makes it.
        places: what the address leaves open, such as `{"region": "eu-central-1"}`.

    Raises:
        ConfigError: the catalog has no such row, or a library it needs is missing.
    """
    entry = CATALOG.get(kind)
    if entry is None:
        raise ConfigError(f"there is no provider kind {kind!r}; choose one of {', '.join(CATALOG)}")
    given = dict(places or {})
    if base_url is None:
        base_url = entry.address({}, given)
    if base_url is None:
        missing = ", ".join(place.name for place in entry.missing(given))
        raise ConfigError(f"the address of {kind!r} has a {missing} in it: give the base_url, or the {missing}")
    style = auth or (entry.auth if api_keys or entry.key_required else "none")
    values = entry.filled(given, {})
    return Provider(
        name=name,
        base_url=base_url,
        protocols=entry.protocols,
        paths=entry.paths,
        query=tuple((key, value.format(**values)) for key, value in entry.query),
        auth=style,
        api_keys=tuple(api_keys),
        signer=signer or make_signer(style, region=values.get("region")),
        headers=tuple({**dict(entry.headers), **dict(headers)}.items()),
        forward_headers=entry.forward_headers,
        envelope=entry.envelope,
        operations=entry.operations,
        profile=entry.profile,
        profiles=entry.profiles,
    )
