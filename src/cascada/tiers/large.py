"""Values that are large are told of before they are brought.

Who asks on behalf of many is told only, so that none of them waits for what another one asked for;
and the deadline of who has them brought is as long as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

from cascada.model.entry import Codec, Entry
from cascada.model.keys import Key
from cascada.tiers.base import Found, Missing
from cascada.tiers.deadline import lengthen

BULKY: Final = 2**18
"""Bytes of a payload from which on it is large."""

PER_BYTE: Final = 1e-7
"""Seconds by which each byte lengthens the deadline: megabytes that are on their way over a slow
line, or are copied by the server, are no sign of a tier that fails, whose breaker would open for
all others."""

SLOWEST: Final = 1e-6
"""Seconds that a byte may take while others arrive."""

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


def told_of(size: int, q: int) -> Found:
    """What says that a value of so many bytes is there."""
    return Found(Entry(b"%d" % size, _ASIDE), q)


def wait_for_bytes(size: int) -> None:
    """So many are about to be brought."""
    lengthen(PER_BYTE * size, SLOWEST * size)


def wait_for_told(answers: Sequence[Found | Missing]) -> bool:
    """Whether anything was told of so; if it was, all that is about to be brought."""
    told = [
        int(answer.entry.data)
        for answer in answers
        if answer.__class__ is Found and answer.entry.codec == _ASIDE
    ]
    wait_for_bytes(sum(told))
    return bool(told)
