"""Lists and counters: what a store of data promises.

Data are no cache. Nothing reaches them but these calls: no invalidation, no eviction. Each
call is one atomic step for all who share the store, and is carried out at most once.

Names come percent-encoded, their tenant first; items are bytes. `DataContract` in
`cascada.testing.data_contract` holds every store to this:

- Indices are Redis's: from 0, negative ones from the end, `end` inclusive; beyond the ends there
  is nothing, which is no error. A list without items and a list that never was are the same.
- A counter that never was is 0. It is a whole number of 64 bits; what would leave them raises
  BadInput and changes nothing.
- A counter with a ttl is 0 again, and was never, once that is over. The ttl runs from when the
  counter begins: what finds one sets none, and changes none.
- A store that cannot answer raises `TierUnavailable`: `Unanswered` if the call may have been
  carried out all the same, any other if it certainly was not.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from cascada.model.door.arguments import LEAST, MOST
from cascada.model.errors import BadInput


class DataStore(Protocol):
    """See the module's text. `left` is the end that index 0 stands at."""

    async def increment(self, name: str, amount: int, ttl: float | None = None) -> int:
        """Add to a counter; what it is now. `ttl`: seconds that it lives if it begins with this."""
        ...

    async def counter(self, name: str) -> int: ...

    async def push(self, name: str, item: bytes, *, left: bool) -> int:
        """Put an item at an end; how many there are now."""
        ...

    async def pop(self, name: str, *, left: bool) -> bytes | None:
        """Take the item at an end; None if there is none."""
        ...

    async def range(self, name: str, start: int, end: int) -> list[bytes]:
        """The items from `start` to `end`, both included."""
        ...

    async def length(self, name: str) -> int: ...

    async def trim(self, name: str, start: int, end: int) -> None:
        """Keep only the items from `start` to `end`, both included."""
        ...


@runtime_checkable
class KeepsData(Protocol):
    """A shared tier that has a store of data beside its entries."""

    @property
    def data(self) -> DataStore: ...


def span(start: int, end: int, length: int) -> tuple[int, int]:
    """The first index and the one after the last, within the list; the same for nothing at all."""
    first = max(0, start + length if start < 0 else start)
    last = min(length - 1, end + length if end < 0 else end)
    return (first, last + 1) if first <= last else (0, 0)


def overflow(name: str, amount: int) -> BadInput:
    """What a counter says that would leave 64 bits."""
    return BadInput(
        f"the counter {name} plus {amount} would leave 64 bits ({LEAST} to {MOST}); "
        "nothing was changed"
    )
