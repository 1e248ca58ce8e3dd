"""Where an engine runs: one event loop at a time, across forks, until it is closed.

What belongs to a loop (tasks, flights, slots, the feed's loop) is made anew when the cache is used
on another loop after the first was closed, so that several `asyncio.run` in a row work. While the
first loop is still open, calls from elsewhere are carried there (`carrying.py`): memory has
no locks, on purpose. Where several loops have used it, the next one that it lives on is the bridge,
which does not come and go. Hits do not pass here; they look at `home`, so that a foreign loop's
hits are carried as its misses are.

In a forked child all of it is dropped, memory too: a record there might be older than an
invalidation that only the parent has heard of, and connections must not be shared.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any, Final
from weakref import WeakSet

from cascada.engine.home.bridge import bridge
from cascada.engine.loading import dependencies as sources
from cascada.engine.reading.fast_path import hits
from cascada.engine.sparing import agree, may_spare
from cascada.engine.stack import Stack
from cascada.engine.tasks.callers import OtherLoop
from cascada.engine.tasks.crossing import Crossing, Cut
from cascada.engine.tasks.limits import LoadLimits
from cascada.engine.writing.redelivery import keep_redelivering
from cascada.model.errors import CacheClosed, WrongLoop
from cascada.tiers.capabilities import Begun, Connected, Feed, Forgetful, Tended
from cascada.tiers.contract import Tier

DRAIN_TIMEOUT: Final = 10.0
"""Seconds that closing waits for what is being stored."""

FIRST_LOOK: Final = 0.5
"""Seconds that the first use waits for a connection; later ones never do."""


class Home:
    """Where a cache runs, as a running loop of asyncio's tells it: the thread, None for nowhere."""

    def __init__(self, thread: int | None = None) -> None:
        self._thread_id = thread


