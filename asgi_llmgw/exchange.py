"""The one record of a request: what one component learns about it and another needs.

It travels at `scope["asgi_llmgw"]`. Components write their own fields and read the others'; none of them knows who
else is in the stack.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias

import msgspec

from asgi_llmgw._types import Headers, Scope, Send
from asgi_llmgw.answer import Answer
from asgi_llmgw.errors import GatewayError, UpstreamError
from asgi_llmgw.ir import Diagnostic, Protocol, Usage
from asgi_llmgw.protocols import RequestHead
from asgi_llmgw.uploads import Upload

SCOPE_KEY: Final = "asgi_llmgw"
_ANY: Final = "*"

Operation: TypeAlias = Literal[
    "chat",
    "compact",
    "stored_response",
    "count_tokens",
    "embeddings",
    "completions",
    "images",
    "speech",
    "transcriptions",
    "moderations",
    "rerank",
    "predict",
    "caches",
    "files",
    "batches",
    "usage",
    "realtime",
    "models",
    "model",
    "health",
    "ready",
    "metrics",
    "status",
]
Outcome: TypeAlias = Literal["completed", "client_disconnected", "upstream_error", "rejected"]
OnLoss: TypeAlias = Literal["allow", "warn", "reject"]
StreamFailure: TypeAlias = Literal["error", "restart_if_no_output"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` is the metric label and the log field: never the secret. `models` are globs it may use.

    `tenant` is whom it belongs to: the keys of one tenant share that tenant's limits.
    """

    name: str
    models: tuple[str, ...] = ("*",)
    tenant: str | None = None

    def may_use(self, model: str) -> bool:
        """Whether one of the allow-list's globs covers this model name."""
        return _ANY in self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


class Target(msgspec.Struct, frozen=True, cache_hash=True):
    """Where a request may go: a provider's name and the model's name there.

    Args:
        weight: how much of the requests it takes, compared to others.
        credential: the only one of the provider's keys that will do; None for any.
    """

    provider: str
    model: str
    weight: int = 1
    credential: int | None = None


@dataclass(frozen=True, slots=True)
class Hedge:
    """A second attempt that starts when the first has said nothing yet.

    Args:
        after: seconds.
        share: at most this share of the requests has one.
    """

    after: float
    share: float = 0.05


class Tried(msgspec.Struct):
    """One attempt, as it went. `failure` is a failure class, `lost` where another attempt was faster, None if good."""

    provider: str
    model: str
    credential: int
    failure: str | None = None
    usage: Usage | None = None


@dataclass(slots=True)
class Exchange:
    """One request, from the first byte to the settled end.

    Args:
        request_id: ours, or the client's own where it was sane.
        headers: the client's, copied before the body was read.
        started: `time.monotonic()` seconds.
        client_protocol: what the client speaks; None until the endpoint is known.
        endpoint: the path's template, a metric label (`/v1/chat/completions`).
        model: the name the client asked for.
        response_id: the stored response, file, batch or cache that the path names.
        seen_body: the body that `model` and `stream` were read from, so that nobody has to read the same bytes again.
        written: the body that a translator has written for the upstream, with the model and the stream it asks for.
        route: the configured name that matched it, a metric label.
        targets: where it may go, in order.
        on_loss: what becomes of a request that the target cannot express whole.
        stream_failure: what becomes of a stream that breaks before its first content.
        hedge: whether a second attempt may be made beside a slow first one.
        session: what the client's session is called, for requests to stick together.
        credential: which of the provider's keys the last attempt used.
        tried: every attempt.
        provider, upstream_model: where the last attempt went.
        upstream_protocol: what the upstream is spoken to in; None leaves it to the provider's preference.
        translated: a translator reads the upstream's answer, so that nobody below it needs to.
        status: the HTTP status the client got.
        outcome: how it ended; None while it runs.
        failure: the error of the last attempt, or the one the client was told.
        first_token: `time.monotonic()` when the first content came from upstream.
        text_length: characters that the last attempt has streamed, for an estimate where usage is missing.
        cost: what all attempts have cost, in millionths of a USD; None where no price is known.
        cache: whether the answer came out of the response cache; None where there is none for this request.
        answer: how far the client's answer has got, where somebody watches it.
        upload: the body, where it is passed on while it comes.
        limited: which kind of limit the request was refused for (`key_rpm`), a metric label.
    """

    request_id: str
    headers: Headers = field(default=(), repr=False)
    started: float = field(default_factory=time.monotonic)
    client_protocol: Protocol | None = None
    operation: Operation | None = None
    endpoint: str = "other"
    principal: Principal | None = None
    model: str | None = None
    response_id: str | None = None
    stream: bool = False
    seen_body: bytes | None = field(default=None, repr=False)
    written: tuple[bytes, RequestHead] | None = field(default=None, repr=False)
    route: str | None = None
    targets: tuple[Target, ...] = ()
    on_loss: OnLoss = "warn"
    stream_failure: StreamFailure = "error"
    hedge: Hedge | None = None
    session: str | None = None
    credential: int = 0
    tried: list[Tried] = field(default_factory=list)
    provider: str | None = None
    upstream_model: str | None = None
    upstream_protocol: Protocol | None = None
    translated: bool = False
    attempts: int = 0
    status: int | None = None
    outcome: Outcome | None = None
    failure: GatewayError | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    first_token: float | None = None
    text_length: int = 0
    cost: int | None = None
    cache: Literal["hit", "miss"] | None = None
    limited: str | None = None
    answer: Answer | None = field(default=None, repr=False)
    upload: Upload | None = field(default=None, repr=False)
    diagnostics: tuple[Diagnostic, ...] = ()

    @staticmethod
    def of(scope: Scope) -> tuple[Exchange, Scope]:
        """The record of this request, and a scope that has it: the same one where it does already."""
        try:
            found = scope[SCOPE_KEY]
        except KeyError:
            found = None
        if isinstance(found, Exchange):
            return found, scope
        made = Exchange.get_or_create(scope)
        return made, {**scope, SCOPE_KEY: made}

    @staticmethod
    def get_or_create(scope: Scope) -> Exchange:
        """The record in this scope, or a new one (which the caller puts into the scope it hands on)."""
        found = scope.get(SCOPE_KEY)
        if isinstance(found, Exchange):
            return found
        headers = tuple((bytes(name).lower(), bytes(value)) for name, value in scope.get("headers") or ())
        return Exchange(request_id=new_request_id(), headers=headers)

    def watched(self, send: Send) -> tuple[Answer, Send]:
        """The answer, and the `send` to hand on: the same one where the answer is watched further out."""
        if self.answer is not None:
            return self.answer, send
        self.answer = Answer(send)
        return self.answer, self.answer.send

    def fail(self, error: GatewayError) -> None:
        """Note that an attempt failed, and whose fault that was."""
        self.failure = error
        blameless = isinstance(error, UpstreamError) and error.failure not in ("caller_fault", "filtered")
        self.outcome = "upstream_error" if blameless else "rejected"

    def forgive(self) -> None:
        """Forget the last failure: there is another attempt, or it came too late to matter."""
        self.failure = None
        self.outcome = None

    def reject(self, error: GatewayError) -> None:
        """Note that the client is told this error instead of an answer."""
        self.failure = error
        self.outcome = "rejected"
        self.status = error.status


def new_request_id() -> str:
    """An id nobody can guess."""
    return f"req_{os.urandom(12).hex()}"
