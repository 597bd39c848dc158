"""Tries the targets of a request until one of them has something to say. All retries of the gateway happen here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import MAX_BODY, ClientDisconnected, read_body, send_gone
from asgi_llmgw.components.dispatch.attempt import Runner
from asgi_llmgw.components.dispatch.guard import HOLD_SECONDS
from asgi_llmgw.components.dispatch.hedge import Hedging
from asgi_llmgw.errors import ConfigError, GatewayError, InvalidUpstreamResponse, RequestError, UpstreamError
from asgi_llmgw.exchange import Exchange
from asgi_llmgw.render import send_error
from asgi_llmgw.routing.health import Health
from asgi_llmgw.routing.policy import Balancer
from asgi_llmgw.routing.retry import Attempts, Retries

_NO_SDK_RETRY: Final = (b"x-should-retry", b"false")
"""What OpenAI's and Anthropic's SDKs take for "do not try again": the gateway has done so already."""
_SDK_PATIENCE: Final = 60.0
"""Seconds of `Retry-After` that they wait for; where more is asked for they come back at once."""


class DispatchApp:
    """Send a request to its targets, each attempt built from the untouched original.

    Args:
        providers: for each provider's name the app that serves the clients over it.
        retries: who is asked next after a failure, and what is known of everybody's health; None makes one of its own.
        max_body: the largest request, in bytes.
        hold_seconds: how long the start of an answer is held back once the upstream has accepted the request.
    """

    def __init__(
        self,
        *,
        providers: Mapping[str, ASGIApp],
        retries: Retries | None = None,
        max_body: int = MAX_BODY,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        if not providers:
            raise ConfigError("DispatchApp needs at least one provider")
        self._providers = dict(providers)
        self._retries = retries if retries is not None else Retries(Balancer(Health(clock=time.monotonic)))
        self._max_body = max_body
        self._runner = Runner(self._providers, self._retries, hold_seconds=hold_seconds)
        self._hedging = Hedging(self._runner, self._retries)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange, scope = Exchange.of(scope)
        try:
            body = await read_body(receive, headers=exchange.headers, limit=self._max_body)
            failure = await self._try_all(exchange, scope, body, receive, send)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            failure = error
        if failure is not None:
            exchange.fail(failure)
            later = failure.retry_after is not None and failure.retry_after <= _SDK_PATIENCE
            retried = isinstance(failure, UpstreamError) and failure.retryable and not later
            await send_error(
                send,
                failure,
                exchange.client_protocol,
                request_id=exchange.request_id,
                extra_headers=(_NO_SDK_RETRY,) if retried else (),
            )

    async def _try_all(
        self, exchange: Exchange, scope: Scope, body: bytes, receive: Receive, send: Send
    ) -> GatewayError | None:
        """The error of the last attempt, None when the client has been answered.

        Raises:
            ClientDisconnected: the client left before that.
        """
        targets = [target for target in exchange.targets if target.provider in self._providers]
        attempts = Attempts(self._retries, targets, started=exchange.started, session=exchange.session)
        failure: GatewayError | None = None
        told: GatewayError | None = None
        while (attempt := attempts.next()) is not None:
            if exchange.hedge is not None and failure is None and exchange.upload is None:
                result = await self._hedging.run(attempt, attempts, exchange, scope, body, receive, send)
            else:
                result = await self._runner.run(attempt, exchange, scope, body, receive, send)
            if result.answered:
                return None
            if not result.made:
                continue
            failure = result.failure or InvalidUpstreamResponse("the upstream gave no answer")
            if not _worth_another(failure) or (exchange.upload is not None and exchange.upload.begun):
                return failure
            attempts.failed(result.attempt, failure)
            if told is None or _may_pass(failure) or not _may_pass(told):
                told = failure
        return _told(told, attempts)


def _worth_another(failure: GatewayError) -> bool:
    """Another target may do better: the vendor failed, or this one cannot express the request."""
    return failure.retryable or failure.kind == "unsupported"


def _may_pass(failure: GatewayError) -> bool:
    """Whether it is worth coming back for: nothing is wrong with the target's settings, nor with the request for it."""
    return isinstance(failure, UpstreamError) and failure.failure not in ("model_access", "credential", "quota")


def _told(failure: GatewayError | None, attempts: Attempts) -> GatewayError:
    """What the client is told when nothing is left to try."""
    rest = attempts.rest()
    if rest is None:
        return RequestError("No target is configured for this model.", kind="model_not_found", param="model")
    if failure is not None:
        if failure.retry_after is None and rest > 0 and failure.retryable:
            failure.retry_after = rest
        return failure
    states = attempts.states()
    if states == {"benched"}:
        return UpstreamError(
            "The upstream refused the gateway's credentials.", failure="credential", code="no_usable_credential"
        )
    if states == {"missing"}:
        return UpstreamError(
            "The upstream does not have this model.",
            failure="model_access",
            kind="model_not_found",
            param="model",
            code="model_not_found",
        )
    if states <= {"cooling", "missing"}:
        return UpstreamError(
            "Every target of this model asks for fewer requests.",
            failure="rate_limit",
            kind="rate_limited",
            code="all_targets_cooling_down",
            retry_after=rest,
        )
    return UpstreamError(
        "No target of this model is well at the moment.",
        failure="overloaded",
        kind="overloaded",
        code="no_target_available",
        retry_after=rest,
    )
