"""Is there room for this request? Sets aside what it may use, and counts what it has used, whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal, TypeAlias

from asgi_llmgw._types import ASGIApp, Headers, Message, Receive, Scope, Send
from asgi_llmgw.answer import ClientDisconnected, is_event_stream
from asgi_llmgw.asgi import MAX_BODY, peek_body, send_gone
from asgi_llmgw.errors import ConfigError, GatewayError
from asgi_llmgw.exchange import Exchange, Operation, Target, new_request_id
from asgi_llmgw.limiting.accounting import Answered, cost_of, tokens_of, used_by
from asgi_llmgw.limiting.estimate import DEFAULT_OUTPUT_TOKENS, Estimate, estimate, estimate_operation
from asgi_llmgw.limiting.headers import rate_limit_headers, retry_headers
from asgi_llmgw.limiting.leases import LEASE_SECONDS, Later, Leases, shielded
from asgi_llmgw.limiting.table import LimitTable, Met
from asgi_llmgw.limiting.words import denial, hopeless, label, too_much, unavailable, unpriced
from asgi_llmgw.pricing import PriceTable, highest_cost
from asgi_llmgw.render import send_error
from asgi_llmgw.store.base import NOTHING_USED, Claim, Denied, Limit, Measure, Reservation, Store, StoreUnavailable

Unpriced: TypeAlias = Literal["refuse", "allow"]

UNMETERED: Final[frozenset[Operation]] = frozenset(
    {"count_tokens", "stored_response", "caches", "files", "batches", "usage"}
)
"""The operations that generate nothing: they count as requests alone."""

_NOTHING: Final = Estimate(0, 0)


class LimitsMiddleware:
    """Keep the limits of keys, tenants and models: requests, tokens, money, and requests at the same time.

    All limits of a request are checked and taken at once; one that has no room refuses it with 429, in the client's
    protocol, and takes nothing of the others. What is set aside is the most that the request may use; what it has used
    is settled in its place as soon as that is known, before the client hears of the end, and in every other ending too.
    Requests that meet no limit pass straight through.

    Args:
        app: dispatches to the targets.
        store: counts.
        limits: the configured limits.
        prices: for budgets, and for `Exchange.cost`.
        lease_seconds: how long what a killed process has set aside stays taken.
        default_output_tokens: what a request is thought to generate that does not say how much it may.
        unpriced: what becomes of a request under a budget whose model has no price: `refuse` it, or `allow` it and
            count nothing.
        max_body: the largest request, in bytes.
        clock: seconds since the epoch.
        later: calls a function so many seconds later, to renew the leases; None takes the event loop's own timers.

    Raises:
        ConfigError: a number is not positive.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store,
        limits: LimitTable,
        prices: PriceTable | None = None,
        lease_seconds: float = LEASE_SECONDS,
        default_output_tokens: int = DEFAULT_OUTPUT_TOKENS,
        unpriced: Unpriced = "refuse",
        max_body: int = MAX_BODY,
        clock: Callable[[], float] = time.time,
        later: Later | None = None,
    ) -> None:
        if lease_seconds <= 0 or default_output_tokens <= 0:
            raise ConfigError("lease_seconds and default_output_tokens must be positive")
        self._app = app
        self._limits = limits
        self._prices = prices if prices is not None else PriceTable()
        self._leases = Leases(store, seconds=lease_seconds, later=later)
        self._default_output_tokens = default_output_tokens
        self._unpriced: Unpriced = unpriced
        self._max_body = max_body
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange, scope = Exchange.of(scope)
        met = self._limits.of(exchange)
        if exchange.operation in UNMETERED:
            met = met.unmetered
        if not met.claims:
            await self._app(scope, receive, send)
            return
        protocol = exchange.client_protocol
        headers: Headers = ()
        try:
            expected = _NOTHING
            if met.metered:
                body, receive = await peek_body(receive, headers=exchange.headers, limit=self._max_body)
                expected = self._estimate(exchange, body)
            found = await self._reserve(self._claims(exchange, met, expected))
            if isinstance(found, Denied):
                exchange.limited, now = label(found.limit), self._clock()
                headers = rate_limit_headers(found.standings, met.told, protocol, now=now)
                raise denial(found, protocol, now=now)
        except ClientDisconnected:
            exchange.outcome = "client_disconnected"
            await send_gone(send)
            return
        except GatewayError as error:
            await self._refuse(exchange, send, error, headers)
            return
        headers = rate_limit_headers(found.standings, met.told, protocol, now=found.time)
        admitted = _Admitted(exchange, send, found, expected, headers, self._leases, self._prices)
        try:
            await self._app(scope, receive, admitted)
        finally:
            if not admitted.settled:
                await admitted.settle()

    def _estimate(self, exchange: Exchange, body: bytes) -> Estimate:
        """The most the request may use."""
        operation, most = exchange.operation, self._default_output_tokens
        if operation is None or operation in ("chat", "compact", "realtime"):
            return estimate(body, exchange.client_protocol or "openai_chat", default_output=most)
        return estimate_operation(body, operation, default_output=most)

    def _claims(self, exchange: Exchange, met: Met, expected: Estimate) -> tuple[Claim, ...]:
        """One of each limit, and of tokens and money the most that the request may use.

        Raises:
            GatewayError: its cost cannot be told, or it alone is more than a limit allows.
        """
        claims, fits = list(met.claims), met.fits
        for place in met.metered:
            limit = claims[place].limit
            if limit.measure == "tokens":
                amount = expected.tokens
            else:
                amount = self._highest_cost(exchange, limit, expected)
            if amount > limit.ceiling:
                fits = False
            claims[place] = Claim(limit, amount)
        if not fits:
            claim = next(claim for claim in claims if claim.amount > claim.limit.ceiling)
            exchange.limited = label(claim.limit)
            raise too_much(claim)
        return tuple(claims)

    async def _reserve(self, claims: tuple[Claim, ...]) -> Reservation | Denied:
        """Take all or nothing.

        Raises:
            GatewayError: the store is away.
        """
        # never the client's own id: whoever repeats one would pay once
        request_id, leases = new_request_id(), self._leases
        try:
            reserving = leases.store.reserve(claims, request_id=request_id, lease=leases.seconds)
            return await (shielded(reserving) if leases.waits else reserving)
        except StoreUnavailable:
            raise unavailable() from None
        except asyncio.CancelledError:
            # nobody knows whether it was taken, and nobody will use it
            leases.settle_beside(Reservation(request_id, claims, (), self._clock()), NOTHING_USED)
            raise

    def _highest_cost(self, exchange: Exchange, limit: Limit, expected: Estimate) -> int:
        """What the request costs at most, wherever it goes."""
        targets = exchange.targets or (Target("", exchange.model or expected.model or ""),)
        highest = 0
        for target in targets:
            price = self._prices.find(target.provider, target.model)
            if price is not None:
                highest = max(highest, highest_cost(expected.input_tokens, expected.output_tokens, price))
            elif self._unpriced == "refuse":
                raise unpriced(exchange.model or target.model, limit)
        return highest

    async def _refuse(self, exchange: Exchange, send: Send, error: GatewayError, headers: Headers) -> None:
        exchange.reject(error)
        protocol = exchange.client_protocol
        if error.status in (429, 503):
            headers += retry_headers(error.retry_after, protocol, hopeless=hopeless(error))
        await send_error(send, error, protocol, request_id=exchange.request_id, extra_headers=headers)


