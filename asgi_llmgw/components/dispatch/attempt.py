"""One attempt: one target, one key, one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import anyio
import msgspec

from asgi_llmgw._types import ASGIApp, Receive, Scope, Send
from asgi_llmgw.asgi import ClientDisconnected, replay, watch_disconnect
from asgi_llmgw.components.dispatch.guard import CommitGuard
from asgi_llmgw.errors import GatewayError, UpstreamError
from asgi_llmgw.exchange import Exchange, Tried
from asgi_llmgw.routing.health import Ticket
from asgi_llmgw.routing.retry import Attempt, Retries


class Result(msgspec.Struct, frozen=True):
    """What came of an attempt: the client has been answered, or a failure that it has not seen.

    Neither where the attempt was not made: its lane rests by now.
    """

    attempt: Attempt
    answered: bool
    failure: GatewayError | None = None
    made: bool = True


class Runner:
    """Makes attempts and tells the health what came of them.

    Args:
        providers: for each provider's name the app that serves the clients over it.
        hold_seconds: how long the start of an answer is held back once the upstream has accepted the request.
    """

    def __init__(self, providers: Mapping[str, ASGIApp], retries: Retries, *, hold_seconds: float) -> None:
        self._providers = providers
        self._retries = retries
        self._health = retries.balancer.health
        self._hold_seconds = hold_seconds

    async def run(
        self,
        attempt: Attempt,
        exchange: Exchange,
        scope: Scope,
        body: bytes,
        receive: Receive,
        send: Send,
        *,
        on_commit: Callable[[], bool] | None = None,
    ) -> Result:
        """Make one attempt, when its time has come; `on_commit` is asked before the client sees anything of it.

        Raises:
            ClientDisconnected: the client left before it was answered.
        """
        try:
            if attempt.wait:
                await _wait(attempt.wait, receive)
            ticket = self._health.begin(attempt.lane, in_a_panic=attempt.in_a_panic)
            if ticket is None:
                return Result(attempt, answered=False, made=False)
            _begin(exchange, attempt)
            patient = on_commit is not None or exchange.stream_failure == "restart_if_no_output"
            guard = CommitGuard(
                send,
                exchange,
                hold_seconds=None if patient else self._hold_seconds,
                on_commit=on_commit,
                on_content=partial(self._note_first_token, ticket, exchange),
            )
            whole = False
            try:
                await self._providers[attempt.target.provider](scope, replay(body, receive), guard)
                whole = True
            finally:
                guard.stop()
                self._learn(ticket, exchange, whole=whole)
        finally:
            if attempt.retry:
                self._retries.budget(attempt.target.provider).done()
        if guard.committed:
            return Result(attempt, answered=True)
        if exchange.outcome == "client_disconnected":
            raise ClientDisconnected
        failure = exchange.failure
        refused = failure is not None and not failure.retryable and failure.kind != "unsupported"
        return Result(attempt, answered=refused and await guard.commit_refusal(), failure=failure)

    def _note_first_token(self, ticket: Ticket, exchange: Exchange) -> None:
        """A stream has content; a whole answer's time says how much was written, not how fast."""
        if exchange.first_token is not None:
            self._health.answers(ticket, max(0.0, exchange.first_token - ticket.began))

    def _learn(self, ticket: Ticket, exchange: Exchange, *, whole: bool) -> None:
        """What an attempt says about its lane, whether or not the client has seen it."""
        failure, tried = exchange.failure, exchange.tried[-1]
        tried.usage = exchange.usage
        if failure is None:
            if exchange.first_token is not None or (whole and exchange.outcome != "client_disconnected"):
                self._health.succeed(ticket)
                return
            tried.failure = exchange.outcome or "cancelled"
        elif isinstance(failure, UpstreamError):
            tried.failure = failure.failure
            self._health.fail(ticket, failure)
            return
        else:
            tried.failure = failure.kind
        self._health.abandon(ticket)


async def _wait(seconds: float, receive: Receive) -> None:
    with anyio.move_on_after(seconds):
        await watch_disconnect(receive)
        raise ClientDisconnected


def _begin(exchange: Exchange, attempt: Attempt) -> None:
    """A new attempt: nothing of the last one is left."""
    if exchange.attempts:
        _forget_the_last(exchange)
    exchange.attempts += 1
    exchange.upstream_protocol = None
    target = attempt.target
    provider = exchange.provider = target.provider
    model = exchange.upstream_model = target.model
    credential = exchange.credential = attempt.lane.key.credential
    exchange.tried.append(Tried(provider, model, credential))


def _forget_the_last(exchange: Exchange) -> None:
    exchange.forgive()
    exchange.usage = None
    exchange.finish_reason = None
    exchange.first_token = None
    exchange.text_length = 0
    exchange.diagnostics = ()
