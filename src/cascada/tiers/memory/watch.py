"""What memory has heard of a key since a moment: for a value that is handed out while it is made.

It promises less than a lease: it reserves nothing, and knows only what this process has heard of.
"""

from __future__ import annotations

from collections.abc import Iterable

from cascada.model.keys import Key, quote
from cascada.model.names import static_names
from cascada.tiers.memory.tier import MemoryTier


class Watch:
    """Begins when it is made. `seen` is a number of the tier below that is known by then."""

    __slots__ = ("_cells", "_memory", "_numbering", "_seq", "_since", "_tenant")

    def __init__(self, memory: MemoryTier, key: Key, seen: int) -> None:
        self._memory = memory
        self._since = memory.moment()
        self._numbering = memory.names.numbering
        # An invalidation that is made from now on gets a higher number; one that is still on its
        # way with a lower one was made before.
        self._seq = max(seen, memory.names.highest)
        self._tenant = quote(key.tenant)
        self._cells = tuple(map(memory.names.cell, static_names(key)))

    def is_void(self, names: Iterable[str]) -> bool:
        """Whether something heard of since names the key, or one of the (dynamic) names."""
        if self._numbering is not self._memory.names.numbering:
            return False  # all was forgotten: the cells held here are void, and name nothing
        latest = self._memory.names.latest
        return any(cell.seq > self._seq for cell in self._cells) or any(
            latest(name) > self._seq for name in names
        )

    @property
    def can_tell(self) -> bool:
        """Whether memory still knows all that it has heard of since: it may have been emptied."""
        low = self._memory.names.low(self._tenant)
        return self._since == self._memory.moment() and low <= self._seq
