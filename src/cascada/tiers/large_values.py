"""Large values are announced before they are brought: what the tiers, their guards and reads share.

A read on behalf of many callers only says that there is a large value, and how large it is. So none
of them waits for what another one asked for. Who wants the value itself has it brought, and has a
deadline that grows with its length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

from cascada.model.entry import Codec, Entry
from cascada.model.keys import Key
from cascada.tiers.contract import Found, Missing
from cascada.tiers.deadline import lengthen

BULKY: Final = 2**18
"""Bytes of a payload from which on it is large."""

PER_BYTE: Final = 1e-7
"""Seconds by which each byte lengthens the deadline. Megabytes take time on a slow line, and when
the server copies them. That is no sign of a failing tier, and must not open its breaker for all."""

SLOWEST: Final = 1e-6
"""Seconds that each byte may take at most, while bytes go on arriving."""

_ASIDE: Final = int(Codec.ASIDE)


@runtime_checkable
class Glances(Protocol):
    """A tier in which large values lie apart."""

    async def glance(self, keys: Sequence[Key]) -> list[Found | Missing]:
        """As `read`, but large values are only told of, by entries of Codec.ASIDE."""
        ...


def told_of_only(answer: Found | Missing) -> bool:
    """Whether a large value was seen there: `read` brings it."""
    return answer.__class__ is Found and answer.entry.codec == _ASIDE


def told_of(size: int, seq: int) -> Found:
    """What says that a value of so many bytes is there."""
    return Found(Entry(b"%d" % size, _ASIDE), seq)


def wait_for_bytes(size: int) -> None:
    """Lengthen the deadline of this call: so many bytes are about to be brought."""
    lengthen(PER_BYTE * size, SLOWEST * size)


def wait_for_told(answers: Sequence[Found | Missing]) -> bool:
    """Whether a large value is among these; if so, the deadline grows, since it will be brought."""
    size = 0
    for answer in answers:
        if answer.__class__ is Found and answer.entry.codec == _ASIDE:
            size += int(answer.entry.data)
    if size:
        wait_for_bytes(size)
    return size > 0
