"""`load` and `load_many`: the value from the first tier that has it, else from the caller's code.

A part of `Tenant`. Arguments are checked here, on a hit as well; all else is the engine's. The
overloads tell a type checker what comes back (`api/tenant/signatures.py`); they run nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar, Unpack, cast, overload

from cascada.api.tenant.requests import NONE, TenantRequests
from cascada.api.tenant.signatures import Async, Loading, LoadingMany, Plain, Rows, Stored
from cascada.engine.loading.loaders import PLAIN, BatchLoader, SingleLoader
from cascada.engine.reading.levels import LevelLookup, alone
from cascada.model.door import arguments
from cascada.model.entry import Hit, Miss
from cascada.model.keys import Id
from cascada.model.loaded import Loaded
from cascada.model.made_of import Declared
from cascada.model.ttl import Duration

T = TypeVar("T")

class_of = type  # a public parameter is called `type`


class TenantLoads(TenantRequests):
    """This part of `Tenant`."""

    __slots__ = ()

    @overload
    def load(
        self,
        data_type: str,
        resource_id: Id,
        loader: Callable[..., Any] | None,
        generator: Callable[..., Any] | None = None,
        *,
        type: type[T],
        **how: Unpack[Stored],
    ) -> Loading[T]: ...

    @overload
    def load(
        self,
        data_type: str,
        resource_id: Id,
        loader: Async[Loaded[T]] | None,
        generator: Async[Loaded[T]] | None = None,
        **how: Unpack[Stored],
    ) -> Loading[T]: ...

    @overload
    def load(
        self,
        data_type: str,
        resource_id: Id,
        loader: Async[T | Loaded[T]] | None,
        generator: Async[T | Loaded[T]] | None = None,
        **how: Unpack[Stored],
    ) -> Loading[T]: ...

    @overload
    def load(
        self,
        data_type: str,
        resource_id: Id,
        loader: Async[T | Loaded[T]],
        generator: Plain[T | Loaded[T]],
        **how: Unpack[Stored],
    ) -> Loading[T]: ...

    @overload
    def load(
        self,
        data_type: str,
        resource_id: Id,
        loader: Plain[T | Loaded[T]],
        generator: Async[T | Loaded[T]],
        **how: Unpack[Stored],
    ) -> Loading[T]: ...

    @overload
    def load(
        self,
        data_type: str,
        resource_id: Id,
        loader: Plain[Loaded[T]] | None,
        generator: Plain[Loaded[T]] | None = None,
        **how: Unpack[Stored],
    ) -> Loading[T]: ...

    @overload
    def load(
        self,
        data_type: str,
        resource_id: Id,
        loader: Plain[T | Loaded[T]] | None,
        generator: Plain[T | Loaded[T]] | None = None,
        **how: Unpack[Stored],
    ) -> Loading[T]: ...

    @overload
    def load(
        self,
        data_type: str,
        resource_id: Id,
        loader: Callable[..., Any] | None,
        generator: Callable[..., Any] | None = None,
        *,
        type: Any = None,
        **how: Unpack[Stored],
    ) -> Loading[Any]: ...

    async def load(
        self,
        data_type: str,
        resource_id: Id,
        loader: Callable[..., Any] | None,
        generator: Callable[..., Any] | None = None,
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = NONE,
        sources: Sequence[Declared] = NONE,
        type: Any = None,
    ) -> Hit[Any] | Miss:
        """The value, from the first of memory, the shared tiers, `loader` and `generator`.

        Both are functions without arguments, async or plain (plain ones run in a thread); they
        return a value, `Loaded(...)`, or None for "there is nothing", which is not stored unless
        the policy has a `none_ttl`. One load runs per key, whoever asks. A loader that fails
        raises to its callers, unless the policy allows a stale value (`stale_if_error`).

        What the loader reads through the cache is a source of the value by itself; `sources` are
        those that it did not read: hits, or types and ids. What was made of a hit that is not what
        there is any more is returned, and not stored.
        """
        type_keys = self._types.get(data_type) if class_of(data_type) is str else None
        if type_keys is None:
            type_keys = self._type_keys(data_type)
        if class_of(resource_id) is not str:
            resource_id = arguments.identity(resource_id)
        # On a hit as well, or what is wrong would be told on the first miss alone.
        stored = PLAIN
        if ttl is not None or tags is not NONE or sources is not NONE:
            stored = self._terms(ttl, tags, sources)
        if not callable(loader) or generator is not None:
            for what, each in (("loader", loader), ("generator", generator)):
                if each is not None:
                    arguments.function(each, what)
        want = None if type is None else self._engine.declared(type)
        if want is None and not self._engine.check.armed:
            record = type_keys.records.get(resource_id)
            if record is not None and (hit := self._hits.one(record)) is not None:
                return hit
        make = partial(SingleLoader, clock=self._engine.clock, stored=stored)
        if type_keys.by_level:
            request = type_keys.request(resource_id, want)
            levels = LevelLookup(self._engine.stack, loader, generator, request.candidates, make)
            return await self._engine.load(request, levels)
        request = type_keys.request(resource_id, want, generating=generator is not None)
        return await self._engine.load(request, make(loader, generator))

    @overload
    def load_many(
        self,
        data_type: str,
        resource_ids: Sequence[Id],
        loader: Callable[[list[str]], Any],
        *,
        type: type[T],
        **how: Unpack[Stored],
    ) -> LoadingMany[T]: ...

    @overload
    def load_many(
        self,
        data_type: str,
        resource_ids: Sequence[Id],
        loader: Callable[[list[str]], Awaitable[Rows[Loaded[T]]]],
        **how: Unpack[Stored],
    ) -> LoadingMany[T]: ...

    @overload
    def load_many(
        self,
        data_type: str,
        resource_ids: Sequence[Id],
        loader: Callable[[list[str]], Awaitable[Rows[T | Loaded[T]]]],
        **how: Unpack[Stored],
    ) -> LoadingMany[T]: ...

    @overload
    def load_many(
        self,
        data_type: str,
        resource_ids: Sequence[Id],
        loader: Callable[[list[str]], Rows[Loaded[T]]],
        **how: Unpack[Stored],
    ) -> LoadingMany[T]: ...

    @overload
    def load_many(
        self,
        data_type: str,
        resource_ids: Sequence[Id],
        loader: Callable[[list[str]], Rows[T | Loaded[T]]],
        **how: Unpack[Stored],
    ) -> LoadingMany[T]: ...

    @overload
    def load_many(
        self,
        data_type: str,
        resource_ids: Sequence[Id],
        loader: Callable[[list[str]], Any],
        *,
        type: Any = None,
        **how: Unpack[Stored],
    ) -> LoadingMany[Any]: ...

    async def load_many(
        self,
        data_type: str,
        resource_ids: Sequence[Id],
        loader: Callable[[list[str]], Any],
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = NONE,
        sources: Sequence[Declared] = NONE,
        type: Any = None,
    ) -> list[Hit[Any] | Miss]:
        """One answer for each id; `loader` is called once, with the ids that nobody has.

        It returns a mapping from id to value, or a sequence with one value for each id asked.
        With `lookup="by_level"` it is called for each id by itself, as the levels differ.
        """
        ids, stored = arguments.ids(resource_ids), self._terms(ttl, tags, sources)
        arguments.function(loader, "loader", "a function of a list of ids")
        type_keys = self._type_keys(data_type)
        if type_keys.by_level:
            one = partial(self.load, data_type, ttl=ttl, tags=tags, sources=sources, type=type)
            asked = [one(each, alone(loader, each)) for each in ids]
            hits = await asyncio.gather(*asked, return_exceptions=True)
            for hit in hits:  # all have ended by now: nobody is left behind
                if isinstance(hit, BaseException):
                    raise hit
            return cast("list[Hit[Any] | Miss]", hits)
        source = BatchLoader(loader, clock=self._engine.clock, stored=stored)
        want = None if type is None else self._engine.declared(type)
        requests = [type_keys.request(each, want) for each in ids]
        return await self._engine.load_many(requests, source)
