"""Every error we raise on purpose. Anything else that leaves the package is a bug.

    GatewayError                  what a client may be told; rendered in the client's own protocol
    ├── ConfigError               the operator's mistake, found when the configuration is loaded
    ├── RequestError              the client's mistake (4xx)
    │   └── InvalidRequest        the body cannot be read, or asks for what the target cannot do (400)
    ├── AuthError                 no key, a bad key, or a key that may not do this (401, 403)
    ├── LimitError                a limit of the gateway's own is reached (429)
    └── UpstreamError             the vendor failed, or refused (status and `failure` say how)
        └── InvalidUpstreamResponse   the vendor answered something that cannot be read (502)

`kind` is our vocabulary for what happened; each protocol has a table from `kind` to its own status, type and code.
Messages are written for the client: no secrets, no hosts, no class names.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

ErrorKind: TypeAlias = Literal[
    "bad_request",
    "unsupported",
    "context_too_long",
    "invalid_credentials",
    "quota_exceeded",
    "forbidden",
    "model_not_found",
    "not_found",
    "method_not_allowed",
    "conflict",
    "request_too_large",
    "unsupported_media_type",
    "request_timeout",
    "headers_too_large",
    "rate_limited",
    "server_error",
    "overloaded",
    "upstream_timeout",
    "upstream_unavailable",
    "upstream_invalid_response",
    "cancelled",
]

FailureClass: TypeAlias = Literal[
    "credential",  # our key is refused: bench the key, try a sibling
    "model_access",  # the vendor does not have this model, or not for us
    "quota",  # the account is out of money
    "rate_limit",  # slow down
    "caller_fault",  # the request itself is refused: another target would refuse it too
    "overloaded",  # the vendor is full
    "transient",  # the vendor failed
    "timeout",  # too slow: connect, first byte or silence
    "unreachable",  # no connection, or one that broke
    "invalid_response",  # an answer that cannot be read
    "filtered",  # the prompt is stopped by the vendor's policy
]
"""What to do about a failed attempt. `RETRYABLE` says which of them are worth another target."""

RETRYABLE: Final[frozenset[FailureClass]] = frozenset(
    {
        "credential",
        "model_access",
        "quota",
        "rate_limit",
        "overloaded",
        "transient",
        "timeout",
        "unreachable",
        "invalid_response",
    }
)

STATUS: Final[dict[ErrorKind, int]] = {
    "bad_request": 400,
    "unsupported": 400,
    "context_too_long": 400,
    "invalid_credentials": 401,
    "quota_exceeded": 429,
    "forbidden": 403,
    "model_not_found": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "request_too_large": 413,
    "unsupported_media_type": 415,
    "request_timeout": 408,
    "headers_too_large": 431,
    "rate_limited": 429,
    "server_error": 500,
    "overloaded": 503,
    "upstream_timeout": 504,
    "upstream_unavailable": 502,
    "upstream_invalid_response": 502,
    "cancelled": 499,
}
"""The HTTP status of each kind, where a protocol has no other opinion."""


class GatewayError(Exception):
    """Something a client may be told.

    Args:
        message: one sentence for the client.
        kind: what happened.
        param: the field of the client's request it is about, as a path (`messages[2].content`).
        code: a finer machine-readable code, where there is one.
        retry_after: seconds to wait before another try.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind = "server_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind: ErrorKind = kind
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status this error is answered with."""
        return STATUS[self.kind]

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later or elsewhere."""
        return self.status in (408, 409, 429) or self.status >= 500


class ConfigError(GatewayError):
    """The configuration cannot be used; the message names the key and says what to write."""


class RequestError(GatewayError):
    """The client asked for something it cannot have."""

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind = "bad_request",
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, kind=kind, param=param, code=code, retry_after=retry_after)


class InvalidRequest(RequestError):
    """The client's body cannot be read, or asks for what the target cannot express."""


class AuthError(GatewayError):
    """The caller is unknown (`invalid_credentials`) or may not do this (`forbidden`)."""

    def __init__(self, message: str, *, kind: ErrorKind = "invalid_credentials", code: str | None = None) -> None:
        super().__init__(message, kind=kind, code=code)


class LimitError(GatewayError):
    """A limit of the gateway's own is reached (`rate_limited`), or a budget is used up (`quota_exceeded`)."""

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind = "rate_limited",
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, kind=kind, code=code, retry_after=retry_after)


class UpstreamError(GatewayError):
    """The vendor failed or refused.

    Args:
        failure: what to do about it.
        upstream_status: the HTTP status the vendor sent, if it sent one.
    """

    def __init__(
        self,
        message: str,
        *,
        failure: FailureClass,
        kind: ErrorKind = "upstream_unavailable",
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        upstream_status: int | None = None,
    ) -> None:
        super().__init__(message, kind=kind, param=param, code=code, retry_after=retry_after)
        self.failure: FailureClass = failure
        self.upstream_status = upstream_status

    @property
    def retryable(self) -> bool:
        """Whether another target is worth trying."""
        return self.failure in RETRYABLE


class InvalidUpstreamResponse(UpstreamError):
    """The vendor answered something that cannot be read."""

    def __init__(self, message: str, *, upstream_status: int | None = None) -> None:
        super().__init__(
            message, failure="invalid_response", kind="upstream_invalid_response", upstream_status=upstream_status
        )
