"""The caller's own generator as the source of a stream: its items, and how they are stored.

What is stored is the list of the items, as one value. A `Cost` among them is none: it says what the
stream has cost, and no reader sees it. An item is encoded as it passes, so that
neither its generator nor one reader can change what the others get.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Generator,
    Sequence,
)
from contextlib import aclosing
from sys import getsizeof
from typing import Any, Final, TypeVar, get_args, get_origin

from cascada.codecs.values import Encoded
from cascada.engine.loading.encode import entry_names
from cascada.engine.loading.loaders import from_thread
from cascada.engine.request import LoadResult, Request
from cascada.engine.stack import Stack
from cascada.engine.tasks.callers import OtherLoop, caller
from cascada.engine.tasks.replay import Live, TooLong
from cascada.model.bills.cost import Cost
from cascada.model.entry import UNSET, Codec, Flag
from cascada.model.errors import BadInput, Misuse, SerializationError
from cascada.model.made_of import MadeOf, source_names
from cascada.model.ttl import Duration

T = TypeVar("T")

MakePieces = Callable[[], AsyncIterable[T] | Awaitable[AsyncIterable[T]] | Generator[T, Any, Any]]
"""What the caller passes: a function that returns a generator, async (also awaited) or plain."""

MAX_ITEMS: Final = 100_000
MAX_BYTES: Final = 16 * 2**20
"""What is kept of a stream at most, in memory and in the tiers."""


class Pieces:
    """One stream's source. As a loader it collects the items; `items` hands them out one by one.

    `make` is called without arguments, on the event loop, each time that the stream is made anew.
    """

    generating = False

    def __init__(
        self,
        stack: Stack,
        request: Request,
        make: MakePieces[Any],
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        sources: Sequence[MadeOf] = (),
        max_items: int = MAX_ITEMS,
    ) -> None:
        self._stack = stack
        self._request = request
        self._make = make
        self._ttl = ttl
        self._tags = tags
        self._sources = sources
        self._declared = source_names(request.key.tenant, sources)
        self._max_items = max_items
        self._type = _type_of_items(request)
        self.names()  # a tag that cannot be one is refused before anything runs

    def names(self, read: Sequence[str] = ()) -> tuple[str, ...]:
        """The dynamic names of what is made of all this, and of what was `read` meanwhile."""
        return entry_names(self._request, self._tags, [*self._declared, *read])

    def live(self) -> Live:
        """An empty record of this stream, with its bounds."""
        stack = self._stack
        most = min(MAX_BYTES, stack.max_value_bytes, stack.memory.capacity)
        return Live(self._max_items, most)

    def items(self) -> AsyncGenerator[Any]:
        """What the generator yields, on the loop that its caller is on; it is closed when this one
        is."""
        whose = caller()
        return whose.relayed(self._items()) if isinstance(whose, OtherLoop) else self._items()

    async def _items(self) -> AsyncGenerator[Any]:
        made = self._make()
        if not isinstance(made, AsyncIterable) and inspect.isawaitable(made):
            made = await made
        if isinstance(made, Generator):
            made = from_thread(made)
        if not isinstance(made, AsyncIterable):
            raise Misuse(
                f"a stream is made of an async generator, not of {type(made).__name__}; "
                "pass a function without arguments that returns one"
            )
        iterator = aiter(made)
        try:
            async for item in iterator:
                yield item
        finally:
            if (close := getattr(iterator, "aclose", None)) is not None:
                await close()

    async def load(self, requests: Sequence[Request]) -> list[LoadResult]:
        """All items as one value: for a refresh, or a check, which nobody follows."""
        kept = self.live()
        async with aclosing(self.items()) as items:
            async for item in items:
                if isinstance(item, Cost):
                    kept.cost = item
                    continue
                piece, size = self.encode(item)
                if not kept.has_room(size):
                    self.refuse()
                    raise TooLong(f"{self._request.key} is too long to be kept")
                kept.add(piece, size)
        return [self.produced(kept)]

    def refuse(self) -> None:
        """Count that it is too long to be kept."""
        kind = self._request.kind
        kind.refused += 1
        self._stack.trace.unstored(kind, self._request.key, "a stream that is too long")

    def produced(self, live: Live) -> LoadResult:
        """What a stream that has ended well is stored as."""
        values = [self.decode(piece) for piece in live.pieces]
        ttl, tags, sources = self._ttl, self._tags, self._sources
        return LoadResult(values, ttl=ttl, tags=tags, sources=sources, cost=live.cost)

    def encode(self, item: object) -> tuple[Encoded, int]:
        """An item as it is kept, and its bytes. What cannot be stored passes as it is; that the
        stream is not stored is found, and said, at its end."""
        try:
            made = self._stack.codec.encode(item, type=self._type)
        except SerializationError:
            if self._stack.debug:
                raise
            return Encoded(b"", Codec.NOTHING, Flag(0), item), getsizeof(item)
        size = len(made.data)
        if self._request.kind.policy.shared and made.value is UNSET:
            made = Encoded(made.data, made.codec, made.flags, self.decode(made))
        if made.value is not UNSET:  # its bytes are not needed then
            made = Encoded(b"", made.codec, made.flags, made.value)
        return made, size

    def decode(self, piece: Encoded) -> Any:
        """A reader's own, unless nobody can change it."""
        if piece.value is not UNSET:
            return piece.value
        return self._stack.codec.decode(piece.data, piece.codec, piece.flags, type=self._type)

    def as_asked(self, item: object) -> Any:
        """An item that goes past the tiers, as the type that it would come back as."""
        return item if self._type is None else self.decode(self.encode(item)[0])


def _type_of_items(request: Request) -> Any:
    declared = request.kind.policy.type if request.want is None else request.want
    if declared is None or declared is list:
        return None
    if get_origin(declared) is not list:
        raise BadInput(
            f"a stream is stored as a list, and the policy of {request.key.data_type} says "
            f"type={declared!r}; declare list[...], or use another data type"
        )
    return get_args(declared)[0]
