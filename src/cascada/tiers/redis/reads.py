"""Validated reads: one MGET brings the epoch, the generations of the names, and the entries.

An entry is valid if its stamps are equal to what was read beside it. What a reader has seen of an
entry's dynamic names is kept as a hint, so that their generations come in the same MGET; where an
entry names others, a second one fetches them, and reads the epoch again. If that has changed, all
is read anew, with their generations in the first one this time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from cascada.codecs.envelope import (
    MARK,
    STAMPS_AT,
    home_of,
    packed_names,
    unpack,
    unpack_known,
)
from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key
from cascada.tiers.clock_skew import ahead_of
from cascada.tiers.contract import Found, Missing, NotPermitted, Why
from cascada.tiers.redis.batch import Batcher, Values
from cascada.tiers.redis.layout import NEWER, NONCE, Epoch, Layout

HINTS: Final = 16_384
"""Keys whose dynamic names are remembered, so that their generations come in the first MGET."""

HINTED_NAMES: Final = 131_072
"""Names of all these keys together: one entry may bear a thousand."""

PLANS: Final = 16_384
"""Keys whose reads are worked out in advance; beyond it they are worked out anew."""


class Plan(NamedTuple):
    """What a read of one key asks for, as Redis keys, and what it expects to find.

    `late`: the dynamic names that a hint told, `packed` as an entry has them.
    """

    entry: bytes
    home: int
    names: tuple[str, ...]
    generations: tuple[bytes, ...]
    late: tuple[str, ...]
    late_generations: tuple[bytes, ...]
    packed: bytes
    wanted: tuple[bytes, ...]


class _Late(NamedTuple):
    """An entry whose dynamic names were not asked for yet."""

    entry: Entry
    stamps: tuple[bytes, ...]
    mark: bytes


class Reads:
    """The reads of one connection."""

    def __init__(self, layout: Layout, batcher: Batcher, clock: Clock) -> None:
        self._layout = layout
        self._batcher = batcher
        self._time = clock.time
        self._ahead = ahead_of(clock)
        self._hints: OrderedDict[Key, tuple[str, ...]] = OrderedDict()
        self._hinted_names = 0
        self._plans: dict[Key, Plan] = {}
        self._met: bytes | None = None
        self._epoch: Epoch | None = None
        self.corrupt = 0
        """Entries that were met and cannot be read."""

    def forget(self, batcher: Batcher) -> None:
        """Begin anew, on another connection."""
        self._batcher = batcher
        self._hints.clear()
        self._hinted_names = 0
        self._plans.clear()

    async def read(
        self, keys: Sequence[Key], run_id: bytes, *, anew: bool = False
    ) -> list[Found | Missing]:
        """What is there; `anew`: for the second time, because it was not of one moment."""
        layout = self._layout
        plans = [self._plans.get(key) or self._plan(key) for key in keys]
        wanted: list[bytes] = [layout.epoch]
        for plan in plans:
            wanted += plan.wanted
        if len(plans) > 1:  # most of them share their generations
            wanted = list(dict.fromkeys(wanted))
        values = await self._batcher.get(wanted)
        epoch = self._epoch_of(values[layout.epoch])
        if epoch is None or not self._is_ours(epoch, run_id):
            return [Missing(0, Why.ABSENT) for _ in keys]
        answers: list[Found | Missing] = []
        unknown: dict[int, _Late] = {}
        nothing, now = Missing(epoch.q, epoch=epoch.nonce), self._time()
        stamps: dict[tuple[bytes, ...], bytes] = {}
        for index, (key, plan) in enumerate(zip(keys, plans, strict=True)):
            blob = values[plan.entry]
            if blob is None:
                answers.append(nothing)
                continue
            stamp = stamps.get(plan.generations)
            if stamp is None:
                nonces = [(values[each] or b"")[:NONCE] for each in plan.generations]
                stamp = stamps[plan.generations] = epoch.nonce + b"".join(nonces)
            expected = self._if_expected(epoch, key, plan, blob, stamp, values, now)
            if expected is not None:
                answers.append(expected)
                continue
            answer, late = self._judge(epoch, key, plan, blob, values)
            answers.append(answer)
            if late is not None:
                unknown[index] = late
        seen = values[layout.epoch]
        if unknown and not await self._judge_late(epoch, seen, keys, answers, unknown) and not anew:
            # All of it: what the first MGET was enough for may have gone together with the rest.
            return await self.read(keys, run_id, anew=True)
        return answers

    def _is_ours(self, epoch: Epoch, run_id: bytes) -> bool:
        """Not what another server process has written, nor an older layout.

        NotPermitted by a newer one."""
        if epoch.layout > self._layout.number:
            raise NotPermitted(NEWER % self._layout.epoch.decode())
        return epoch.run_id == run_id and epoch.layout == self._layout.number

    def _if_expected(
        self,
        epoch: Epoch,
        key: Key,
        plan: Plan,
        blob: bytes,
        stamp: bytes,
        values: Values,
        now: float,
    ) -> Found | None:
        """The usual entry: it bears the names that the plan knows, and all its stamps are equal.

        None: look closer. Where a generation is missing, `stamp` is too short for the entry's.
        """
        if plan.late:
            late = [(values[each] or b"")[:NONCE] for each in plan.late_generations]
            stamp += b"".join(late)
        if not blob.startswith(stamp, STAMPS_AT):
            return None
        entry = unpack_known(blob, plan.home, len(stamp) // NONCE, plan.late, plan.packed)
        if entry is None:
            return None
        mark = blob[MARK]
        if entry.created > now or self._ahead.met:
            entry = self._ahead.dated(key, entry, now)
        if now >= entry.expires:
            return None
        return Found(entry, epoch.q, epoch.nonce, mark)

    def _epoch_of(self, value: bytes | None) -> Epoch | None:
        """It is mostly the one that the last read has met."""
        if value != self._met:
            self._met, self._epoch = value, Epoch.parse(value)
        return self._epoch

    def _plan(self, key: Key) -> Plan:
        """What a read of `key` asks for; kept, since the same keys are asked for again."""
        names, generations = self._layout.borne(key)
        entry = self._layout.entry(key)
        late = self._hints.get(key, ())
        of_late = tuple(map(self._layout.generation, late))
        wanted = (*generations, *of_late, entry)
        plan = Plan(
            entry, home_of(entry), names, generations, late, of_late, packed_names(late), wanted
        )
        if len(self._plans) >= PLANS:
            self._plans.clear()
        self._plans[key] = plan
        return plan

    def _judge(
        self, epoch: Epoch, key: Key, plan: Plan, blob: bytes, values: Values
    ) -> tuple[Found | Missing, _Late | None]:
        """The answer for one key, or the entry whose dynamic names were not asked for yet."""
        mark = blob[MARK]
        try:
            entry, stamps = unpack(blob, plan.home)
        except CorruptEntry:
            return self._corrupt(epoch, mark), None
        if len(stamps) != 1 + len(plan.names) + len(entry.names):
            return self._corrupt(epoch, mark), None
        if stamps[0] != epoch.nonce:
            return Missing(epoch.q, Why.INVALIDATED, "epoch", epoch.nonce), None
        for index, generation in enumerate(plan.generations, 1):
            current = values[generation]
            if current is None or not current.startswith(stamps[index]):
                name = plan.names[index - 1]
                return Missing(epoch.q, Why.INVALIDATED, name, epoch.nonce), None
        first = 1 + len(plan.names)
        for index, name in enumerate(entry.names, first):
            generation = self._layout.generation(name)
            if generation not in values:
                return Missing(epoch.q, epoch=epoch.nonce), _Late(entry, stamps, mark)
            current = values[generation]
            if current is None or not current.startswith(stamps[index]):
                return Missing(epoch.q, Why.INVALIDATED, name, epoch.nonce), None
        return self._unless_expired(epoch, key, entry, mark), None

    def _corrupt(self, epoch: Epoch, mark: bytes) -> Missing:
        self.corrupt += 1
        return Missing(epoch.q, Why.CORRUPT, epoch=epoch.nonce, mark=mark)

    def _unless_expired(self, epoch: Epoch, key: Key, entry: Entry, mark: bytes) -> Found | Missing:
        now = self._time()
        entry = self._ahead.dated(key, entry, now)
        if now >= entry.expires:
            return Missing(epoch.q, Why.EXPIRED, epoch=epoch.nonce, mark=mark)
        return Found(entry, epoch.q, epoch.nonce, mark)

    def dated(self, key: Key, entry: Entry) -> Entry:
        """What a script has found, with times of this process's clock."""
        return self._ahead.dated(key, entry, self._time())

    async def _judge_late(
        self,
        epoch: Epoch,
        seen_epoch: bytes | None,
        keys: Sequence[Key],
        answers: list[Found | Missing],
        unknown: dict[int, _Late],
    ) -> bool:
        """A second MGET for entries whose dynamic names no hint told.

        It reads `e` again: only if it is equal are both reads of one moment, which is what this
        returns; else they are missing. Memory keeps the q of the first, since what the second adds
        was valid then too.
        """
        layout = self._layout
        wanted = dict.fromkeys(
            layout.generation(name) for late in unknown.values() for name in late.entry.names
        )
        values = await self._batcher.get([layout.epoch, *wanted])
        together = values[layout.epoch] == seen_epoch
        for index, (entry, stamps, mark) in unknown.items():
            self.hint(keys[index], entry.names)
            if not together:
                answers[index] = Missing(epoch.q, Why.INVALIDATED, "epoch", epoch.nonce)
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
                answers[index] = Missing(epoch.q, Why.INVALIDATED, killer, epoch.nonce)
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
