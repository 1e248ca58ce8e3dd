"""`lookup="by_level"`: a general value answers only where no more specific one is known to be.

What the tiers know is one read of all candidates. Where they do not know enough, the source is
asked level by level, from the full context to none. Each level is a load of its own, under its own
key, with its own lease: what is found is stored there, and so is an absence, so that the next read
needs no source. Several callers share each of these loads as they share any.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from functools import partial
from typing import Any

from msgspec.structs import force_setattr

from cascada.engine.loading import dependencies as sources
from cascada.engine.loading.dependencies import LoadContext
from cascada.engine.loading.loaders import call, in_order, is_nothing
from cascada.engine.reading.answers import account
from cascada.engine.reading.item import Item, is_absence
from cascada.engine.reading.lookup import Lookup
from cascada.engine.request import Answer, Fences, Loader, Request
from cascada.engine.stack import Stack
from cascada.model.errors import BadInput
from cascada.model.keys import Key, Scope
from cascada.model.loaded import Loaded
from cascada.tiers.contract import Fence

MakeLoader = Callable[..., Loader]
"""Makes the engine's loader of a function, and of a generator if there is one."""


class LevelLookup:
    """The caller's loader, asked at one level after the other.

    A loader with a parameter `scope` is given the context of the level. Another one is asked once:
    what it returns holds for the full context, or for the one that its `Loaded(scope=)` names.
    """

    def __init__(
        self,
        stack: Stack,
        loader: Callable[..., Any] | None,
        generator: Callable[..., Any] | None,
        keys: Sequence[Key],
        make: MakeLoader,
    ) -> None:
        self._stack = stack
        self._loader = loader
        self._generator = None if generator is None else make(None, generator)
        self._scopes = [key.scope for key in keys]
        self._make = make
        self._takes_scope = loader is not None and _takes_scope(loader)
        self._made: Any = None
        self._made_in: LoadContext | None = None
        self._asked = False
        """Whether what holds for the levels to come is known already."""

    async def ask(
        self,
        request: Request,
        load: Callable[[Sequence[Request], Loader], Awaitable[list[Answer]]],
        *,
        wanted: bool,
        storing: bool,
    ) -> Answer:
        """What is known, if that may be `wanted`; else what the source says, level by level."""
        seen: list[Fences] = [{}] * len(request.candidates)
        if storing:
            started = self._stack.timer()
            (item,) = await Lookup(self._stack, [request]).run()
            known, seen = item.answer, _fences(item)
            if wanted and known is not None and not known.stale:
                account(self._stack, [request], [known], started)
                if self._generator is None or not is_absence(known):
                    return known
        for key, fence in zip(request.candidates, seen, strict=True):
            since = fence if self._asked else None
            level = Request(request.kind, (key,), request.context, request.want, since=since)
            (answer,) = await load([level], self._at(key))
            if not (answer.absent or is_absence(answer)):
                return answer
        if self._generator is not None:
            full = Request(
                request.kind, request.candidates[:1], request.context, request.want, generating=True
            )
            (answer,) = await load([full], self._generator)
        return answer

    def _at(self, key: Key) -> Loader:
        if self._loader is None or self._takes_scope:
            return self._make(self._loader and partial(self._loader, scope=key.scope))
        return self._make(partial(self._once, key.scope))

    async def _once(self, level: Scope) -> Any:
        assert self._loader is not None
        context = sources.current(self._stack)
        if not self._asked:
            self._made = await call(self._loader)
            self._made_in, self._asked = context, True
        elif context is not None and self._made_in is not None:
            context.join(self._made_in)
        made = self._made
        holds = made.scope if isinstance(made, Loaded) else None
        if holds is None:
            holds = self._scopes[0]
        elif holds not in self._scopes:
            known = ", ".join(map(str, self._scopes))
            raise BadInput(f"Loaded.scope is {holds}, which is not looked up here; pass {known}")
        if holds == level or is_nothing(made):
            if isinstance(made, Loaded) and made.cost is not None:
                self._made = copy(made)  # the loader's own stays as it is
                force_setattr(self._made, "cost", None)  # it was spent once
            return made
        # What holds for a more specific level says nothing of this one.
        is_below = self._scopes.index(holds) > self._scopes.index(level)
        return Loaded(None, sources=made.sources, store=is_below)


def _takes_scope(loader: Callable[..., Any]) -> bool:
    try:
        return "scope" in inspect.signature(loader).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return False


def alone(loader: Callable[..., Any], resource_id: str) -> Callable[..., Any]:
    """A loader of many ids as one of a single id; it still takes a `scope` if that one does."""

    async def one() -> Any:
        return _of(await call(loader, [resource_id]), resource_id)

    async def one_at(scope: Scope) -> Any:
        return _of(await call(loader, [resource_id], scope=scope), resource_id)

    return one_at if _takes_scope(loader) else one


def _of(rows: Any, resource_id: str) -> Any:
    (row,) = in_order(rows, [resource_id])
    return row


def _fences(item: Item) -> list[Fences]:
    """For each candidate what the tiers said, for what is made from now on."""
    return [
        {
            tier: Fence(seen[index].seq, seen[index].epoch, seen[index].mark)
            for tier, seen in item.seen.items()
            if index < len(seen)  # memory above another tier is not asked for all
        }
        for index in range(len(item.request.candidates))
    ]
