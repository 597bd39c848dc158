"""A vendor is data: where it is, what it speaks, how it is told who we are, and in what it differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, urlencode

from asgi_llmgw._types import Headers
from asgi_llmgw.envelopes import Envelope
from asgi_llmgw.errors import ConfigError, UpstreamError
from asgi_llmgw.ir import Protocol
from asgi_llmgw.protocols.base import Profile
from asgi_llmgw.signing import EXTRAS, Signer
from asgi_llmgw.timeouts import Timeouts

KeyRotation: TypeAlias = Literal["round_robin", "least_busy"]
AuthStyle: TypeAlias = Literal["bearer", "x-api-key", "x-goog-api-key", "api-key", "sigv4", "google", "none"]
"""The header that has the key; `sigv4` and `google` are carried out by a `Signer`."""

_VERSION_IN_BASE: Final[dict[Protocol, str]] = {"openai_chat": "/v1", "openai_responses": "/v1"}
"""OpenAI-style base URLs end in the version, as in OpenAI's own SDKs; the other protocols keep it in the path."""

_MAX_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One vendor, or one server that speaks a vendor's protocol.

    Args:
        name: the configured name, a metric label.
        base_url: what the vendor's own SDK takes.
        protocols: what it speaks, the preferred one first.
        paths: where its paths differ from the protocol's, as (beginning, what stands there instead); the first that
            fits is taken, and `{model}` in it is the model.
        query: what every address ends in.
        auth: how the key is sent.
        api_keys: the credentials, any of which may be used.
        signer: signs whole calls, where no key is sent.
        headers: sent with every request.
        forward_headers: the client's headers that are passed on; everything else of the client's stays here.
        envelope: what the vendor wraps the protocol in, if it does.
        operations: what it does beside chat in its own way (`count_tokens`, `stored_response`, `compact`, `realtime`);
            None: all that its protocols have.
        profile: facts that hold for all its models.
        key_rotation: how requests are spread over several keys.
        profiles: facts about some of its models, as (glob, facts), the first match wins.
        on_disconnect: when the client leaves: `cancel` the call at once, or `drain` it to learn its usage.
    """

    name: str
    base_url: str
    protocols: tuple[Protocol, ...]
    paths: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    auth: AuthStyle = "bearer"
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    signer: Signer | None = None
    headers: Headers = field(default=(), repr=False)
    forward_headers: frozenset[bytes] = frozenset()
    envelope: Envelope | None = None
    operations: frozenset[str] | None = None
    profile: Profile = Profile()
    profiles: tuple[tuple[str, Profile], ...] = ()
    timeouts: Timeouts = Timeouts()
    key_rotation: KeyRotation = "round_robin"
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    _base: str = field(default="", init=False, repr=False, compare=False)
    _profiles: dict[str, Profile] = field(default_factory=dict, init=False, repr=False, compare=False)
    _headers: dict[tuple[bytes, int], Headers] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_base", self.base_url.rstrip("/"))

    def profile_for(self, model: str) -> Profile:
        """The facts about one of its models."""
        if not self.profiles:
            return self.profile
        known = self._profiles.get(model)
        if known is None:
            if len(self._profiles) >= _MAX_REMEMBERED:
                # models' names may be the clients'
                self._profiles.clear()
            matches = (found for pattern, found in self.profiles if fnmatchcase(model, pattern))
            known = self._profiles[model] = next(matches, self.profile)
        return known

    def does(self, operation: str) -> bool:
        """Whether it has this operation itself, where its protocols have it."""
        return self.operations is None or operation in self.operations

    def url(self, protocol: Protocol, path: str, *, model: str = "") -> str:
        """The address for a path as codecs write it (`/v1/messages`), always of this provider's own host.

        Raises:
            ConfigError: what is left of the path does not begin with a slash, and would make it another host.
        """
        below = path.removeprefix(_VERSION_IN_BASE.get(protocol, ""))
        for beginning, instead in self.paths:
            if path.startswith(beginning):
                below = instead.replace("{model}", quote(model, safe="")) + path[len(beginning) :]
                break
        if not below.startswith("/"):
            raise ConfigError(f"the path of a call to {self.name!r} does not begin with a slash")
        if self.query:
            below += ("&" if "?" in below else "?") + urlencode(self.query)
        return self._base + below

    def usable(self) -> bool:
        """Whether it can be called at all: it has a key, or needs none."""
        return self.auth == "none" or self.signer is not None or bool(self.api_keys)

    def check_usable(self) -> None:
        """Raise where it cannot be called.

        Raises:
            UpstreamError: it needs a key and has none.
        """
        if not (self.api_keys or self.usable()):
            raise UpstreamError(
                f"The provider {self.name!r} has no API key configured.",
                failure="credential",
                kind="overloaded",
                code="provider_not_configured",
            )

    def request_headers(self, client: Headers, *, accept: bytes = b"application/json", credential: int = 0) -> Headers:
        """All headers of a call: ours, one of our credentials, and of the client's only what the allow-list names.

        What the client says for a name on the list is meant for its body, so it wins over our default.
        """
        forward = self.forward_headers
        if not forward or forward.isdisjoint(dict(client)):
            found = self._headers.get((accept, credential))
            if found is None:
                found = self._headers[accept, credential] = self._headers_with({}, accept, credential)
            return found
        passed = {name: value for name, value in client if name in forward}
        return self._headers_with(passed, accept, credential)

    def _headers_with(self, passed: dict[bytes, bytes], accept: bytes, credential: int) -> Headers:
        defaults = tuple((name, value) for name, value in self.headers if name not in passed)
        own = ((b"content-type", b"application/json"), (b"accept", accept))
        return (*own, *defaults, *passed.items(), *self.credentials(credential))

    def credentials(self, credential: int = 0) -> Headers:
        """The header that tells the vendor who we are, by the index of the key; empty where none is needed."""
        if self.auth in ("none", *EXTRAS) or not self.api_keys:
            return ()
        secret = self.api_keys[credential]
        if self.auth == "bearer":
            return ((b"authorization", b"Bearer " + secret.encode()),)
        return ((self.auth.encode(), secret.encode()),)
