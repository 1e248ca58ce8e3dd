"""What a `CacheService` has of the sync: where it writes to, and a loop on the engine used.

Making one opens nothing. It must never journal what nobody is to write anywhere: such a journal
would only fill up. So sets are journaled once a database or mappings are given, or `start` or `now`
was called.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from cascada.api.urls import SYNCED
from cascada.engine.engine import Engine
from cascada.model.door import arguments
from cascada.model.door.secret import Url, hidden
from cascada.model.errors import BadInput, Misuse
from cascada.model.keys import Key
from cascada.service.sync import mapping
from cascada.service.sync.conflicts import Strategy, strategy
from cascada.service.sync.databases import ACCEPTED, is_engine
from cascada.service.sync.loop import SyncLoop
from cascada.service.sync.mapping import Mapping
from cascada.service.sync.report import SyncProgress
from cascada.service.sync.rows import Rows
from cascada.service.sync.target import Target
from cascada.tiers.sqlite.tier import SqliteTier

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_IN_MEMORY: Final = (
    "this cache is in memory alone, and what is set would be lost before it is written "
    "to a database; give it a `database` (or a `redis`) that keeps it until then"
)
_NOT_DURABLE: Final = (
    "Policy(durable=False) of %s keeps its values out of the cache's database, where what it sets "
    "would be journaled; leave `durable` out, or give its sync a cache whose journal is in Redis"
)
_NO_DATABASE: Final = (
    "there is no database to write to; pass CacheService(database=...) a URL such as "
    "postgresql://user@host/name"
)

_OF_ONE_NAME: Final = (
    "services called %s write to different databases or tables, but share one journal: what one "
    "has set may be written where another writes; give each a name= of its own, or all the same "
    "database and mappings"
)

logger = logging.getLogger("cascada")

WritesTo = tuple[object, frozenset[str]]
"""A database, and what says which tables."""

_loops: Final[WeakKeyDictionary[Engine, WeakKeyDictionary[SyncLoop, WritesTo]]] = (
    WeakKeyDictionary()
)


def loops_of(engine: Engine) -> Iterator[SyncLoop]:
    """The syncs of all services that were used on this engine: what metrics read."""
    yield from tuple(_loops.get(engine, ()))


class Syncing:
    """Of one service. `engine`: the one that it is a face of now; `interval`: seconds between two
    rounds, as of now."""

    def __init__(
        self,
        name: str,
        data_type: str,
        engine: Callable[[], Engine],
        interval: Callable[[], float],
        *,
        database: Any,
        mappings: Sequence[Mapping],
        conflicts: Any,
        on_progress: Callable[[SyncProgress], None] | None,
        on_end: Callable[[float], None],
    ) -> None:
        self._name = name
        self._data_type = data_type
        self._engine = engine
        self._interval = interval
        self._database = _database(database)
        self._mappings = mapping.mappings(mappings)
        self._strategy: Strategy = strategy(conflicts)
        self._on_progress = (
            None
            if on_progress is None
            else arguments.plain_function(on_progress, "on_sync_progress", "a plain function")
        )
        self._on_end = on_end
        self._wanted = self._database is not None or bool(self._mappings)
        self._known: tuple[Engine, SyncLoop] | None = None

    @property
    def journal(self) -> str | None:
        """What sets are journaled as; None: they are not. Misuse where its policy forbids it."""
        if not self._wanted:
            return None
        self._see_that_it_lasts(self._engine())
        if self._known is None:
            with suppress(Misuse):  # who starts a sync is told
                self.if_any()  # metrics tell of what waits in each process that sets
        return self._data_type

    def if_wanted(self) -> SyncLoop | None:
        """The loop, if this service is to write anywhere."""
        return self.loop() if self._wanted else None

    def if_any(self) -> SyncLoop | None:
        """The loop, wherever something can have been journaled."""
        engine = self._engine()
        return None if engine.journal(self._data_type) is None else self.loop()

    @property
    def known(self) -> SyncLoop | None:
        """The loop, if one was needed so far."""
        return None if self._known is None else self._known[1]

    def loop(self) -> SyncLoop:
        """The loop on the engine that is used now. Misuse where nothing could be synced."""
        engine = self._engine()
        if self._known is None or self._known[0] is not engine:
            if not engine.stack.lower:
                raise Misuse(_IN_MEMORY)
            self._see_that_it_lasts(engine)
            journal = engine.journal(self._data_type)
            if journal is None:
                raise Misuse("no tier of this cache keeps a journal; give it a `database`")
            place = self._place(engine)
            target = Target(
                place,
                namespace=engine.options.namespace,
                service=self._name,
                mappings=self._mappings,
                strategy=self._strategy,
                tenant=os.environ.get("CASCADA_TENANT") or None,
            )
            made = SyncLoop(
                self._name,
                engine,
                journal,
                target,
                interval=self._interval,
                on_progress=self._on_progress,
                on_end=self._on_end,
            )
            self._note(engine, made, (place, frozenset(map(repr, self._mappings))))
            self._known = engine, made
        self._wanted = True
        return self._known[1]

    def _note(self, engine: Engine, made: SyncLoop, writes_to: WritesTo) -> None:
        """Whoever syncs writes what all services of its name have set, by its own mappings."""
        loops = _loops.setdefault(engine, WeakKeyDictionary())
        if any(each.service == self._name and to != writes_to for each, to in loops.items()):
            logger.warning(_OF_ONE_NAME, self._name)
        loops[made] = writes_to

    def _see_that_it_lasts(self, engine: Engine) -> None:
        journals = engine.stack.journals
        in_database = journals is not None and isinstance(journals.tier.tier, SqliteTier)
        if in_database and engine.kinds.policy(self._data_type).durable is False:
            raise Misuse(_NOT_DURABLE % self._data_type)

    def rows(self) -> Rows:
        """What its rows in cascada's own table say, on the engine that is used now."""
        return Rows(self._engine())

    def _place(self, engine: Engine) -> Any:
        """The database that was given, else the one that is a tier of the cache."""
        if self._database is not None:
            return self._database.reveal() if isinstance(self._database, Url) else self._database
        for tier in engine.stack.lower:
            if isinstance(tier.tier, SqliteTier):
                return f"sqlite:///{tier.tier.path}"
        raise Misuse(_NO_DATABASE)

    def key(self, tenant: str, name: str) -> Key:
        return Key(tenant, self._data_type, None, None, None, name)


def _database(given: Any) -> Url | AsyncEngine | None:
    """A URL, hidden (it may hold a password), or an engine of SQLAlchemy's."""
    if given is None or is_engine(given):
        return given  # type: ignore[no-any-return]  # as just seen
    url: Url = arguments.secret(hidden(given, Url), "database", ACCEPTED, Url)
    if url.reveal().partition("://")[0] not in SYNCED:
        scheme = f"begins with {url.scheme}://" if url.scheme else "holds something else"
        raise BadInput(f"database {scheme} (the rest is not shown here); pass {ACCEPTED}")
    return url
