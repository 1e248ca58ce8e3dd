"""How often records were hit that have gone, by their mark: a few bytes for each.

A table in which a later one takes the place of an earlier one. A slot has 16 bits of the mark, 8 of
the count and 8 of when it went, in steps of a sixteenth of what memory holds. So one in 65,536 that
is asked for is taken for another, whose count it gets: harmless.
"""

from __future__ import annotations

from array import array
from typing import Final

SMALLEST: Final = 64
LARGEST: Final = 2**22
"""Slots: 16 MB."""

SLOTS: Final = 4
"""For each record that memory holds, at least."""

PART: Final = 16
"""Steps of time in which as many go as memory holds."""


class Ghosts:
    """See the module's text."""

    __slots__ = ("_mask", "_ran", "_slots", "_step")

    def __init__(self) -> None:
        self._slots = array("I", bytes(4 * SMALLEST))
        self._mask = SMALLEST - 1
        self._step = self._ran = 0

    def pop(self, mark: int, steps: int) -> int:
        """Its count, or 0 if it is not known, or went longer ago than `steps`."""
        index = mark & self._mask
        slot = self._slots[index]
        if not slot or slot >> 16 != mark >> 32 & 0xFFFF:
            return 0
        self._slots[index] = 0
        return slot >> 8 & 0xFF if self._step - slot & 0xFF <= steps else 0

    def put(self, mark: int, count: int, held: int) -> None:
        """It goes, of `held` that are here."""
        self._ran += PART
        if self._ran >= held:
            self._ran = 0
            self._step += 1
        if held * SLOTS > self._mask and self._mask < LARGEST:
            # What stood in a slot belongs to it, or to the same one of the other half.
            self._slots += self._slots
            self._mask = 2 * self._mask + 1
        known = count if count < 255 else 255
        slot = (mark >> 32 & 0xFFFF) << 16 | known << 8 | self._step & 0xFF
        self._slots[mark & self._mask] = slot
