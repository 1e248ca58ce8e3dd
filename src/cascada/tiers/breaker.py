"""A tier's breaker: a tier that fails costs its callers little, and says so once.

- Every call has a deadline (`deadline`). A tier that answers too late has not answered.
- After a few failures in a row the breaker opens: calls fail at once, without being sent, until
  one trial (half-open) succeeds. States and names: Nygard, "Release It!", chapter 5. An
  invalidation that its caller waits for is always sent: it is the trial.

Only what the tier did counts as a failure: it gave no answer, broke off, or said that it cannot
work at present. What it refuses, an argument that cannot be sent, a fault of our own, and time in
which this process itself stood still, say nothing about it: one caller's odd value would else take
the tier from all others.

`GuardedTier` and `GuardedData` put a `Call` around each call of the tier that they share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Protocol

from cascada.model.clock import Clock
from cascada.model.errors import BadInput, TierUnavailable, Unanswered
from cascada.tiers.contract import Full, NotPermitted
from cascada.tiers.deadline import Deadline

FAILURES_TO_OPEN: Final = 3
RETRY_AFTER: Final = 1.0

MAX_CAUSES: Final = 5
"""Causes that are told of one outage; it may have a new one every second."""


class Watcher(Protocol):
    """Who is told how a tier fares."""

    def tier_changed(self, tier: str, available: bool, why: str) -> None:
        """The breaker has opened, or closed again."""

    def tier_still_away(self, tier: str, why: str) -> None:
        """It is away for another cause than was told before."""

    def tier_full(self, tier: str, why: str) -> None:
        """It answers, and has no room for what is to be stored."""

    def own_fault(self, tier: str, error: Exception) -> None:
        """A call failed in our own code, or in the driver, before or after the tier had it."""


class Breaker:
    """The state of one tier: whether calls are sent to it.

    `on_open` is called when they no longer are. `silent_since`, on the loop's clock: since when the
    tier has answered nothing.
    """

    def __init__(
        self, name: str, clock: Clock, on_open: Callable[[], None], watcher: Watcher | None
    ) -> None:
        self.name = name
        self.open = False
        self.failures = 0
        self.silent_since: float | None = None
        self._now = clock.monotonic
        self._on_open = on_open
        self._watcher = watcher
        self._why = ""
        self._causes: set[str] = set()
        self._retry_at = 0.0

    def begin_trial(self, *, in_any_case: bool) -> None:
        """A call is about to be sent to a tier that is away. TierUnavailable if it is too early."""
        now = self._now()
        if now < self._retry_at and not in_any_case:
            raise TierUnavailable(
                f"{self.name} is skipped for {RETRY_AFTER:g} s at a time after {self.failures} "
                f"failures, the last one: {self._why}"
            )
        # While a trial is under way others go on failing at once.
        self._retry_at = now + RETRY_AFTER

    def answered(self) -> None:
        """The tier is there."""
        self.failures = 0
        self.silent_since = None
        if self.open:
            self.open = False
            if self._watcher is not None:
                self._watcher.tier_changed(self.name, True, "")

    def failed(self, why: str, began: float) -> None:
        """The call that began then (on the loop's clock) has failed through the tier."""
        self.failures += 1
        self._why = why
        if self.silent_since is None:
            self.silent_since = began
        if not self.open and self.failures >= FAILURES_TO_OPEN:
            self.open = True
            self._retry_at = self._now() + RETRY_AFTER
            self._causes = {why}
            self._on_open()
            if self._watcher is not None:
                self._watcher.tier_changed(self.name, False, why)
        elif self.open and why not in self._causes and len(self._causes) < MAX_CAUSES:
            self._causes.add(why)
            if self._watcher is not None:
                self._watcher.tier_still_away(self.name, why)

    def judge(self, error: Exception, began: float) -> TierUnavailable:
        """What a call's error says about the tier, and what its caller is told."""
        watcher = self._watcher
        if isinstance(error, NotPermitted):
            # It answers: to open the breaker would keep it from what it still takes.
            self.answered()
            if isinstance(error, Full) and watcher is not None:
                watcher.tier_full(self.name, str(error))
            return error
        if isinstance(error, TierUnavailable | OSError | EOFError):
            self.failed(str(error) or repr(error), began)
            if isinstance(error, TierUnavailable):
                return error
            return TierUnavailable(f"{self.name} failed: {error!r}")
        # No more the caller's business than a tier that is away, and nothing that the tier did.
        if watcher is not None:
            watcher.own_fault(self.name, error)
        return TierUnavailable(f"{self.name} could not be used ({type(error).__name__})")


class Call(Deadline):
    """`with` it, one call of a tier is made: within so many seconds, if the breaker lets it.

    What goes wrong inside is told to the breaker, and raised as TierUnavailable. `until`, a moment
    on the loop's clock: the call is sent in any case, and waited for until then; `on_late` is
    called when its seconds are over.
    """

    def __init__(
        self,
        breaker: Breaker,
        seconds: float,
        *,
        until: float | None = None,
        on_late: Callable[[], None] | None = None,
    ) -> None:
        self._breaker = breaker
        self._seconds = seconds
        self._insists = until is not None
        if breaker.open:
            breaker.begin_trial(in_any_case=self._insists)
        if until is not None:
            left = until - asyncio.get_running_loop().time()
            self._at_most = max(left, seconds)
            self._on_late = self._fail_late
            self._also_on_late = on_late

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        given_up = self._stop(error)
        if error is None:
            if self._breaker.failures:
                self._breaker.answered()
        elif (not isinstance(error, Exception) and not given_up) or isinstance(error, BadInput):
            return  # of the caller's own
        elif self.expired:
            if self.late and not self._insists:
                self._breaker.failed(self._unanswered, self.began)
            why = (
                self._unanswered
                if self.late
                else "no answer while other work of this process went first"
            )
            raise Unanswered(f"{self._breaker.name} gave {why}") from error
        elif isinstance(error, Exception):
            told = self._breaker.judge(error, self.began)
            if told is not error:
                raise told from error

    @property
    def _unanswered(self) -> str:
        return f"no answer within {self._seconds:.2g} s"

    def _fail_late(self) -> None:
        self._breaker.failed(self._unanswered, self.began)
        if self._also_on_late is not None:
            self._also_on_late()
