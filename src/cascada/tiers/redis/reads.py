"""Validated reads: one MGET brings the epoch, the generations of the names, and the entries.

An entry is valid if its stamps are equal to what was read beside it. What a reader has seen of an
entry's dynamic names is kept as a hint, so that their generations come in the same MGET; where an
entry names others, a second one fetches them, and reads the epoch again. If that has changed, all
is read anew, with their generations in the first one this time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from itertools import accumulate, chain
from math import inf
from typing import Any, Final, NamedTuple

from cascada.codecs.envelope import (
    MARK,
    STAMP_COUNT,
    STAMP_SIZE,
    STAMPS_AT,
    home_of,
    packed_names,
    stamps_of,
    unpack,
)
from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key
from cascada.tiers.clock_skew import ahead_of
from cascada.tiers.coalesce import Coalescer
from cascada.tiers.contract import Found, Missing, NotPermitted, Why
from cascada.tiers.deadline import AT_ONCE, wait_in
from cascada.tiers.redis.layout import NEWER, NONCE, Epoch, Layout
from cascada.tiers.redis.renewal import HALF, Renewal
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.replies import values

HINTS: Final = 16_384
"""Keys whose dynamic names are remembered, so that their generations come in the first MGET."""

HINTED_NAMES: Final = 131_072
"""Names of all these keys together: one entry may bear a thousand."""

PLANS: Final = 16_384
"""Keys whose reads are worked out in advance; beyond it they are worked out anew."""

_STAMPS: Final = STAMP_COUNT.start
"""Where the number of stamps is said, in two bytes."""

Value = bytes | None

_found: Final = tuple.__new__
"""A Found without its constructor, which is a Python function: twice as fast."""


class Plan(NamedTuple):
    """What a read of one key asks for, as Redis keys, and what it expects to find.

    `generations` are those of the `names` that the key bears anyway, then those of the dynamic ones
    that a hint told: these are `late`, and `packed` as an entry has them.
    """

    entry: bytes
    home: int
    names: tuple[str, ...]
    generations: tuple[bytes, ...]
    late: tuple[str, ...]
    packed: bytes


class _Late(NamedTuple):
    """An entry whose dynamic names were not asked for yet."""

    entry: Entry
    stamps: tuple[bytes, ...]
    mark: bytes


class _Moment:
    """What one MGET has brought.

    `expected`: what the usual entry bears, by the generations of its names: the epoch's nonce, then
    theirs. Where one is missing this is too short for any. `late`: see there, by place.
    """

    __slots__ = ("_wanted", "epoch", "expected", "late", "reply")

    def __init__(
        self,
        epoch: Epoch,
        wanted: list[bytes],
        reply: list[Value],
        places: Mapping[tuple[bytes, ...], int],
    ) -> None:
        self.epoch = epoch
        self.expected: dict[tuple[bytes, ...], bytes] = {}
        for generations, at in places.items():
            stamps = epoch.nonce
            for value in reply[at : at + len(generations)]:
                stamps += (value or b"")[:NONCE]
            self.expected[generations] = stamps
        self.late: dict[int, _Late] = {}
        self.reply = reply
        self._wanted: list[bytes] | dict[bytes, Value] = wanted

    @property
    def values(self) -> Mapping[bytes, Value]:
        """By key: worked out where something is not as usual."""
        if isinstance(self._wanted, list):
            self._wanted = dict(zip(self._wanted, self.reply, strict=True))
        return self._wanted


class Reads:
    """The reads of one connection.

    Those of one turn of the event loop go as one MGET, once one is under way.
    """

    def __init__(self, layout: Layout, link: Link, renewal: Renewal, clock: Clock) -> None:
        self._layout = layout
        self._link = link
        self._renewal = renewal
        self._time = clock.time
        self._ahead = ahead_of(clock)
        self._met: bytes | None = None
        self._epoch: Epoch | None = None
        self.corrupt = 0
        """Entries that were met and cannot be read."""
        self.forget()

    def forget(self) -> None:
        """Begin anew, on another connection."""
        self._mgets: Coalescer[list[bytes], list[Value]] = Coalescer(self._mget, share=_shares)
        self._hints: OrderedDict[Key, tuple[str, ...]] = OrderedDict()
        self._hinted_names = 0
        self._plans: dict[Key, Plan] = {}

    async def read(
        self, keys: Sequence[Key], run_id: bytes, *, anew: bool = False
    ) -> list[Found | Missing]:
        """What is there; `anew`: for the second time, because it was not of one moment."""
        plans: list[Plan] = []
        wanted, entries = [self._layout.epoch], list[bytes]()
        places: dict[tuple[bytes, ...], int] = {}
        for at in range(0, len(keys), AT_ONCE):
            if at:
                await asyncio.sleep(0)
            for key in keys[at : at + AT_ONCE]:
                plan = self._plans.get(key) or self._plan(key)
                plans.append(plan)
                entries.append(plan.entry)
                if plan.generations not in places:  # most keys share theirs
                    places[plan.generations] = len(wanted)
                    wanted += plan.generations
        first = len(wanted)
        wanted += entries
        reply = await self._ask(wanted)
        epoch = self._epoch_of(reply[0], run_id)
        if epoch is None:
            return [Missing(0, Why.ABSENT) for _ in keys]
        moment = _Moment(epoch, wanted, reply, places)
        answers: list[Found | Missing] = []
        each = list(zip(keys, plans, reply[first:], strict=True))
        for at in range(0, len(each), AT_ONCE):
            if at:
                await asyncio.sleep(0)
            self._answer(moment, each[at : at + AT_ONCE], answers)
        if moment.late and not await self._judge_late(moment, keys, answers) and not anew:
            # All of it: what the first MGET was enough for may have gone together with the rest.
            return await self.read(keys, run_id, anew=True)
        return answers

    def _answer(
        self,
        moment: _Moment,
        each: Iterable[tuple[Key, Plan, Value]],
        answers: list[Found | Missing],
    ) -> None:
        """One answer for each key and what lies there, on the way of every read."""
        seq, nonce = moment.epoch.seq, moment.epoch.nonce
        now, ahead = self._time(), self._ahead
        due = now - HALF
        nothing = Missing(seq, epoch=nonce)
        for key, plan, blob in each:
            if blob is None:
                answers.append(nothing)
                continue
            try:
                entry = unpack(blob, plan.home, plan.late, plan.packed)
            except CorruptEntry:
                answers.append(self._corrupt(moment.epoch, blob[MARK]))
                continue
            stamps = moment.expected[plan.generations]
            # As many stamps as that, and no more.
            as_usual = blob.startswith(stamps, STAMPS_AT) and (
                blob[_STAMPS] * STAMP_SIZE == len(stamps) and not blob[_STAMPS + 1]
            )
            if as_usual and entry.names == plan.late:
                if entry.created > now or ahead.met:
                    entry = ahead.dated(key, entry, now)
                if now < entry.expires:
                    found = _found(Found, (entry, seq, nonce, blob[MARK]))
                    answers.append(found)
                    if entry.created < due and entry.expires == inf:
                        self._renewal.renew(key, found, now)
                    continue
            answers.append(self._judge(moment, len(answers), key, plan, blob, entry))

    def _ask(self, wanted: list[bytes]) -> Awaitable[list[Value]]:
        """The values of these keys, all read in one atomic step."""
        wait_in(self._link.wire or self._link.need())
        return self._mgets.ask(wanted)

    def _mget(self, asked: list[list[bytes]]) -> Any:
        keys = asked[0] if len(asked) == 1 else [*chain.from_iterable(asked)]
        return self._link.send(b"MGET", *keys, fits=values(len(keys)))

    def _epoch_of(self, value: bytes | None, run_id: bytes) -> Epoch | None:
        """Not what another server process has written, nor an older layout.

        NotPermitted by a newer one."""
        if value != self._met:  # mostly it is the one that the last read has met
            self._met, self._epoch = value, Epoch.parse(value)
        epoch, number = self._epoch, self._layout.number
        if epoch is None:
            return None
        if epoch.layout > number:
            raise NotPermitted(NEWER % self._layout.epoch.decode())
        return epoch if epoch.run_id == run_id and epoch.layout == number else None

    def _plan(self, key: Key) -> Plan:
        """What a read of `key` asks for; kept, since the same keys are asked for again."""
        names, generations = self._layout.borne(key)
        entry = self._layout.entry(key)
        late, packed = self._hints.get(key, ()), b""
        if late:
            generations += tuple(map(self._layout.generation, late))
            packed = packed_names(late)
        plan = Plan(entry, home_of(entry), names, generations, late, packed)
        if len(self._plans) >= PLANS:
            self._plans.clear()
        self._plans[key] = plan
        return plan

    def _judge(
        self, moment: _Moment, place: int, key: Key, plan: Plan, blob: bytes, entry: Entry
    ) -> Found | Missing:
        """The answer for one key. An entry whose dynamic names were not asked for yet is `late`."""
        epoch, values, mark, stamps = moment.epoch, moment.values, blob[MARK], stamps_of(blob)
        if len(stamps) != 1 + len(plan.names) + len(entry.names):
            return self._corrupt(epoch, mark)
        if stamps[0] != epoch.nonce:
            return Missing(epoch.seq, Why.INVALIDATED, "epoch", epoch.nonce)
        for index, name in enumerate(plan.names, 1):
            current = values[plan.generations[index - 1]]
            if current is None or not current.startswith(stamps[index]):
                return Missing(epoch.seq, Why.INVALIDATED, name, epoch.nonce)
        first = 1 + len(plan.names)
        for index, name in enumerate(entry.names, first):
            generation = self._layout.generation(name)
            if generation not in values:
                moment.late[place] = _Late(entry, stamps, mark)
                return Missing(epoch.seq, epoch=epoch.nonce)
            current = values[generation]
            if current is None or not current.startswith(stamps[index]):
                return Missing(epoch.seq, Why.INVALIDATED, name, epoch.nonce)
        return self._unless_expired(epoch, key, entry, mark)

    def _corrupt(self, epoch: Epoch, mark: bytes) -> Missing:
        self.corrupt += 1
        return Missing(epoch.seq, Why.CORRUPT, epoch=epoch.nonce, mark=mark)

    def _unless_expired(self, epoch: Epoch, key: Key, entry: Entry, mark: bytes) -> Found | Missing:
        now = self._time()
        entry = self._ahead.dated(key, entry, now)
        if now >= entry.expires:
            return Missing(epoch.seq, Why.EXPIRED, epoch=epoch.nonce, mark=mark)
        found = Found(entry, epoch.seq, epoch.nonce, mark)
        if entry.created < now - HALF and entry.expires == inf:
            self._renewal.renew(key, found, now)
        return found

    def dated(self, key: Key, entry: Entry) -> Entry:
        """What a script has found, with times of this process's clock."""
        return self._ahead.dated(key, entry, self._time())

    async def _judge_late(
        self, moment: _Moment, keys: Sequence[Key], answers: list[Found | Missing]
    ) -> bool:
        """A second MGET for entries whose dynamic names no hint told.

        It reads `e` again: only if it is equal are both reads of one moment, which is what this
        returns; else they are missing. Memory keeps the seq of the first, since what the second
        adds was valid then too.
        """
        epoch, unknown = moment.epoch, moment.late
        layout = self._layout
        wanted = [layout.epoch]
        for late in unknown.values():
            wanted += map(layout.generation, late.entry.names)
        wanted = list(dict.fromkeys(wanted))
        values = dict(zip(wanted, await self._ask(wanted), strict=True))
        together = values[layout.epoch] == moment.reply[0]
        for index, (entry, stamps, mark) in unknown.items():
            self.hint(keys[index], entry.names)
            if not together:
                answers[index] = Missing(epoch.seq, Why.INVALIDATED, "epoch", epoch.nonce)
                continue
            own = stamps[len(stamps) - len(entry.names) :]
            killer = next(
                (
                    name
                    for name, stamp in zip(entry.names, own, strict=True)
                    if (values[layout.generation(name)] or b"")[:NONCE] != stamp
                ),
                None,
            )
            if killer is not None:
                answers[index] = Missing(epoch.seq, Why.INVALIDATED, killer, epoch.nonce)
            else:
                answers[index] = self._unless_expired(epoch, keys[index], entry, mark)
        return together

    def hint(self, key: Key, names: tuple[str, ...]) -> None:
        """The dynamic names that the entry of `key` bears now."""
        known = self._hints.pop(key, ())
        if known != names:
            self._plans.pop(key, None)
        if names:
            self._hints[key] = names
        self._hinted_names += len(names) - len(known)
        while len(self._hints) > HINTS or self._hinted_names > HINTED_NAMES:
            forgotten, their = self._hints.popitem(last=False)
            self._hinted_names -= len(their)
            self._plans.pop(forgotten, None)


def _shares(asked: list[list[bytes]], reply: list[Value]) -> list[list[Value]]:
    """To each the values of his own keys."""
    if len(asked) == 1:
        return [reply]
    ends = list(accumulate(map(len, asked)))
    return [reply[end - len(keys) : end] for keys, end in zip(asked, ends, strict=True)]