class _Admitted:
    """A `send` that tells the client how its limits stand, and settles before the client hears of the end."""

    def __init__(
        self,
        exchange: Exchange,
        send: Send,
        reservation: Reservation,
        expected: Estimate,
        headers: Headers,
        leases: Leases,
        prices: PriceTable,
    ) -> None:
        self._exchange = exchange
        self._send = send
        self._reservation = reservation
        self._expected = expected
        self._headers = headers
        self._leases = leases
        self._prices = prices
        self._began = False
        self._streaming = False
        self._size = 0
        self.settled = False
        leases.hold(reservation)

    def __call__(self, message: Message) -> Awaitable[None]:
        if self._streaming and message.get("more_body", False):
            # nothing is to be learnt of what a stream says before its end
            return self._send(message)
        if message["type"] == "http.response.start":
            headers = [*(message.get("headers") or ()), *self._headers]
            self._began = message["status"] < 400
            self._streaming = is_event_stream(headers)
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            if self._began and not self._streaming:
                self._size += len(message.get("body", b""))
            if not (message.get("more_body", False) or self.settled):
                return self._end(message)
        return self._send(message)

    async def _end(self, message: Message) -> None:
        # a client that has its answer may come again at once, and finds its place free
        await self.settle(finished=True)
        await self._send(message)

    def settle(self, *, finished: bool = False) -> Awaitable[None]:
        """Count what was used, whoever is being cancelled."""
        self.settled = True
        actual: dict[Measure, int] = {}
        if self._expected is not _NOTHING:
            exchange = self._exchange
            answered = Answered(self._began, finished, self._size)
            used = used_by(exchange, self._expected, answered)
            exchange.cost = cost_of(used, self._prices)
            actual = {"tokens": tokens_of(used), "cost": exchange.cost or 0}
        return self._leases.settle(self._reservation, actual)
