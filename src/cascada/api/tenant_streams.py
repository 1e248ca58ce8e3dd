"""Values that are made piece by piece: the modern face."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from cascada.api.type_keys import TypeKeys
from cascada.engine.engine import Engine
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.streaming import stream
from cascada.engine.streaming.pieces import MAX_ITEMS, MakePieces, Pieces
from cascada.model import arguments
from cascada.model.keys import Id
from cascada.model.made_of import Declared, sources_of
from cascada.model.ttl import Duration

T = TypeVar("T")


class TenantStreams:
    """This part of `Tenant`."""

    __slots__ = ()

    _engine: Engine
    _stack: Stack

    @abstractmethod
    def _type_keys(self, data_type: str) -> TypeKeys: ...

    @abstractmethod
    def _request(self, type_keys: TypeKeys, resource_id: Id, want: Any = None) -> Request: ...

    def stream(
        self,
        data_type: str,
        resource_id: Id,
        pieces: MakePieces[T],
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        sources: Sequence[Declared] = (),
        type: Any = None,
        max_items: int = MAX_ITEMS,
    ) -> AsyncGenerator[T]:
        """What `pieces()` yields, item for item, for all who ask; stored when it ended well.

        `pieces` returns an async generator, which may have to be awaited, or a plain one, which
        runs in threads. It runs once: who comes while it does gets what has passed, then what
        comes. Its error reaches all of them, and nothing is stored. `type` is that of an item.
        A stream of more than `max_items` (or 16 MiB) is delivered and not stored, and who comes
        later starts anew. Close what you do not read to its end (`contextlib.aclosing`).
        """
        arguments.function(pieces, "pieces", "a function without arguments, of a generator")
        want = None if type is None else list[self._stack.codec.declared(type)]  # type: ignore[misc]  # a type by now
        type_keys = self._type_keys(data_type)
        request = self._request(type_keys, resource_id, want)
        if type_keys.kind.policy.lookup == "strict":
            # No generator is asked level by level: this key alone says that it has the value.
            request = Request(type_keys.kind, request.candidates[:1], type_keys.context, want)
        source = Pieces(
            self._stack,
            request,
            pieces,
            ttl=arguments.ttl(ttl),
            tags=arguments.names(tags, "tags", "tags"),
            sources=sources_of(sources),
            max_items=arguments.integer(max_items, "max_items", 1),
        )
        return _flow(self._engine, request, source)


async def _flow(assembly: Engine, request: Request, source: Pieces) -> AsyncGenerator[Any]:
    """The pieces, as the mode says."""
    hit = None
    if request.want is None and not assembly.check.armed:
        hit = assembly.glance(request.key)
    if hit is not None:
        for piece in stream.replayed(request, hit.value):
            yield piece
        return
    await assembly.life.ready()
    if not assembly.passing_by:
        pieces = stream.follow(assembly.stack, request, source, assembly.check)
    elif assembly.storing:
        pieces = stream.observe(assembly.stack, request, source, assembly.check)
    else:
        pieces = stream.load_uncached(assembly.stack, request, source)
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece
