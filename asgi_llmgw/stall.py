"""Clients that do not read. A server then keeps our `send` waiting, and the vendor is waiting for us, for ever."""

from __future__ import annotations

from typing import Final

from asgi_llmgw.answer import Answer
from asgi_llmgw.interrupt import Interrupt

SEND_STALL: Final = 30.0


class StallGuard(Interrupt):
    """Ends what runs inside it once the server has not taken a message of the answer for so long.

    The one timer looks at it every now and then, so a reader is slow as long as it likes if only it goes on.

    Args:
        seconds: how long the server may take for one message; 0 for ever.
    """

    __slots__ = ("_answer", "_seconds")

    def __init__(self, answer: Answer, seconds: float) -> None:
        self._answer = answer
        self._seconds = seconds

    def start(self) -> None:
        """The answer is watched from now on."""
        if self._seconds:
            self._answer.clock = self.loop.time
            self.timer = self.loop.call_later(self._seconds, self._look)

    def _look(self) -> None:
        now, since = self.loop.time(), self._answer.since
        due = (now if since is None else since) + self._seconds
        if due > now:
            self.timer = self.loop.call_at(due, self._look)
            return
        self._answer.give_up()
        self.fire()
