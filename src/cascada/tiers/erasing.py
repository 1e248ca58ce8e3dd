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

    async def journals(self) -> list[str]:
        """The names of its journals."""
        ...

    def erase(self, whom: Whom, journaled: int, *, compact: bool | None) -> AsyncGenerator[Removed]:
        """Remove them; after each step what went by it.

        Entries, names, lists, counters, and changes in journals up to this number, which the
        invalidation has answered. What else is stored meanwhile may go, too. It must never remove
        what is another's. `compact`: whether a file is written anew; None: if it is not large.
        """
        ...

    async def shared_lists(self) -> list[str]:
        """The names of the lists that belong to no tenant."""
        ...

    async def remains(self, *, compact: bool | None) -> list[str]:
        """What it cannot reach, and what to do about that, in sentences."""
        ...


@runtime_checkable
class Erases(Protocol):
    """A tier that can remove bytes."""

    erasing: Erasing
