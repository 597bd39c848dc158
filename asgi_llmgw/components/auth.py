"""Who asks?

A key is looked up by its SHA-256 digest, so neither the text of a key nor how long it matches a known one ever decides
how long the answer takes. Keys have enough entropy of their own; a slow hash would block everybody's requests.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import unquote_to_bytes

from asgi_llmgw._types import ASGIApp, Headers, Receive, Scope, Send
from asgi_llmgw.errors import AuthError, ConfigError, GatewayError, RequestError
from asgi_llmgw.exchange import Exchange, Operation, Principal
from asgi_llmgw.render import deny_websocket, send_error

PUBLIC: Final[frozenset[Operation]] = frozenset({"health", "ready", "metrics"})
MAX_SECRET: Final = 4096

_DIGEST: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
_PREFIX: Final = "sha256:"
_AUTHORIZATION: Final = b"authorization"
_SECRET_HEADERS: Final = frozenset({_AUTHORIZATION, b"x-api-key", b"x-goog-api-key", b"api-key"})

Verify = Callable[[Scope, str | None], Awaitable[Principal | None]]


def hash_key(secret: str) -> str:
    """What a configuration holds instead of a client's key: `sha256:` and the hex digest."""
    return _PREFIX + hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Key:
    """A client's key, without the secret.

    Args:
        name: who that is, in logs and metrics.
        digest: what `hash_key` makes of the secret.
        models: globs of the model names it may use.
        expires: from then on it is refused; with a time zone.
        tenant: whom it belongs to, for limits that several keys share.

    Raises:
        ConfigError: the digest is none, the name is empty or the time has no zone.
    """

    name: str
    digest: str = field(repr=False)
    models: tuple[str, ...] = ("*",)
    expires: datetime | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a key needs a name")
        found = _DIGEST.match(self.digest)
        if found is None:
            raise ConfigError(f"the digest of key {self.name!r} is not a sha256 digest; make one with hash-key")
        if self.expires is not None and self.expires.tzinfo is None:
            raise ConfigError(f"the expiry of key {self.name!r} needs a time zone")
        object.__setattr__(self, "digest", found[1])


class AuthMiddleware:
    """Lets in who presents a known key, or whom the host's own authentication vouches for; answers 401 to others.

    The answer is given before anything of the body is read, and it is the same for a missing, a wrong and an expired
    key. Without keys and without `verify` nothing presented is looked at: `anonymous`, if given, takes everybody.

    Args:
        keys: the known keys.
        verify: asked with the scope and the presented secret (None: nothing was presented) when no key matched.
        public: operations that need no key.
        anonymous: who a caller is who presents nothing.
        trust_scope_user: take `scope["user"]` of a host's authentication middleware (Starlette's) when it is
            authenticated.
        clock: seconds since the epoch.

    Raises:
        ConfigError: two keys share a secret or a name.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Iterable[Key] = (),
        verify: Verify | None = None,
        public: Collection[Operation] = PUBLIC,
        anonymous: Principal | None = None,
        trust_scope_user: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._keys = _by_digest(keys)
        self._verify = verify
        self._public = frozenset(public)
        self._anonymous = anonymous
        self._trust_scope_user = trust_scope_user
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await deny_websocket(scope, send)
            else:
                await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        query_keys: list[bytes] = []
        if given := scope.get("query_string"):
            query, query_keys = _take_query_keys(given)
            scope = {**scope, "query_string": query}
        if exchange.operation not in self._public:
            try:
                exchange.principal = await self._identify(scope, exchange.headers, query_keys)
            except GatewayError as error:
                exchange.reject(error)
                await send_error(
                    send,
                    error,
                    exchange.client_protocol,
                    request_id=exchange.request_id,
                    head=scope["method"] == "HEAD",
                )
                return
        await self._app(scope, receive, send)

    async def _identify(self, scope: Scope, headers: Headers, query_keys: list[bytes]) -> Principal:
        if self._trust_scope_user:
            user = _user_of(scope)
            if user is not None:
                return user
        if not self._keys and self._verify is None:
            if self._anonymous is not None:
                return self._anonymous
            raise _unknown_caller()
        secret = _presented(headers, query_keys)
        if secret is not None and len(secret) <= MAX_SECRET:
            digest = hashlib.sha256(secret).hexdigest()
            if digest in self._keys:
                key, principal = self._keys[digest]
                if hmac.compare_digest(key.digest, digest):
                    if key.expires is not None and key.expires.timestamp() <= self._clock():
                        raise _unknown_caller()
                    return principal
        if self._verify is not None and (secret is None or len(secret) <= MAX_SECRET):
            vouched = await self._verify(scope, None if secret is None else secret.decode("latin-1"))
            if vouched is not None:
                return vouched
        if secret is None and self._anonymous is not None:
            return self._anonymous
        raise _unknown_caller()


def _by_digest(keys: Iterable[Key]) -> dict[str, tuple[Key, Principal]]:
    """Each key and who comes with it."""
    found: dict[str, tuple[Key, Principal]] = {}
    names: set[str] = set()
    for key in keys:
        if key.name in names:
            raise ConfigError(f"two keys are named {key.name!r}")
        if key.digest in found:
            raise ConfigError(f"the keys {found[key.digest][0].name!r} and {key.name!r} share a secret")
        names.add(key.name)
        found[key.digest] = key, Principal(key.name, key.models, key.tenant)
    return found


def _unknown_caller() -> AuthError:
    return AuthError(
        "No valid API key was given; send it as 'Authorization: Bearer KEY' or in x-api-key, x-goog-api-key, api-key.",
        code="invalid_api_key",
    )


def _ambiguous() -> RequestError:
    return RequestError("The request carries more than one credential.", code="ambiguous_credentials")


def _presented(headers: Headers, query_keys: list[bytes]) -> bytes | None:
    """The one secret of this request; some clients send it in two places, which is fine as long as it is the same.

    Raises:
        RequestError: there are several, and nobody could say which one counts.
    """
    secrets = set(query_keys)
    authorized = False
    for name, value in headers:
        if name in _SECRET_HEADERS:
            if name != _AUTHORIZATION:
                secrets.add(value.strip(b" \t"))
            elif authorized:
                raise _ambiguous()
            else:
                authorized = True
                secrets.add(_bearer(value))
    secrets.discard(b"")
    if len(secrets) > 1:
        raise _ambiguous()
    return secrets.pop() if secrets else None


def _bearer(value: bytes) -> bytes:
    """The token; the scheme is read in any case and one or more spaces follow it (RFC 9110, section 11.4)."""
    scheme, _, token = value.strip(b" \t").partition(b" ")
    return token.strip(b" ") if scheme.lower() == b"bearer" else b""


def _take_query_keys(query: bytes) -> tuple[bytes, list[bytes]]:
    """The query string with the values of `key` blanked, and those values."""
    pairs: list[bytes] = []
    found: list[bytes] = []
    for pair in query.split(b"&"):
        name, equals, value = pair.partition(b"=")
        if equals and unquote_to_bytes(name) == b"key":
            found.append(unquote_to_bytes(value.replace(b"+", b" ")))
            pair = b"key="
        pairs.append(pair)
    return (b"&".join(pairs), found) if found else (query, [])


def _user_of(scope: Scope) -> Principal | None:
    user: object = scope.get("user")
    if getattr(user, "is_authenticated", False) is not True:
        return None
    name: object = getattr(user, "display_name", None)
    return Principal(name) if isinstance(name, str) and name else None
