"""Which keys follow which: what is learned of one tenant's misses, and what it predicts.

It sees the stream of keys that memory could not answer. Of each key it counts which others came
within the next few misses; what has followed it most of the time is predicted when it comes again.
What was fetched for a prediction is no miss any more when its caller comes. He says so (`used`), so
that the stream goes on as if nobody had been ahead of it, and the next ones are predicted as well.

It is measured all the time. What is fetched and goes unused costs CREDIT, of which each miss brings
a little, and each use more. Without credit nothing is predicted, so a learner that guesses badly
stops by itself, goes on learning, and tries again as seldom as its misses pay for.

`engine/strategies/ahead.py` owns one for each tenant and does what it says;
`benchmarks/prefetch.py` replays traces through it. Nothing here waits, reads a clock or knows what
a key is.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import itemgetter
from typing import Any, Final, Generic, TypeVar

K = TypeVar("K")

ROWS: Final = 32_768
"""Keys whose followers are remembered, the latest ones: some 400 bytes each."""

WINDOW: Final = 8
"""Misses after a key in which what comes is counted as following it: requests of several callers
are mixed in one stream."""

FOLLOWERS: Final = 12
"""Of one key so many are counted; the rarest go first."""

OFTEN: Final = 2
"""Times that something must have followed before it is predicted: once is chance."""

LIKELY: Final = 0.7
"""The share of a key's comings that something must have followed."""

AT_ONCE: Final = 8
"""Predictions where the last one was right. A miss that was not foreseen may be a stranger to what
followed it before: it has one, and only if that is used the others come."""

FORGET: Final = 16
"""Comings of a key after which its counts are halved, so that it follows what changes."""

FIRST_CREDIT: Final = 8.0
MOST_CREDIT: Final = 64.0
"""Fetches in vain that are granted at first, and that may be saved up."""

EARNED: Final = 0.05
"""The credit of a use: nineteen of twenty must be used where misses earn nothing."""

RECENT: Final = 0.02
"""The weight of the latest outcome in `precision`."""


class _Row:
    """One key: how often it came, and what has followed it."""

    __slots__ = ("came", "followers")

    def __init__(self) -> None:
        self.came = 0
        self.followers: dict[Any, int] = {}

    def count(self, key: object) -> None:
        """It has followed once more. Where there are too many, the rarest give way."""
        followers = self.followers
        times = followers.get(key)
        if times is not None:
            followers[key] = times + 1
            return
        if len(followers) >= FOLLOWERS:
            least = min(followers.values())
            for rare in [each for each, n in followers.items() if n == least][: FOLLOWERS // 4]:
                del followers[rare]
        followers[key] = 1


class Learner(Generic[K]):
    """Learns from one stream of misses. `budget`: fetches in vain that each miss pays for.

    What is predicted is worth a fetch only as long as `affords`; who begins one says `fetched`, and
    later either `used` or `wasted`. `precision` is the recent share of those that were used.
    """

    __slots__ = (
        "_credit", "_earned", "_fetched", "_last", "_rows", "_window", "precision", "rows",
    )  # fmt: skip

    def __init__(self, budget: float, rows: int = ROWS) -> None:
        self.rows = rows
        self.precision = 0.0
        self._earned = budget
        self._credit = FIRST_CREDIT
        self._fetched: set[K] = set()
        self._rows: OrderedDict[K, _Row] = OrderedDict()
        self._window: dict[K, _Row] = {}
        self._last: K | None = None

    def saw(self, key: K) -> list[K]:
        """A caller has missed `key`: what is likeliest to be missed next."""
        self._earn(self._earned)
        return self._next(key)[:1]

    def used(self, key: K) -> list[K]:
        """A caller has come for what was fetched ahead: all that is likely to be missed next, the
        likeliest first."""
        if key in self._fetched:
            self._fetched.discard(key)
            self._earn(EARNED)
            self.precision += RECENT * (1 - self.precision)
        return self._next(key)

    def fetched(self, key: K) -> None:
        """A predicted key is being fetched."""
        self._fetched.add(key)

    def wasted(self, key: K) -> None:
        """It was fetched, and has gone unused (or did not come)."""
        if key in self._fetched:
            self._fetched.discard(key)
            self._credit -= 1
            self.precision -= RECENT * self.precision

    @property
    def affords(self) -> bool:
        """Whether one more may turn out to be in vain, beside those whose outcome is open."""
        return self._credit - len(self._fetched) * (1 - self.precision) >= 1

    def begin_anew(self) -> None:
        """Whatever is open will never be told."""
        self._fetched.clear()
        self._window.clear()
        self._last = None

    def shrink(self, rows: int) -> None:
        """Remember so many keys from now on."""
        self.rows = rows
        while len(self._rows) > rows:
            self._rows.popitem(last=False)

    def __len__(self) -> int:
        """The keys that are remembered."""
        return len(self._rows)

    def _earn(self, credit: float) -> None:
        self._credit = min(MOST_CREDIT, self._credit + credit)

    def _next(self, key: K) -> list[K]:
        if key == self._last:
            return []  # many callers at once have missed it
        self._last = key
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Row()
            if len(self._rows) > self.rows:
                self._rows.popitem(last=False)
        else:
            self._rows.move_to_end(key)
        # Once for each coming: what came before its own last coming has been told of that.
        self._window.pop(key, None)
        for past in self._window.values():
            past.count(key)
        self._window[key] = row
        if len(self._window) > WINDOW:
            del self._window[next(iter(self._window))]
        times, row.came = row.came, row.came + 1
        if row.came >= FORGET:
            row.came //= 2
            row.followers = {each: n // 2 for each, n in row.followers.items() if n > 1}
            times = row.came - 1
        if times < OFTEN or self._credit < 1:
            return []
        enough = max(OFTEN, LIKELY * times)
        likely = [(n, each) for each, n in row.followers.items() if n >= enough]
        likely.sort(key=itemgetter(0), reverse=True)
        return [each for _, each in likely[:AT_ONCE]]
