"""A second attempt beside a slow first one: who has content first wins, the other is cancelled.

It buys a shorter tail with tokens, so it is off by default, and bounded to a share of the requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import anyio
from anyio.abc import TaskGroup

from asgi_llmgw._types import Message, Receive, Scope, Send
from asgi_llmgw.asgi import ClientDisconnected, watch_disconnect
from asgi_llmgw.components.dispatch.attempt import Result, Runner
from asgi_llmgw.exchange import SCOPE_KEY, Exchange
from asgi_llmgw.routing.retry import Attempt, Attempts, Retries, RetryBudget, RetryPolicy

LOST: Final = "lost"
_OF_AN_ATTEMPT: Final = (
    "provider",
    "upstream_model",
    "credential",
    "upstream_protocol",
    "translated",
    "outcome",
    "failure",
    "usage",
    "finish_reason",
    "first_token",
    "text_length",
    "diagnostics",
)
"""What an attempt writes into its record."""


class Hedging:
    """Runs the first attempt of a request, and after a while a second one beside it."""

    def __init__(self, runner: Runner, retries: Retries) -> None:
        self._runner = runner
        self._retries = retries
        self._budgets: dict[str, RetryBudget] = {}

    async def run(
        self,
        attempt: Attempt,
        attempts: Attempts,
        exchange: Exchange,
        scope: Scope,
        body: bytes,
        receive: Receive,
        send: Send,
    ) -> Result:
        """Like `Runner.run`, for the attempt or the one beside it: whichever has content first.

        Raises:
            ClientDisconnected: the client left before it was answered.
        """
        if exchange.hedge is None:
            return await self._runner.run(attempt, exchange, scope, body, receive, send)
        budget = self._budget(exchange)
        budget.earn()
        race = _Race(self._runner, attempts, exchange, scope, body, send)
        async with anyio.create_task_group() as group:
            group.start_soon(race.watch, receive)
            race.start(attempt, group)
            with anyio.move_on_after(exchange.hedge.after):
                await race.decided.wait()
            if not race.decided.is_set():
                second = attempts.beside(attempt) if budget.spend() else None
                if second is not None:
                    race.start(second, group)
                await race.decided.wait()
        return race.result()

    def _budget(self, exchange: Exchange) -> RetryBudget:
        """One for each route: a request earns its share of a second attempt."""
        hedge, name = exchange.hedge, exchange.route or ""
        found = self._budgets.get(name)
        if found is None:
            share = 0.0 if hedge is None else hedge.share
            policy = RetryPolicy(budget=share, budget_cap=max(1.0, 10 * share), min_concurrent=0)
            found = self._budgets[name] = RetryBudget(policy)
        return found


class _Race:
    """Attempts side by side. Each has a record of its own; the winner's becomes the request's.

    Attributes:
        decided: one has content, or none is left.
    """

    def __init__(
        self, runner: Runner, attempts: Attempts, exchange: Exchange, scope: Scope, body: bytes, send: Send
    ) -> None:
        self._runner = runner
        self._attempts = attempts
        self._exchange = exchange
        self._scope = scope
        self._body = body
        self._send = send
        self._left = anyio.Event()
        self._running: dict[int, anyio.CancelScope] = {}
        self._results: list[tuple[Result, Exchange]] = []
        self._winner: Exchange | None = None
        self.decided = anyio.Event()

    async def watch(self, receive: Receive) -> None:
        """One waits for the client to leave, and tells all."""
        await watch_disconnect(receive)
        self._left.set()

    def start(self, attempt: Attempt, group: TaskGroup) -> None:
        """From now on this attempt takes part."""
        own = replace(self._exchange, tried=[], attempts=0)
        self._running[id(own)] = anyio.CancelScope()
        group.start_soon(self._take_part, attempt, own, group)

    async def _take_part(self, attempt: Attempt, own: Exchange, group: TaskGroup) -> None:
        """Run one attempt to its end, or until the other has won."""
        with self._running[id(own)]:
            try:
                result = await self._runner.run(
                    attempt,
                    own,
                    {**self._scope, SCOPE_KEY: own},
                    self._body,
                    self._receive,
                    self._send,
                    on_commit=self._claim(own),
                )
                self._results.append((result, own))
            except ClientDisconnected:
                pass
            finally:
                del self._running[id(own)]
                self._note(own)
        if self._winner is own or not self._running:
            self.decided.set()
            group.cancel_scope.cancel()

    def _note(self, own: Exchange) -> None:
        """Each attempt counts, also the one given up; the record of the winner, or of the last, is the request's.

        This happens to requests that are cancelled too: somebody has to pay for what they have used.
        """
        if self._winner is not None and self._winner is not own:
            for tried in own.tried:
                tried.failure = LOST if tried.failure in (None, "cancelled") else tried.failure
        elif own.tried:
            self._adopt(own)
        self._exchange.tried += own.tried
        self._exchange.attempts += own.attempts

    def _adopt(self, own: Exchange) -> None:
        for name in _OF_AN_ATTEMPT:
            setattr(self._exchange, name, getattr(own, name))

    def result(self) -> Result:
        """The winner's result, or the last failure. The request's plan hears of the others' failures here."""
        if not self._results:
            raise ClientDisconnected
        made = [found for found in self._results if found[0].made] or self._results
        result, _ = next((found for found in made if found[1] is self._winner), made[-1])
        for other, _ in made:
            if other is not result and other.failure is not None:
                self._attempts.failed(other.attempt, other.failure)
        return result

    def _claim(self, own: Exchange) -> Callable[[], bool]:
        def claim() -> bool:
            if self._winner is not None:
                return self._winner is own
            self._winner = own
            self.decided.set()
            self._adopt(own)
            for key, scope in self._running.items():
                if key != id(own):
                    scope.cancel()
            return True

        return claim

    async def _receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}