class Lifecycle:
    """Binds a stack to the running loop, and takes it down."""

    def __init__(
        self,
        stack: Stack,
        feed: Feed | None,
        make_limits: Callable[[], LoadLimits],
        forgetful: tuple[Forgetful, ...] = (),
        on_bind: Callable[[], None] = lambda: None,
    ) -> None:
        self._stack = stack
        self._feed = feed
        self._make_limits = make_limits
        self._forgetful = forgetful
        self._on_bind = on_bind
        self._loop: asyncio.AbstractEventLoop | None = None
        self._first_look: asyncio.Task[Any] | None = None
        self._closed = False
        self._ending: asyncio.Future[None] | None = None
        self.settled: asyncio.AbstractEventLoop | None = None
        """The loop on which `ready` has nothing to wait for."""
        self.home: Any = Home()
        # Held while it is decided where the cache is, and never across an await. Whoever holds it
        # may come back, in what the collector runs.
        self._deciding = threading.RLock()
        self._several = False
        self._reserved: asyncio.AbstractEventLoop | None = None
        self._bound_on = 0
        stack.at_home = self._do_at_home
        _alive.add(self)

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that the cache runs on; None before its first use and after it was closed."""
        return None if self._loop is None or self._loop.is_closed() else self._loop

    @property
    def is_over(self) -> bool:
        """Whether it was closed for good, and that is done."""
        return self._closed and self.loop is None

    def place(self) -> asyncio.AbstractEventLoop | None:
        """The loop to carry a call to, from wherever it comes; None: the bridge's.

        WrongLoop if it cannot run as long as this thread waits for it.
        """
        with self._deciding:
            loop = self._home()
            if loop is None and self.is_over:
                raise _closed()
        if loop is not None and not loop.is_running() and self._bound_on == threading.get_ident():
            raise WrongLoop(
                "this cache runs on another event loop of this thread, which is still open, and "
                "does not run now. Make one Cache for each loop, or end the first use with "
                "`await cache.reset()` (aclose() is for good)"
            )
        return loop

    def admits(self) -> bool:
        """Whether a call that is carried to the running loop would come to its end there."""
        loop = asyncio.get_running_loop()
        if not bridge().admits(loop):
            return False
        return self._loop is not loop or self._stack.background.admits()

    async def ready(self) -> bool:
        """Be bound to the running loop, with memory up to date; False: it is at home elsewhere.

        `Engine` awaits it.
        """
        loop = asyncio.get_running_loop()
        while True:
            # What a load under way needs it still gets; who comes new would find half of it closed.
            if self._loop is loop and self._ending and sources.current(self._stack) is None:
                if self._closed:
                    raise _closed()
                awaited: asyncio.Future[Any] = self._ending
            else:
                if self._loop is not loop and not self._is_to_be_bound(loop):
                    return False
                if self._first_look is None or self._first_look.done():
                    self.settled = None if self._ending else loop
                    return True
                awaited = self._first_look
            # Shielded by `wait`: a caller that is cancelled must not end the look of all others.
            await asyncio.wait([awaited])

    async def move_in(self) -> None:
        """Run on this loop from now on, if it has run on the bridge."""
        loop = asyncio.get_running_loop()
        with self._deciding:
            moves = bridge().holds(self.loop) and self.loop is not loop
            if moves:
                # Calls that come in between wait for this loop: none begins anew on the bridge.
                self._reserved = loop
        if moves:
            await self.close(for_good=False)
        await self.ready()

    def _do_at_home(self, step: Callable[[], None]) -> None:
        """At once if that is this thread's loop, or if there is none; it then begins with that."""
        with self._deciding:
            loop = self.loop
            if loop is None or self._bound_on == threading.get_ident():
                step()
            else:
                with suppress(RuntimeError):  # it has just been closed
                    loop.call_soon_threadsafe(step)

    def _home(self) -> asyncio.AbstractEventLoop | None:
        if self._reserved is not None and self._reserved.is_closed():
            self._reserved = None
        return self.loop or self._reserved

    def _is_to_be_bound(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Bind to this loop, which runs, if it is the one; whether it was."""
        with self._deciding:
            home = self._home()
            if self.is_over:
                raise _closed()
            on_bridge = bridge().holds(loop)
            if self.loop is None and (
                home is loop or (home is None and (on_bridge or not self._several))
            ):
                self._bind(loop)
                return True
            if home is not None and home.is_running() and not on_bridge:
                self._several = self._several or not bridge().holds(home)
            return False

    async def close(self, *, for_good: bool = True) -> None:
        """Let what is being stored finish (at most 10 s), then close every tier."""
        loop = self.loop
        here = loop is asyncio.get_running_loop()
        if loop is not None and loop.is_running() and not here:
            # Its tasks and connections can be ended only where they run.
            work = partial(self.close, for_good=for_good)
            with suppress(Cut):  # it has ended by itself, and what is left is closed here
                await OtherLoop().wait(Crossing(work, loop))
                return
        if here and self._ending:
            self._closed = self._closed or for_good
            await asyncio.wait([self._ending])
            return
        if self._closed:
            return
        self._closed = for_good
        self.settled = None
        self._ending = asyncio.get_running_loop().create_future() if here else None
        # All of it, whatever fails or is cancelled on the way: nobody will close the rest later.
        async with AsyncExitStack() as closing:
            closing.callback(self._let_go)
            for tier in reversed(self._stack.tiers):
                closing.push_async_callback(tier.aclose)
            if here:
                self._stack.ahead.stop()
                try:
                    if self._stack.behind is not None:
                        await self._stack.behind.drain()
                finally:
                    await self._stack.background.drain(DRAIN_TIMEOUT)

    def _let_go(self) -> None:
        """Belong to no loop any more."""
        if self._feed is not None:
            self._feed.forget()
        with self._deciding:
            self._loop = self.settled = None
            self.home = Home()
            self._several = False
        bridge().leave(self)
        if self._ending:
            self._ending.set_result(None)
            self._ending = None

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closed:
            raise _closed()
        stack = self._stack
        stack.settle(self._make_limits(), partial(hits, stack))
        self._on_bind()
        self._loop, self._reserved = loop, None
        self._bound_on = threading.get_ident()
        if bridge().holds(loop):
            bridge().settle(self)
        # Other loops than asyncio's own do not tell their thread; they are taken for running.
        self.home = loop if hasattr(loop, "_thread_id") else Home(threading.get_ident())
        for tier in stack.lower:
            self._begin(tier.tier)
        connected = [tier.tier for tier in stack.lower if isinstance(tier.tier, Connected)]
        for each in connected:
            stack.background.keep_running(each.run, "connection")
        if self._feed is not None:
            # The look comes last: connections and feeds begin anew on every event loop.
            stack.background.keep_running(self._feed.run, "feed")
            self._first_look = stack.background.run(self._look(self._feed, connected), "first look")
        if stack.lower:
            stack.background.keep_running(partial(keep_redelivering, stack), "redelivery")
        if may_spare(stack):
            stack.background.keep_running(partial(agree, stack), "sparing")
        if stack.behind is not None:
            stack.behind.begin()
            stack.background.keep_running(stack.behind.run, "write behind")
        elif stack.left_behind is not None:
            stack.background.keep_running(stack.left_behind.run, "left behind")

    def _begin(self, tier: Tier) -> None:
        if isinstance(tier, Begun):
            tier.begin()
        if isinstance(tier, Tended):
            self._stack.background.keep_running(tier.tend, "upkeep")

    @staticmethod
    async def _look(feed: Feed, connected: Sequence[Connected]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK):
                await asyncio.gather(*(tier.up() for tier in connected))
        await feed.poll()

    def after_fork(self) -> None:
        # The parent's tasks must not be collected here: their loop would be told that they were
        # destroyed while pending, on a selector that this process shares with the parent.
        if self._loop is not None:
            _of_the_parent.append((self._loop, vars(self._stack).copy(), self._first_look))
        self._loop = self.settled = self._first_look = self._ending = self._reserved = None
        self.home = Home()
        self._deciding = threading.RLock()  # whoever holds it is the parent's thread
        self._several = False
        self._stack.after_fork()
        if self._feed is not None:
            self._feed.forget()
        for tier in self._forgetful:
            tier.forget()


def _closed() -> CacheClosed:
    return CacheClosed("this cache was closed with aclose(); make a new one")


_alive: WeakSet[Lifecycle] = WeakSet()
_of_the_parent: list[object] = []


def _after_fork_in_child() -> None:
    for lifecycle in list(_alive):
        lifecycle.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
