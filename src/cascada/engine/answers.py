"""What `get` and `get_many` answer beyond memory: hits, and misses that remember what was seen.

`Tenant` calls it, through the `Engine`, whenever memory has no answer at once. It must never call
a loader, and never take a lease for what it has not found.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, cast

from cascada.engine.kinds import Kind
from cascada.engine.lifecycle import Lifecycle
from cascada.engine.loading import dependencies as sources
from cascada.engine.reading import read
from cascada.engine.reading.fences import Fence, is_absence
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model.entry import Hit, Miss
from cascada.model.keys import Key


class Lookups(ABC):
    """The part of an `Engine` that asks no source."""

    stack: Stack
    life: Lifecycle

    @property
    @abstractmethod
    def storing(self) -> bool:
        """Whether the tiers are used at all."""

    @property
    @abstractmethod
    def passing_by(self) -> bool:
        """Whether this call goes straight to its source."""

    @abstractmethod
    def glance_many(self, kind: Kind, keys: Iterable[Key]) -> list[Hit[Any] | None]:
        """What memory answers at once."""

    async def get(self, request: Request, default: Any = None) -> Hit[Any] | Miss:
        """The slow path of `get`."""
        await self.life.ready()
        if not self.storing:
            return self._unread(request, default)
        if self.passing_by:
            (fence,) = await read.get_hidden(self.stack, [request])
            return Miss(default, fence)
        return self._got(request, await read.get_one(self.stack, request), default)

    async def get_many(
        self,
        kind: Kind,
        prefix: tuple[str | None, ...],
        ids: Sequence[str],
        questions_of: Callable[[Sequence[str]], list[Request]],
        want: Any,
        default: Any = None,
    ) -> list[Hit[Any] | Miss]:
        """Hits in memory at one moment, all the rest in one fall through the tiers."""
        glanced: list[Hit[Any] | None] = [None] * len(ids)
        if want is None:
            # Equal to Key tuples, and made in C.
            keys: Any = zip(*map(repeat, prefix), ids, strict=False)
            glanced = self.glance_many(kind, keys)
        if None not in glanced:
            return cast("list[Hit[Any] | Miss]", glanced)
        found: dict[int, Hit[Any] | Miss] = {
            index: hit for index, hit in enumerate(glanced) if hit is not None
        }
        # Of a strict type all answers are of one moment. Memory may not have heard yet of what the
        # tier below it shows already: of a cascade, half would be seen. So memory answers none of
        # them, also not those that it has missed here. It may have them all the same (as another
        # type, as an absence, as something that is due), and would answer further on.
        below = self.stack.authority is not self.stack.memory
        at_once = kind.policy.strict and below
        if at_once:
            found.clear()
        missing = [index for index in range(len(ids)) if index not in found]
        await self.life.ready()
        requests = questions_of([ids[index] for index in missing])
        answers = await self._get_all(requests, default, at_once=at_once)
        found.update(zip(missing, answers, strict=True))
        return [found[index] for index in range(len(ids))]

    async def _get_all(
        self, requests: Sequence[Request], default: Any, *, at_once: bool
    ) -> list[Hit[Any] | Miss]:
        if not self.storing:
            return [self._unread(request, default) for request in requests]
        if self.passing_by:
            fences = await read.get_hidden(self.stack, requests, at_once=at_once)
            return [Miss(default, fence) for fence in fences]
        answers = await read.get(self.stack, requests, at_once=at_once)
        return [
            self._got(request, answer, default)
            for request, answer in zip(requests, answers, strict=True)
        ]

    def _got(
        self, request: Request, answer: Answer | Fence, default: Any = None
    ) -> Hit[Any] | Miss:
        if isinstance(answer, Fence):
            return Miss(default, answer)
        return self.answered(request, answer, default)

    def _unread(self, request: Request, default: Any = None) -> Miss:
        """A miss that has asked nobody: nothing can be stored by it."""
        return Miss(default, Fence(self.stack, request, {}))

    def answered(self, request: Request, answer: Answer, default: Any = None) -> Hit[Any] | Miss:
        if answer.absent:
            return Miss(default)
        absent = is_absence(answer)
        value = default if absent else read.value_of(self.stack, request, answer)
        age = 0.0 if answer.tier == "source" else self.stack.now() - answer.entry.created
        origin = sources.origin(request, answer)
        stale, coalesced = answer.stale, answer.coalesced
        return Hit(
            value, answer.tier, max(0.0, age), stale, coalesced, origin, absent, answer.fence
        )
