"""What a row of the vendor catalog can say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from asgi_llmgw._types import Headers
from asgi_llmgw.envelopes import Envelope
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.providers.base import AuthStyle

_WORD: Final = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A part of an address that is each operator's own: `{name}` stands for it.

    Args:
        variables: the environment variables it is usually in, the first one that is set wins.
        default: what it is where nobody says.
        pattern: what it has to look like.
    """

    name: str
    variables: tuple[str, ...] = ()
    default: str | None = None
    pattern: str = _WORD


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """What is known about a vendor.

    Args:
        title: what it is called.
        page: where its API is described, and the rest of this row was read.
        base_url: what the vendor's own SDK takes; `{region}` and the like stand for the `places`.
        region_urls: the same for regions whose address is of another kind, as (region, address).
        places: what the address leaves open.
        protocols: what it speaks, the preferred one first.
        paths: where its paths differ from the protocol's, as for `Provider`.
        query: what every address ends in.
        auth: how the key is sent, if there is one.
        key_variables: the environment variables its key is usually in, the first one that is set wins.
        key_required: whether it can be called without a key.
        automatic: it is there by itself where its variables are set and nothing is configured.
        headers: sent with every request.
        forward_headers: the client's headers that are passed on.
        envelope: what the vendor wraps the protocol in, if it does.
        profile: facts that hold for all its models.
        profiles: facts about some of its models, as (glob, facts), the first match wins.
        operations: what it does beside chat in its own way: `count_tokens`, `stored_response`, `compact`, `realtime`.
        model_globs: the model names it serves, where no configuration says so. Names that begin with the vendor's own
            and a slash (`openrouter/*`) tell the vendor only; it knows its models without them.
    """

    title: str
    page: str
    base_url: str
    region_urls: tuple[tuple[str, str], ...] = ()
    places: tuple[Place, ...] = ()
    protocols: tuple[Protocol, ...] = ("openai_chat",)
    paths: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    auth: AuthStyle = "bearer"
    key_variables: tuple[str, ...] = ()
    key_required: bool = True
    automatic: bool = True
    headers: Headers = ()
    forward_headers: frozenset[bytes] = frozenset()
    envelope: Envelope | None = None
    profile: Profile = Profile()
    profiles: tuple[tuple[str, Profile], ...] = ()
    operations: frozenset[str] = frozenset()
    model_globs: tuple[str, ...] = ()

    def filled(self, given: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, str]:
        """What stands in each place: as given, else as the environment says, else the default."""
        found: dict[str, str] = {}
        for place in self.places:
            named = (environ.get(variable, "").strip() for variable in place.variables)
            value = given.get(place.name) or next((name for name in named if name), place.default)
            if value is not None and re.fullmatch(place.pattern, value):
                found[place.name] = value
        return found

    def address(self, environ: Mapping[str, str], given: Mapping[str, str | None] | None = None) -> str | None:
        """The base URL with all its places filled; None if nobody says what belongs there."""
        values = self.filled(given or {}, environ)
        template = dict(self.region_urls).get(values.get("region", ""), self.base_url)
        if any(f"{{{place.name}}}" in template and place.name not in values for place in self.places):
            return None
        return template.format(**{name: value.rstrip("/") for name, value in values.items()})

    def missing(self, given: Mapping[str, str | None]) -> tuple[Place, ...]:
        """The places of the address that nobody has filled."""
        values = self.filled(given, {})
        return tuple(
            place for place in self.places if f"{{{place.name}}}" in self.base_url and place.name not in values
        )

    def lives_at(self, url: str) -> bool:
        """Whether this is the vendor's own address, somewhere."""
        templates = (self.base_url, *(url for _, url in self.region_urls))
        return bool(self.places) and any(re.fullmatch(self._pattern(template), url) for template in templates)

    def _pattern(self, template: str) -> str:
        patterns = {place.name: place.pattern for place in self.places}
        parts = re.split(r"\{(\w+)\}", template)
        return "".join(patterns[part] if number % 2 else re.escape(part) for number, part in enumerate(parts))
