"""Removing what a tier physically holds of a tenant or a user, beyond what `invalidate` promises.

An invalidation makes values void, and their bytes go by and by. Who asks for them to go calls
`invalidate` of `Whom.names` first, and then this: step by step, so that nobody waits for long. What
is void stays void whenever it breaks off, and whoever calls it again goes on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from cascada.model.forgotten import Removed, Whom


class Erasing(Protocol):
    """The removal of bytes from one tier, of what it was told is void."""

    def erase(self, whom: Whom, *, since: float, compact: bool | None) -> AsyncGenerator[Removed]:
        """Remove them; after each step what went by it.

        Entries, names, lists, counters, changes in journals. What is stored meanwhile may go, too,
        but for changes that were journaled after `since`, on the clock. It must never remove what
        is another's. `compact`: whether a file is written anew; None: if it is not large.
        """
        ...

    async def shared_lists(self) -> list[str]:
        """The names of the lists that belong to no tenant."""
        ...

    async def remains(self) -> list[str]:
        """What it cannot reach, and what to do about that, in sentences."""
        ...


@runtime_checkable
class Erases(Protocol):
    """A tier that can remove bytes."""

    erasing: Erasing
