"""The call of `CacheService` that preloads keys (`warming.py` is what it calls)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from cascada.api.tenant.handle import Tenant
from cascada.engine.engine import Engine
from cascada.engine.loading.loaders import call
from cascada.model.door import arguments
from cascada.model.entry import Hit, Miss
from cascada.model.errors import BadInput
from cascada.model.keys import Id
from cascada.model.ttl import Duration
from cascada.service.sharing import Shared
from cascada.service.warming import Fate, Warming, WarmProgress, WarmReport
from cascada.telemetry.heat import MAX_KEYS

AT_ONCE: Final = 8
MOST_AT_ONCE: Final = 1000


class Warmed:
    """The base of `CacheService`, which says how values are stored."""

    name: str

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
        a restart. loader: a function of a key, async or plain (it
        runs in a thread), which returns the value, or None for "there is none". at_once: so many
        loads of this call run at most (8). ttl is as of `set`. on_progress: a plain function, told
        after each key.

        What is loaded was read elsewhere: no sync writes it back, and it is not stored if its key
        was set or invalidated meanwhile. A load that fails is counted, and the others go on. A call
        that is cancelled leaves what it has stored, and the next one loads the rest.
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
        deal = partial(self._warm, handle, loader, lasts)
        monotonic = self._engine.clock.monotonic
        return await Warming(self.name, names, deal, monotonic, on_progress).run(at_once)

    async def _warm(
        self, handle: Tenant, loader: Callable[[str], Any], lasts: float | None, name: str
    ) -> Fate:
        if not self._engine.storing:
            return "refused"  # a set would only void what others have
        if await self._read(handle, name):
            return "present"
        value = await call(loader, name)
        if value is None:
            return "absent"
        # After the miss of this task: what has happened to the key since stands against it.
        kept = await self._store(handle, name, value, lasts, fetched=True, counts=False)
        return "loaded" if kept else "refused"

    # --- what `CacheService` says ---------------------------------------------------------------

    @property
    def _engine(self) -> Engine:
        raise NotImplementedError

    @property
    def _shared(self) -> Shared:
        raise NotImplementedError

    def _handle(self) -> Tenant:
        raise NotImplementedError

    async def _read(self, handle: Tenant, name: str) -> Hit[Any] | Miss:
        raise NotImplementedError

    async def _store(
        self,
        handle: Tenant,
        name: str,
        value: Any,
        lasts: float | None,
        *,
        type: Any = None,
        fetched: bool | None,
        counts: bool = True,
    ) -> bool:
        raise NotImplementedError
