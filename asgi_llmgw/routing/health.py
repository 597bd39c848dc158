"""How the lanes to the vendors are: what has failed, what rests, what is busy. Arithmetic only: nothing waits here.

A lane is one model at one provider with one of its keys: the smallest thing that can fail by itself. A breaker opens
when a lane keeps failing, and lets one request through now and then to see whether it is well again. A refusal to
serve for a while (429) only cools the lane, and a key that is refused (401, 403, no money) rests with all its lanes.
Everything is of this process alone: the first failures are felt here at once, without asking anybody.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from asgi_llmgw.errors import FailureClass, UpstreamError
from asgi_llmgw.exchange import Target

LaneState: TypeAlias = Literal["closed", "open", "half_open", "cooling", "missing", "benched", "down"]

COOLDOWN: Final = 10.0
"""Seconds a lane rests after a 429 that does not say how long."""
CREDENTIAL_BENCH: Final = 300.0
"""Seconds a refused key rests, and a model that a key may not use."""
PENALTY: Final = 5.0
"""Seconds of latency that a failure counts for."""
DECAY: Final = 10.0
"""Seconds after which a measured latency counts for little more than a third."""

MAX_LANES: Final = 10_000

_CELLS: Final = 10
_GUESSES: Final[frozenset[LaneState]] = frozenset({"open", "down"})
_FORBIDDEN: Final = 403
_DOWN: Final[frozenset[FailureClass]] = frozenset({"unreachable", "timeout", "transient", "overloaded"})
_KEYS_OWN: Final[frozenset[FailureClass]] = frozenset({"credential", "quota"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a lane's breaker opens, and for how long.

    Args:
        enabled: without it no lane and no key ever rests, whatever happens.
        failures: so many in a row open it.
        ratio: so does this share of failures among at least `minimum` requests within `window` seconds.
        open_seconds: for so long it lets nothing through; doubled each time the probe fails, up to `max_open_seconds`,
            and spread by `jitter`, so that many processes do not come back at once.
        slow_seconds: a first token later than this is a failure too, and a probe that has said nothing for so long
            keeps no other one from being made.
        panic_seconds: where nothing else is left, one request in so many seconds is let through nevertheless.
    """

    enabled: bool = True
    failures: int = 5
    ratio: float = 0.5
    minimum: int = 20
    window: float = 30.0
    open_seconds: float = 5.0
    max_open_seconds: float = 60.0
    jitter: float = 0.2
    slow_seconds: float = 30.0
    panic_seconds: float = 1.0


class LaneKey(NamedTuple):
    """Which lane: `credential` is the index of the key among the provider's."""

    provider: str
    credential: int
    model: str


@dataclass(slots=True, eq=False)
class Lane:
    """One lane, as it is now. Times are the health's clock's.

    Attributes:
        is_spotless: nothing that happened on it has ever made it rest.
    """

    key: LaneKey
    is_spotless: bool = True
    in_flight: int = 0
    latency: float | None = None
    measured: float = 0.0
    failures_in_a_row: int = 0
    recent: deque[_Cell] = field(default_factory=deque)
    open_until: float | None = None
    opened: int = 0
    probe: Ticket | None = None
    last_probe: float = -math.inf
    cooling_until: float = -math.inf
    missing_until: float = -math.inf
    refused_until: float = -math.inf

    def cost(self, now: float) -> float:
        """What choosing it would cost: its latency, once for each request on it and once for ours.

        While nothing is on it, what was measured long ago counts for little, so that a lane with a bad past is tried
        again. One that has never answered and is being asked is no better than one that fails.
        """
        if self.latency is None:
            return PENALTY * self.in_flight
        if self.in_flight:
            return self.latency * (self.in_flight + 1)
        return self.latency * math.exp((self.measured - now) / DECAY)


@dataclass(slots=True)
class _Cell:
    """What happened in one tenth of a breaker's window, until it `ends`."""

    number: int
    ends: float
    total: int = 0
    failed: int = 0


class Ticket(msgspec.Struct, eq=False):
    """A request that is on a lane since `began`: it is handed back with what came of it.

    A probe decides about the breaker. `waited` is the time to the first token, once that has come.
    """

    lane: Lane
    began: float
    probe: bool
    waited: float | None = None


@dataclass(frozen=True, slots=True)
class LaneView:
    """How a lane stands, for people to read. `retry_after` is in seconds, None where it can be used."""

    key: LaneKey
    state: LaneState
    in_flight: int
    latency: float | None
    retry_after: float | None


