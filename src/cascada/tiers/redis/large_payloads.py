"""Large payloads lie beside their entries in Redis, in keys of their own.

On a connection that all share, replies come in the order of the commands: who asked behind a reply
of sixteen megabytes would wait for all of it, and take Redis for one that fails. So what stands in
an entry for a payload of more than BULKY bytes is a reference, and the payload goes over
connections on which nobody else waits. The entry itself, which is small, tells its reader that
there is more to fetch, and how much: also one who has never seen the key before.

The key of a payload ends with a digest of the entry, so that

- what lies there never changes: what is fetched after its entry, in a second step, is what was
  valid with the entry;
- writers of equal values write the same twice, those of other values are in nobody's way;
- what another hand has put there is found out.

It is stored before the entry that refers to it, and scripts remove it together with that entry
(`uncount`). Where the entry was refused nobody removes it, since an equal entry may refer to it, or
be about to: it goes by itself a minute later (`redis_scripts/fill`). Where it is missing (evicted,
or gone between the two steps) there is a miss.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

from cascada.codecs.envelope import digest_of
from cascada.model.entry import Codec, Entry
from cascada.model.keys import Key
from cascada.tiers.contract import Found, Lease, Missing
from cascada.tiers.deadline import wait_in
from cascada.tiers.large_values import BULKY, wait_for_bytes
from cascada.tiers.redis.layout import Layout, life_ms
from cascada.tiers.redis.room import Room
from cascada.tiers.redis_client.lanes import Lanes
from cascada.tiers.redis_client.replies import values

T = TypeVar("T")
Fill = tuple[Lease, Entry | None]

AT_ONCE: Final = 8
"""Connections for what is large. Each may hold a value of many megabytes."""

PATIENCE: Final = 60.0
"""Seconds that a call waits for one at most; its deadline ends it before."""

_LONGER: Final = 60_000
"""Milliseconds for which a payload outlives its entry, which is stored later."""

_REFERENCE: Final = struct.Struct("<32sBQ")
_ASIDE: Final = int(Codec.ASIDE)


class Reference(NamedTuple):
    """What stands in an entry in the place of its payload: the end of the key where that lies, how
    it is encoded, and its length. Scripts know this form."""

    digest: bytes
    codec: int
    size: int


class Aside:
    """The payloads of one server that lie beside their entries."""

    def __init__(self, layout: Layout, lanes: Lanes, room: Room) -> None:
        self._layout = layout
        self._lanes = lanes
        self._room = room
        self._fetching: dict[bytes, asyncio.Future[bytes | None]] = {}

    def forget(self) -> None:
        """Begin anew, on another event loop or in another process."""
        self._fetching.clear()

    def expect(self, fills: Sequence[Fill]) -> None:
        """These are about to be put: first of all they are digested, and in the meantime nothing of
        this call is with the server."""
        wait_in(self._lanes)
        wait_for_bytes(sum(len(entry.data) for _, entry in fills if entry is not None))

    async def put(self, fills: Sequence[Fill], now: float) -> list[Fill]:
        """Store what is large. What is given back has references in its place, or says that there
        was no room (`to_do`)."""
        return [*await asyncio.gather(*[self._put(*fill, now) for fill in fills])]

    async def _put(self, lease: Lease, entry: Entry | None, now: float) -> Fill:
        if entry is None or not is_large((lease, entry)):
            return lease, entry
        reference = Reference(_digest(entry), int(entry.codec), len(entry.data))
        place = self._layout.aside(lease.key, reference.digest)
        # XX: without its place (an equal payload lay there, and went) it would be in no account.
        command = b"SET", place, entry.data, b"XX", b"PX", life_ms(entry, now) + _LONGER
        while await self._room.reserve(self._lanes, place, entry.flags, len(entry.data)):
            if await self._lanes.ask(place, *command, fits=_stored_or_not):
                return lease, _with(entry, _REFERENCE.pack(*reference), _ASIDE)
        return lease, _with(entry, b"", _ASIDE)

    async def whole(self, keys: Sequence[Key], answers: Sequence[T]) -> list[T | Missing]:
        """The same answers, with payloads in the place of references.

        Missing, with the mark of what is there, where a payload is gone.
        """
        aside = [
            (index, answer, _reference(answer.entry))
            for index, answer in enumerate(answers)
            if isinstance(answer, Found) and answer.entry.codec == _ASIDE
        ]
        whole: list[Any] = [*answers]
        if not aside:
            return whole
        wait_for_bytes(sum(reference.size for _, _, reference in aside))
        name = self._layout.aside(keys[aside[0][0]], aside[0][2].digest)
        entries = await asyncio.gather(
            *[self._entry(name, keys[at], found.entry, said) for at, found, said in aside]
        )
        for (index, found, _), entry in zip(aside, entries, strict=True):
            whole[index] = (
                Missing(found.seq, epoch=found.epoch, mark=found.mark)
                if entry is None
                else found._replace(entry=entry)
            )
        return whole

    async def _entry(
        self, name: bytes, key: Key, referring: Entry, reference: Reference
    ) -> Entry | None:
        """The entry with its payload; None if that is gone. Who asks at the same time shares it."""
        place = self._layout.aside(key, reference.digest)
        while (others := self._fetching.get(place)) is not None:
            wait_in(self._lanes)
            await asyncio.wait([others])
            if not others.cancelled():
                payload = others.result()
                return None if payload is None else _with(referring, payload, reference.codec)
            # Who fetched it has left, or has failed: that may be his own affair.
        fetching = asyncio.get_running_loop().create_future()
        self._fetching[place] = fetching
        try:
            # MGET, to which what is no string is nothing.
            (payload,) = await self._lanes.ask(name, b"MGET", place, fits=values(1))
            entry = None if payload is None else _with(referring, payload, reference.codec)
            if entry is not None and _digest(entry) != reference.digest:
                entry = None
            fetching.set_result(None if entry is None else payload)
            return entry
        finally:
            self._fetching.pop(place, None)
            fetching.cancel()

    def size(self, entry: Entry) -> int:
        """Bytes of the payload, wherever it lies."""
        return len(entry.data) if entry.codec != _ASIDE else _reference(entry).size

    def places(self, key: Key, entry: Entry) -> tuple[bytes, ...]:
        """Where the payload lies, if it does not lie in the entry."""
        if entry.codec != _ASIDE:
            return ()
        return (self._layout.aside(key, _reference(entry).digest),)


def is_large(fill: Fill) -> bool:
    """Whether it stores a payload that is to lie beside its entry."""
    _, entry = fill
    return entry is not None and len(entry.data) > BULKY


def to_do(entry: Entry | None) -> bytes:
    """What FILL is told to do; a reference that leads nowhere has found no room for its payload."""
    if entry is None:
        return b"0"
    if entry.is_nothing:
        return b"2"
    return b"3" if entry.codec == _ASIDE and not entry.data else b"1"


def _stored_or_not(reply: Any) -> bool:
    return reply is None or reply == b"OK"


def _digest(entry: Entry) -> bytes:
    return digest_of(entry).hex().encode()


def _reference(entry: Entry) -> Reference:
    """What cannot be one leads nowhere: another hand has written it."""
    if len(entry.data) != _REFERENCE.size:
        return Reference(b"", 0, 0)
    return Reference(*_REFERENCE.unpack(entry.data))


def _with(entry: Entry, data: bytes, codec: int) -> Entry:
    """The same in all else."""
    return Entry(
        data,
        codec,
        entry.flags,
        entry.created,
        entry.fresh_until,
        entry.expires,
        entry.names,
        entry.version,
        cost=entry.cost,
    )
