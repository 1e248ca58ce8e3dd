"""Leases of keys in Redis and the fills under them: one script for a batch, whatever its size.

A script holds the server up while it runs, so that long batches are sent in parts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from cascada.codecs.envelope import MARK, pack_around, unpack
from cascada.model.entry import Entry
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import is_own
from cascada.tiers.contract import (
    Busy,
    Fence,
    Filled,
    Found,
    Lease,
    Missing,
    NotPermitted,
    Outcome,
    Seen,
    Why,
)
from cascada.tiers.large_values import BULKY
from cascada.tiers.redis import script_replies
from cascada.tiers.redis.batches import AT_ONCE, names_of, parts_of, places
from cascada.tiers.redis.large_payloads import Aside, Fill, is_large, to_do
from cascada.tiers.redis.layout import (
    GENERATION_MS,
    LEASE_MS,
    LONGEST_MS,
    NEWER,
    NONCE,
    OF_A_LOAD,
    OF_A_SET,
    TOKEN,
    Layout,
    life_ms,
    ordered,
)
from cascada.tiers.redis.lease_releases import LeaseReleases
from cascada.tiers.redis.room import Room
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.lanes import Lanes
from cascada.tiers.redis_client.replies import Argument, anything, at_least
from cascada.tiers.redis_scripts import steps as redis_steps
from cascada.tiers.redis_scripts.fill import FILL
from cascada.tiers.redis_scripts.prelude import Script

_UNKNOWN: Final = b"unknown!"
"""The epoch of a miss that saw none: equal to no real one, so that its fence always refuses."""

_OUTCOMES: Final = {
    2: Outcome.EQUAL,
    3: Outcome.NOTHING,
    4: Outcome.OLDER,
    5: Outcome.FULL,
    6: Outcome.NO_ROOM,
}

Ask = tuple[Key, Seen]


class Leases:
    """The leases and fills of one connection. `run_id`: of the server that it leads to.

    `hint` is told the dynamic names of what is stored, `dated` gives what is found times of this
    process's clock, `numbered_in` is told in which epoch a `set` was numbered. `corrupt`: entries
    that were met here and cannot be read.
    """

    def __init__(
        self,
        layout: Layout,
        link: Link,
        lanes: Lanes,
        aside: Aside,
        hearing: LeaseReleases,
        room: Room,
        *,
        now: Callable[[], float],
        hint: Callable[[Key, tuple[str, ...]], None],
        dated: Callable[[Key, Entry], Entry],
        numbered_in: Callable[[bytes], None],
    ) -> None:
        self._layout = layout
        self._link = link
        self._lanes = lanes
        self._aside = aside
        self._hearing = hearing
        self._room = room
        self._now = now
        self._hint = hint
        self._dated = dated
        self._numbered_in = numbered_in
        self.corrupt = 0

    async def acquire(
        self, run_id: bytes, asked: Sequence[Ask], *, force: bool, tokens: Sequence[bytes] = ()
    ) -> list[Lease | Found | Busy]:
        """`tokens`: of the leases, one for each key; else one of its own for all of them."""
        # A load has the lease by itself; what it brings is not known yet. By the last byte scripts
        # tell it from a set (`touching`).
        own = tokens or [os.urandom(TOKEN)] * len(asked)
        last = OF_A_SET if force else OF_A_LOAD
        wanted = [(each, token[:-1] + last) for each, token in zip(asked, own, strict=True)]
        if len(wanted) <= AT_ONCE:
            answers = await self._ask(run_id, wanted, force=force) if wanted else []
        else:
            parts = [wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE)]
            asking = [self._ask(run_id, part, force=force) for part in parts]
            answers = [answer for part in await asyncio.gather(*asking) for answer in part]
        final = [answer for answer in answers if isinstance(answer, Lease | Busy)]
        if len(final) == len(answers):
            return [*final]
        return await self._usable(run_id, wanted, answers, force=force)

    def once(self, asked: Sequence[Ask]) -> list[Lease]:
        """Leases of what is stored where nothing is: its script looks for all that it needs."""
        return [
            Lease(
                key,
                -1 if seen is None else seen.seq,
                _UNKNOWN if seen is None else (seen.epoch or _UNKNOWN) + seen.mark,
                once=True,
                seen=seen,
            )
            for key, seen in asked
        ]

    async def fill(
        self, run_id: bytes, leases: Sequence[Lease], entries: Sequence[Entry | None]
    ) -> list[Filled]:
        fills: Sequence[Fill] = list(zip(leases, entries, strict=True))
        if any(map(is_large, fills)):
            fills = await self._put_aside(fills)
        parts = parts_of(fills)
        if len(parts) == 1:
            return await self._fill(run_id, parts[0]) if fills else []
        answers = await asyncio.gather(*[self._fill(run_id, part) for part in parts])
        return [answer for part in answers for answer in part]

    async def put(
        self,
        run_id: bytes,
        leases: Sequence[Lease],
        entries: Sequence[Entry],
        notes: Sequence[tuple[Argument, ...]],
        script: Script,
        bounds: Sequence[Argument],
        journal: bytes,
    ) -> list[Filled]:
        """`fill` by a script that journals what it stores, each with its notes. What has a lease
        without a token is stored whatever was named since."""
        answers: list[Filled] = []
        for part in parts_of(list(zip(leases, entries, strict=True))):
            mine = notes[len(answers) : len(answers) + len(part)]
            behind = *bounds, *[each for note in mine for each in note]
            answers += await self._fill(run_id, part, script, behind, journal)
        return answers

    async def renew(self, leases: Sequence[Lease]) -> None:
        fits = at_least(0)
        await redis_steps.RENEW.run(self._link.ask, *_renewing(self._layout, leases), fits)

    async def _put_aside(self, fills: Sequence[Fill]) -> list[Fill]:
        """What is large is stored first, which may take longer than a lease lasts."""
        held = [lease for lease, _ in fills if not lease.once]
        self._aside.expect(fills)
        putting = asyncio.gather(self._aside.put(fills, self._now()))
        try:
            while not (await asyncio.wait([putting], timeout=LEASE_MS / 1000 / 3))[0]:
                # Unheard: the deadline is to look at what is being put, not at this.
                self._post(redis_steps.RENEW, *_renewing(self._layout, held))
            (referring,) = putting.result()
        finally:
            putting.cancel()
        return referring

    async def _usable(
        self,
        run_id: bytes,
        wanted: Sequence[tuple[Ask, bytes]],
        answers: Sequence[Lease | Found | Busy | Missing],
        *,
        force: bool,
    ) -> list[Lease | Found | Busy]:
        """The same, with payloads in the place of references, and nothing that is damaged."""
        whole = await self._aside.whole([key for (key, _), _ in wanted], answers)
        unusable = [
            ((key, (seen or Missing(answer.seq))._replace(mark=answer.mark)), token)
            for ((key, seen), token), answer in zip(wanted, whole, strict=True)
            if isinstance(answer, Missing)
        ]
        # A script cannot tell. Asked again, it knows which entry will not do.
        again = [each for each, _ in unusable]
        granted = iter(
            await self.acquire(run_id, again, force=force, tokens=[token for _, token in unusable])
        )
        return [next(granted) if isinstance(answer, Missing) else answer for answer in whole]

    async def _ask(
        self, run_id: bytes, asked: Sequence[tuple[Ask, bytes]], *, force: bool
    ) -> list[Lease | Found | Busy | Missing]:
        """Missing: what is there is damaged."""
        layout = self._layout
        generations: dict[bytes, int] = {}
        keys: list[Argument] = []
        each: list[Argument] = []
        # A load's value is made after its lease, whatever was seen.
        known: tuple[bytes, ...] | None = None
        mine: list[int] = []
        fences = [seen if force or isinstance(seen, Fence) else None for (_, seen), _ in asked]
        for ((key, seen), token), fence in zip(asked, fences, strict=True):
            text = key.text.encode()
            keys += layout.fill_keys(text)[:3]
            if (borne := layout.borne(key)[1]) is not known:  # keys without a context share them
                known, mine = borne, places(generations, borne)
            each += (
                b"" if seen is None else seen.mark,
                b"" if fence is None else fence.epoch or _UNKNOWN,
                0 if fence is None else fence.seq,
                b"k:" + text,
                token,
                len(mine),
                *mine,
            )
        since = self._hearing.moment
        try:
            reply = await redis_steps.ACQUIRE.run(
                self._link.ask,
                [*layout.common, *generations, *keys],
                [
                    run_id, b"%04d" % layout.number, os.urandom(NONCE), b"1" if force else b"0",
                    LEASE_MS, layout.generations, len(generations), self._room.bound,
                    *names_of(layout, generations), *each,
                ],
                script_replies.granted(len(asked)),
            )  # fmt: skip
        except asyncio.CancelledError:
            # Or the deadline is over. It may be granted all the same, and others would wait for a
            # load that nobody runs.
            for token in dict.fromkeys(token for _, token in asked):
                self._give_back(token, [key for (key, _), mine in asked if mine == token])
            raise
        if reply[0] == b"LAYOUT":
            raise NotPermitted(NEWER % layout.epoch.decode())
        _, seq, nonce, granted = reply
        answers: list[Lease | Found | Busy | Missing] = []
        for ((key, seen), token), fence, (verdict, what) in zip(
            asked, fences, granted, strict=True
        ):
            if verdict == b"LEASE":
                # Names that only the fill brings are checked from the miss on as well.
                as_of = seq if fence is None else fence.seq
                answers.append(Lease(key, as_of, token + what, forced=force, seen=seen))
            elif verdict == b"FENCED":  # void: no lease has a token without stamps
                answers.append(Lease(key, seq, token, forced=force, seen=seen))
            elif verdict == b"FOUND":
                answers.append(self._found(key, what, seq, nonce))
            else:
                answers.append(self._hearing.busy(key.text, since, max(what, 1) / 1000))
        return answers

    def _found(self, key: Key, blob: bytes, seq: int, epoch: bytes) -> Found | Missing:
        try:
            entry = unpack(blob, self._layout.home(key.text.encode()))
        except CorruptEntry:
            self.corrupt += 1
            return Missing(seq, Why.CORRUPT, epoch=epoch, mark=blob[MARK])
        return Found(self._dated(key, entry), seq, epoch, blob[MARK])

    def _give_back(self, token: bytes, keys: Sequence[Key]) -> None:
        """Release what was asked for under `token`. On one connection it is carried out later."""
        texts = [key.text.encode() for key in keys]
        released = [each for text in texts for each in self._layout.fill_keys(text)[1:3]]
        self._post(redis_steps.RELEASE, released, [token, self._layout.channel, *texts])

    def _post(
        self, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]
    ) -> None:
        """Send a script whose reply nobody waits for, if there is a connection."""
        with suppress(TierUnavailable):
            self._link.send(b"EVAL", script.text, len(keys), *keys, *arguments, fits=anything)

    async def _fill(
        self,
        run_id: bytes,
        fills: Sequence[Fill],
        script: Script | None = None,
        behind: Sequence[Argument] = (),
        *journal: bytes,
    ) -> list[Filled]:
        layout, now = self._layout, self._now()
        # What is journaled by name has nowhere else to go.
        named = bool(journal) and journal != (layout.prefix + b"jp",)
        generations: dict[bytes, int] = {}
        keys: list[Argument] = []
        each: list[Argument] = []
        size = 0
        known: tuple[bytes, ...] | None = None
        static: list[int] = []
        for lease, entry in fills:
            key = lease.key
            text = key.text.encode()
            if (borne := layout.borne(key)[1]) is not known:
                known, static = borne, places(generations, borne)
            names = lease.names if entry is None else entry.names
            late = places(generations, map(layout.generation, names)) if names else []
            kind, version, life, before, after, own = b"", b"", 1, b"", b"", b""
            if entry is not None:
                name = (b"k:" if lease.token else b"=k:") + text
                kind = b"once" if lease.once else name if lease.forced else b""
                if lease.adds:
                    kind = b"+" + lease.adds
                version = b"" if entry.version is None else ordered(entry.version)
                life = life_ms(entry, now)
                before, after = pack_around(entry, layout.home(text), 1 + len(static) + len(late))
                own = bytes([48 + is_own(key, name) for name in names])
                size += len(entry.data)
                self._hint(key, names)
            keys += layout.fill_keys(text)
            each += (
                lease.token or b"",
                lease.seq,
                text,
                kind,
                to_do(entry),
                version,
                life,
                max(GENERATION_MS, min(2 * life, LONGEST_MS)),
                before,
                after,
                own,
                len(static),
                len(late),
                *static,
                *late,
            )
        # What is large goes aside, so that nobody else has to wait until it has left.
        ask = partial(self._lanes.ask, fills[0][0].token) if size > BULKY else self._link.ask
        reply = await (script or FILL).run(
            ask,
            [*layout.common, *generations, *keys, *journal],
            [
                run_id, b"%04d" % layout.number, os.urandom(NONCE), layout.channel,
                layout.generations, len(generations), 0 if named else self._room.bound,
                *names_of(layout, generations), *each, *behind,
            ],
            script_replies.filled(len(fills)),
        )  # fmt: skip
        *answers, account = reply
        self._room.heard(*account)
        filled = []
        for (lease, _), (said, seq, nonce) in zip(fills, answers, strict=True):
            if (lease.forced or lease.adds) and nonce:
                self._numbered_in(nonce)
            filled.append(Filled(said in (1, 2), seq, _OUTCOMES.get(said, Outcome.PLAIN)))
        return filled


def _renewing(layout: Layout, leases: Sequence[Lease]) -> tuple[list[Argument], list[Argument]]:
    """Keys and arguments of the script that renews."""
    keys: list[Argument] = [layout.lease(lease.key) for lease in leases]
    return keys, [LEASE_MS, *[lease.token for lease in leases]]