class Health:
    """All lanes of one process.

    Args:
        policy: the breakers'.
        clock: seconds, monotonic.
        rng: spreads how long breakers stay open.
    """

    def __init__(
        self,
        policy: BreakerPolicy | None = None,
        *,
        clock: Callable[[], float],
        rng: random.Random | None = None,
    ) -> None:
        self.policy = policy if policy is not None else BreakerPolicy()
        self.clock = clock
        self._rng = rng if rng is not None else random.Random()
        self._lanes: OrderedDict[tuple[str, int, str], Lane] = OrderedDict()
        self._benched: dict[tuple[str, int], float] = {}
        self._down: dict[tuple[str, int], float] = {}

    def lane(self, target: Target, credential: int) -> Lane:
        """The lane of a target with one of its provider's keys."""
        key = (target.provider, credential, target.model)
        lane = self._lanes.get(key)
        if lane is not None:
            self._lanes.move_to_end(key)
            return lane
        if len(self._lanes) >= MAX_LANES:
            self._forget_one()
        lane = self._lanes[key] = Lane(LaneKey(*key))
        return lane

    def state(self, lane: Lane) -> LaneState:
        """`closed` is well; `half_open` may be tried by one request; the others rest."""
        now = self.clock()
        if max(self._benched.get(lane.key[:2], -math.inf), lane.refused_until) > now:
            return "benched"
        if self._down.get(lane.key[:2], -math.inf) > now:
            return "down"
        if lane.missing_until > now:
            return "missing"
        if lane.cooling_until > now:
            return "cooling"
        if lane.open_until is None:
            return "closed"
        return "open" if lane.open_until > now or self._is_probed(lane) else "half_open"

    def usable(self, lane: Lane) -> bool:
        """Whether a request may go there now."""
        if lane.is_spotless and not self._benched and not self._down:
            return True
        return self.state(lane) in ("closed", "half_open")

    def rests_for(self, lane: Lane) -> float:
        """Seconds until it may be used again, 0 if it may be used now."""
        now, opens = self.clock(), -math.inf if lane.open_until is None else lane.open_until
        key = lane.key[:2]
        rests = max(self._benched.get(key, -math.inf), self._down.get(key, -math.inf), lane.refused_until)
        ends = max(rests, lane.missing_until, lane.cooling_until, opens)
        if ends <= now and self._is_probed(lane):
            return self.policy.panic_seconds
        return max(0.0, ends - now)

    def least_bad(self, lanes: Iterable[Lane]) -> Lane | None:
        """Where every lane rests: one that may be tried all the same, None if it is too early for that.

        An open breaker is a guess, and so is what a health check said. Where that is all that stands between a client
        and an answer, it is tested more often.
        """
        now = self.clock()
        resting = [lane for lane in lanes if self.state(lane) in _GUESSES]
        if any(self._is_probed(lane) or lane.last_probe + self.policy.panic_seconds > now for lane in resting):
            return None
        return min(resting, key=self.rests_for, default=None)

    def begin(self, lane: Lane, *, in_a_panic: bool = False) -> Ticket | None:
        """A request goes there; it ends with `succeed`, `fail` or `abandon`. None where the lane rests by now.

        Args:
            in_a_panic: a guess does not matter, as long as nobody else tests it.
        """
        tested = in_a_panic and self.state(lane) in _GUESSES and not self._is_probed(lane)
        if not tested and not self.usable(lane):
            return None
        ticket = Ticket(lane, self.clock(), tested or lane.open_until is not None)
        lane.in_flight += 1
        if ticket.probe:
            lane.probe = ticket
            lane.last_probe = ticket.began
        return ticket

    def answers(self, ticket: Ticket, waited: float) -> None:
        """The first token has come after so many seconds; the rest may take minutes.

        A breaker closes with it, but only a whole answer makes the failures before it forgotten.
        """
        lane, ticket.waited = ticket.lane, waited
        self._measure(lane, waited)
        if ticket.probe and waited <= self.policy.slow_seconds:
            self._close(lane)

    def succeed(self, ticket: Ticket) -> None:
        """It has answered to the end."""
        self._end(ticket)
        lane, waited = ticket.lane, ticket.waited
        if waited is not None and waited > self.policy.slow_seconds and self.policy.enabled:
            self._count_failure(ticket)
        elif lane.open_until is None or ticket.probe:
            lane.failures_in_a_row = lane.opened = 0
            if ticket.probe:
                self._close(lane)
            self._cell(lane).total += 1

    def fail(self, ticket: Ticket, error: UpstreamError) -> None:
        """It did not answer, or not as it should."""
        failure = error.failure
        if failure in ("caller_fault", "filtered"):
            # the vendor is well: it has judged the request
            self.succeed(ticket)
            return
        self._end(ticket)
        if not self.policy.enabled:
            self._measure(ticket.lane, PENALTY)
            return
        lane, now, said = ticket.lane, self.clock(), error.retry_after
        lane.is_spotless = False
        if failure == "credential" and error.upstream_status == _FORBIDDEN:
            # the key is known, and may do other things: what one client asks for must not cost the others the vendor
            lane.refused_until = now + max(CREDENTIAL_BENCH, said or 0.0)
        elif failure in _KEYS_OWN:
            until = now + max(CREDENTIAL_BENCH, said or 0.0)
            self._benched[lane.key[:2]] = max(until, self._benched.get(lane.key[:2], until))
        elif failure == "model_access":
            lane.missing_until = now + CREDENTIAL_BENCH
        elif failure == "rate_limit":
            lane.cooling_until = max(lane.cooling_until, now + (COOLDOWN if said is None else said))
            self._measure(lane, PENALTY)
        else:
            lane.cooling_until = max(lane.cooling_until, now + (said or 0.0))
            self._measure(lane, PENALTY)
            self._count_failure(ticket)

    def abandon(self, ticket: Ticket) -> None:
        """The request was given up before anything was learnt: its client left, or another attempt was faster."""
        self._end(ticket)

    def checked(self, provider: str, credential: int, error: UpstreamError | None, *, rest: float) -> None:
        """Somebody has asked a provider how it is, beside the requests; None: it is well.

        Then what rests there may be tried at once. Otherwise all of its models rest with this key until the next check
        should have come, `rest` seconds from now. A 429 says nothing: checks are not what limits are for.
        """
        now, key = self.clock(), (provider, credential)
        if error is None:
            self._benched.pop(key, None)
            self._down.pop(key, None)
            for lane in self._lanes.values():
                if lane.key[:2] == key and lane.open_until is not None:
                    lane.open_until = min(lane.open_until, now)
        elif self.policy.enabled and error.failure in _KEYS_OWN:
            self._benched[key] = max(now + rest, self._benched.get(key, -math.inf))
        elif self.policy.enabled and error.failure in _DOWN:
            self._down[key] = now + rest

    def views(self) -> Iterator[LaneView]:
        """Every lane that is remembered, those used last at the end. Other threads may ask as well."""
        for lane in list(self._lanes.values()):
            state = self.state(lane)
            rests = None if state in ("closed", "half_open") else self.rests_for(lane)
            yield LaneView(lane.key, state, lane.in_flight, lane.latency, rests)

    def _end(self, ticket: Ticket) -> None:
        lane = ticket.lane
        lane.in_flight -= 1
        if lane.probe is ticket:
            lane.probe = None

    def _close(self, lane: Lane) -> None:
        """What was guessed is refuted."""
        lane.open_until = lane.probe = None
        self._down.pop(lane.key[:2], None)

    def _is_probed(self, lane: Lane) -> bool:
        """Whether somebody tests it; after a while without a word the next one may."""
        return lane.probe is not None and lane.probe.began + self.policy.slow_seconds > self.clock()

    def _measure(self, lane: Lane, seconds: float) -> None:
        """A peak counts at once and is forgotten slowly, as in Finagle's and linkerd's peak-EWMA."""
        now = self.clock()
        if lane.latency is None or seconds > lane.latency:
            lane.latency = seconds
        else:
            kept = math.exp(-(now - lane.measured) / DECAY)
            lane.latency = lane.latency * kept + seconds * (1 - kept)
        lane.measured = now

    def _cell(self, lane: Lane) -> _Cell:
        """Where what happens on a lane now is counted; what has left the window is forgotten."""
        now, recent = self.clock(), lane.recent
        if recent and now < recent[-1].ends:
            return recent[-1]
        seconds = self.policy.window / _CELLS
        number = int(now / seconds)
        cell = _Cell(number, (number + 1) * seconds)
        recent.append(cell)
        while recent[0].number <= number - _CELLS:
            recent.popleft()
        return cell

    def _count_failure(self, ticket: Ticket) -> None:
        lane, policy = ticket.lane, self.policy
        if lane.open_until is not None:
            # what was under way when it opened says nothing new
            if ticket.probe:
                self._open(lane)
            return
        lane.failures_in_a_row += 1
        cell = self._cell(lane)
        cell.total += 1
        cell.failed += 1
        total = sum(cell.total for cell in lane.recent)
        failed = sum(cell.failed for cell in lane.recent)
        often = total >= policy.minimum and failed >= policy.ratio * total
        if often or lane.failures_in_a_row >= policy.failures:
            self._open(lane)

    def _open(self, lane: Lane) -> None:
        policy, lane.is_spotless = self.policy, False
        seconds = min(policy.max_open_seconds, policy.open_seconds * 2**lane.opened)
        lane.opened = min(lane.opened + 1, 32)
        lane.open_until = self.clock() + seconds * self._rng.uniform(1 - policy.jitter, 1 + policy.jitter)
        lane.recent.clear()

    def _forget_one(self) -> None:
        """Clients name the models of a glob, so there could be any number of lanes: one not used for long goes."""
        idle = next((key for key, lane in self._lanes.items() if lane.in_flight == 0), None)
        if idle is not None:
            del self._lanes[idle]
