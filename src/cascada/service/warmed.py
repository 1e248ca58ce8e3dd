"""The call of `CacheService` that preloads keys (`warming.py` is what it calls)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from cascada.api.tenant.handle import Tenant
from cascada.engine.engine import Engine
from cascada.engine.loading.loaders import Terms, call, produced
from cascada.engine.request import LoadResult, Request
from cascada.model.door import arguments
from cascada.model.entry import Entry
from cascada.model.errors import BadInput
from cascada.model.keys import Id
from cascada.model.ttl import Duration
from cascada.service.sharing import Shared
from cascada.service.sync.face import Syncing
from cascada.service.warming import Fate, Warming, WarmProgress, WarmReport
from cascada.telemetry.heat import MAX_KEYS

AT_ONCE: Final = 8
MOST_AT_ONCE: Final = 1000


class Warmed:
    """A base of `CacheService`, which says how values are stored."""

    name: str
    _sync: Syncing

    async def warm(
        self,
        keys: Sequence[Id] | None = None,
        *,
        top: int | None = None,
        loader: Callable[[str], Any],
        ttl: Duration | None = None,
        at_once: int = AT_ONCE,
        on_progress: Callable[[WarmProgress], Any] | None = None,
    ) -> WarmReport:
        """Load those of the current tenant's keys that no tier has, and bring the others to memory.

        keys: which; or `top`: so many (at most 4096) of those that were read most, of what was read
        more than once; processes that share a tier know that together, within a minute, and after
        a restart. loader: a function of a key, async or plain (it runs in a thread), which returns
        the value, or None for "there is none". at_once: so many loads of this call run at most (8;
        never more than `Limits(max_loads_per_type=)`). ttl is as of `set`. on_progress: a plain
        function, told after each key.

        A key is loaded once, whoever warms it at the same time, in all processes. What is loaded
        was read elsewhere: no sync writes it back, and it is not stored if its key was set or
        invalidated meanwhile. A load that fails is counted, and the others go on. A call that is
        cancelled leaves what it has stored, and the next one loads the rest.
        """
        if (keys is None) == (top is None):
            raise BadInput("pass warm either keys or top, how many of the most used ones")
        handle = self._handle()
        if keys is not None:
            names = list(dict.fromkeys(arguments.ids(keys, "keys")))
        else:
            most = arguments.integer(top, "top", 1, MAX_KEYS)
            names = await self._shared.most_used(handle.tenant, most)
        arguments.function(loader, "loader", "a function of a key")
        lasts = None if ttl is None else arguments.duration(ttl, zero=True)
        at_once = arguments.integer(at_once, "at_once", 1, MOST_AT_ONCE)
        if on_progress is not None:
            on_progress = arguments.plain_function(on_progress, "on_progress")
        at_once = min(at_once, self._engine.options.limits.max_loads_per_type)
        deal = partial(self._warm, handle, loader, lasts)
        monotonic = self._engine.clock.monotonic
        return await Warming(self.name, names, deal, monotonic, on_progress).run(at_once)

    async def _warm(
        self, handle: Tenant, loader: Callable[[str], Any], lasts: float | None, name: str
    ) -> Fate:
        engine = self._engine
        if not engine.storing:
            return "refused"  # it would only be loaded in vain
        request, stored = self._to_store(handle, name, lasts)
        fetch = _Fetch(engine, self._sync.journal, partial(loader, name), stored, self._fitting)
        value, answer = await engine.ask(request, fetch)
        if fetch.waits:
            return "refused"
        if value is None:
            return "absent"
        if not fetch.ran:
            return "present"
        # Is it there, now that it is stored, or did something stand against it? What memory has
        # for a while, since the tier below it is away, is stale.
        found = await engine.find(request)
        is_there = found is not None and not found.stale and found.entry.data == answer.entry.data
        return "loaded" if is_there else "refused"

    # --- what `CacheService` says ---------------------------------------------------------------

    @property
    def _engine(self) -> Engine:
        raise NotImplementedError

    @property
    def _shared(self) -> Shared:
        raise NotImplementedError

    def _handle(self) -> Tenant:
        raise NotImplementedError

    def _to_store(self, handle: Tenant, name: str, lasts: float | None) -> tuple[Request, Terms]:
        raise NotImplementedError

    def _fitting(self, request: Request, value: Any, stored: Terms) -> Entry | None:
        raise NotImplementedError


class _Fetch:
    """The load of one key, behind its lease: who sets the key from now on voids that. A change that
    was set before, and is not yet where the loader looks, is in the journal."""

    generating = False

    def __init__(
        self,
        engine: Engine,
        journal: str | None,
        loader: Callable[[], Any],
        stored: Terms,
        fitting: Callable[[Request, Any, Terms], Entry | None],
    ) -> None:
        self.ran = self.waits = False
        self._journal = None if journal is None else engine.journal(journal)
        self._loader = loader
        self._stored = stored
        self._fitting = fitting

    async def load(self, requests: Sequence[Request]) -> list[LoadResult]:
        (request,) = requests
        self.ran = True
        if self._journal is not None and await self._journal.of([request.key]):
            self.waits = True
            return [LoadResult(None, absent=True, store=False)]
        made = produced(await call(self._loader), "loader", self._stored)
        if not made.absent:
            self._fitting(request, made.value, self._stored)  # or says why it cannot be stored
        return [made]
