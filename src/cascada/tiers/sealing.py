"""What leaves this process sealed: values of sensitive types, for all tiers below memory.

A guarded tier has its entries sealed on their way in, and opened on their way out; memory and who
calls have them as they are. The data key of each tenant lies wrapped in the LOWEST tier
(`KeepsKeys`), which is there when the others are away; of several processes that make
one at once, that tier decides whose it is. Here it is known for a while, so that a key which
another process has dropped is used no longer than KNOWN_FOR.

What does not open counts as damaged: a miss. So does a value of a sensitive type that is not
sealed: it is from before, or somebody has put it there. What cannot be sealed is not stored.
(`codecs.sealing` has the form of the bytes.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar, runtime_checkable

from msgspec.structs import replace

from cascada.codecs.sealing import DataKey, KeyRing, wrapping_key
from cascada.model.clock import Clock
from cascada.model.entry import Codec, Entry, Flag
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key
from cascada.telemetry.throttle import Warned
from cascada.tiers.breaker import Breaker, Call
from cascada.tiers.capabilities import Change
from cascada.tiers.contract import Busy, Found, Lease, Missing, Seen, Touched, Why

T = TypeVar("T")

Ask = Callable[[Sequence[Key], Sequence[Seen]], Awaitable[list[Lease | Found | Busy]]]

logger = logging.getLogger("cascada")

PATIENCE: Final = 2.0
"""Seconds that a question for keys may take which its caller waits for."""

KNOWN_FOR: Final = 30.0
"""Seconds for which a tenant's key is used before it is looked for again."""

LOOK_AGAIN: Final = 1.0
"""Seconds between two looks at a key that does not open what it should."""

MOST_KNOWN: Final = 10_000
"""Tenants whose keys are known at once."""

ASK_AGAIN: Final = 0.05
"""Seconds until who meets what does not open for the second time asks again."""

LARGE: Final = 2**20
"""Bytes from which on a payload is sealed and opened in another thread: it takes milliseconds."""

NO_KEYS: Final = (
    'pass encryption_keys="ID:KEY", or set CACHE_ENCRYPTION_KEYS (a KEY is what '
    "`openssl rand -base64 32` makes)"
)

_SEALED: Final = int(Flag.ENCRYPTED)
_BOUND: Final = int(Flag.COMPRESSED)


class WrappedKeys(Protocol):
    """The wrapped data keys of tenants. No upkeep, no invalidation and no pruning reaches them."""

    async def get(self, tenant: str) -> bytes | None:
        """A tenant's; None: there is none."""
        ...

    async def add(self, tenant: str, wrapped: bytes) -> bytes:
        """Keep this one, if there is none; the one that is there then."""
        ...

    async def replace(self, tenant: str, wrapped: bytes, newer: bytes) -> bool:
        """Keep `newer` in the place of `wrapped`; False if that is not there any more."""
        ...

    async def drop(self, tenant: str) -> bool:
        """Forget it; whether there was one."""
        ...

    async def tenants(self) -> list[str]:
        """Those that have one."""
        ...


@runtime_checkable
class KeepsKeys(Protocol):
    """A tier that has a place for wrapped data keys."""

    wrapped_keys: WrappedKeys


class Sealing:
    """`keys`: where the wrapped keys lie, in the tier behind `breaker`, which has `timeout` seconds
    for a question. `is_sensitive`: of which types the values are sealed."""

    def __init__(
        self,
        ring: KeyRing,
        keys: WrappedKeys,
        breaker: Breaker,
        timeout: float,
        *,
        namespace: str,
        is_sensitive: Callable[[str], bool],
        clock: Clock,
    ) -> None:
        self.ring = ring
        self.is_sensitive = is_sensitive
        self._keys = keys
        self._breaker = breaker
        self._timeout = timeout
        self._namespace = namespace.encode()
        self._now = clock.monotonic
        self._known: dict[str, tuple[DataKey, float]] = {}
        self._said: Warned[str] = Warned()
        self._done = 0

    # --- entries ------------------------------------------------------------------------------

    async def sealed(self, key: Key, entry: Entry) -> Entry:
        """The entry as it leaves; TierUnavailable if its tenant's key cannot be had."""
        if entry.codec == Codec.NOTHING or not self.is_sensitive(key.data_type):
            return entry
        place = self._place(key, entry.codec, entry.flags)
        return _with(
            entry, await self.seal_bytes(key.tenant, entry.data, place), entry.flags | _SEALED
        )

    async def fill(
        self, keys: Sequence[Key], entries: Sequence[Entry | None]
    ) -> tuple[list[Entry | None], dict[int, str]]:
        """The entries as they leave, None for those that cannot be sealed; by their places, why.
        (As a failure of the tier it would be one for all tenants.)"""
        sealed = list(entries)
        wrong: dict[int, str] = {}
        of_tenant: dict[str, str] = {}
        for at, (key, entry) in enumerate(zip(keys, entries, strict=True)):
            if entry is None:
                continue
            why = of_tenant.get(key.tenant) if self.is_sensitive(key.data_type) else None
            if why is None:
                try:
                    sealed[at] = await self.sealed(key, entry)
                    continue
                except TierUnavailable as error:
                    why = of_tenant[key.tenant] = str(error)
            sealed[at], wrong[at] = None, why
        return sealed, wrong

    async def certain(self, tenants: Iterable[str]) -> None:
        """Look at these tenants' keys anew, for who is about to seal what is nowhere else: a key
        that was dropped, or that went with its store, opens nothing for anybody."""
        for tenant in tenants:
            try:
                await self._look_up(tenant, made=True)
            except TierUnavailable:
                if tenant not in self._known:
                    raise

    async def put(self, leases: Sequence[Lease], entries: Sequence[Entry]) -> list[Entry]:
        """What is put into a journal in place of `fill`."""
        pairs = zip(leases, entries, strict=True)
        return [await self.sealed(lease.key, entry) for lease, entry in pairs]

    async def opened(
        self, keys: Sequence[Key], answers: Sequence[Found | Missing]
    ) -> list[Found | Missing]:
        """What a tier has answered, as it was before it was sealed."""
        whole: list[Found | Missing] = list(answers)
        for at, (key, answer) in enumerate(zip(keys, answers, strict=True)):
            if isinstance(answer, Found):
                try:
                    entry = await self.open(key, answer.entry)
                except CorruptEntry:
                    whole[at] = Missing(
                        answer.seq, Why.CORRUPT, epoch=answer.epoch, mark=answer.mark
                    )
                except TierUnavailable:  # its tenant's key, which is no failure of the others'
                    whole[at] = Missing(-1, Why.UNAVAILABLE)
                else:
                    if entry is not answer.entry:
                        whole[at] = answer._replace(entry=entry)
        return whole

    async def lease(
        self, ask: Ask, keys: Sequence[Key], seen: Sequence[Seen]
    ) -> list[Lease | Found | Busy]:
        """What a tier answers to who asks for leases. It compares what was seen with what it has,
        which is sealed."""
        found = [each.entry if isinstance(each, Found) else None for each in seen]
        sealed, _ = await self.fill(keys, found)
        as_stored = [
            each._replace(entry=entry) if isinstance(each, Found) and entry is not None else each
            for each, entry in zip(seen, sealed, strict=True)
        ]
        given = await ask(keys, as_stored)
        closed = []
        for at, answer in enumerate(given):
            if isinstance(answer, Found):
                try:
                    given[at] = answer._replace(entry=await self.open(keys[at], answer.entry))
                except CorruptEntry:  # (and not what cannot be opened just now)
                    closed.append((at, answer))
        if closed:  # nobody's value: as what was seen, it may be replaced
            again = await ask([keys[at] for at, _ in closed], [answer for _, answer in closed])
            for (at, _), each in zip(closed, again, strict=True):
                given[at] = Busy(ASK_AGAIN) if isinstance(each, Found) else each
        return given

    async def digests(self, keys: Sequence[Key], digests: Sequence[bytes]) -> list[bytes]:
        """What a tier may know of entries to come: that two of them are equal, and no more."""
        made = list(digests)
        for at, (key, digest) in enumerate(zip(keys, digests, strict=bool(digests))):
            if self.is_sensitive(key.data_type):
                try:
                    data_key = await self._key_of(key.tenant, made=True)
                except TierUnavailable:  # what cannot be sealed either: it is equal to nothing
                    data_key = DataKey.new()
                assert data_key is not None
                made[at] = data_key.digest(digest)
        return made

    async def touched(self, key: Key, touched: Touched) -> Touched:
        try:
            was = None if touched.was is None else await self.open(key, touched.was)
            entry = None if touched.entry is None else await self.open(key, touched.entry)
        except (CorruptEntry, TierUnavailable):
            return Touched(touched.seq, waits=touched.waits)
        return touched._replace(was=was, entry=entry)

    async def change(self, change: Change) -> Change:
        """What waits in a journal; its fault says so if it does not open."""
        try:
            return replace(change, entry=await self.open(change.key, change.entry))
        except CorruptEntry as error:
            return replace(change, fault=change.fault or str(error))

    async def open(self, key: Key, entry: Entry) -> Entry:
        """CorruptEntry if it does not open, or should be sealed and is not."""
        if not entry.flags & _SEALED:
            if entry.codec not in (Codec.NOTHING, Codec.ASIDE) and self.is_sensitive(key.data_type):
                raise CorruptEntry("a sensitive value is not sealed")
            return entry
        if entry.codec == Codec.ASIDE:  # where it lies, and not the value yet
            return entry
        flags = entry.flags & ~_SEALED
        data = await self.open_bytes(key.tenant, entry.data, self._place(key, entry.codec, flags))
        return _with(entry, data, flags)

    async def seal_bytes(self, tenant: str, data: bytes, place: bytes) -> bytes:
        """TierUnavailable as of `seal`."""
        data_key = await self._key_of(tenant, made=True)
        assert data_key is not None
        return await self._run(data_key.seal, data, place)

    async def open_bytes(self, tenant: str, sealed: bytes, place: bytes) -> bytes:
        """CorruptEntry if it does not open."""
        data_key = await self._key_of(tenant)
        if data_key is None:
            raise CorruptEntry("a tenant's key is gone, and with it what it has sealed")
        try:
            return await self._run(data_key.open, sealed, place)
        except CorruptEntry:
            # It may have been replaced by another process, since this one has read it.
            newer = await self._key_of(tenant, older=data_key)
            if newer is None or newer is data_key:
                raise
            return await self._run(newer.open, sealed, place)

    def _place(self, key: Key, codec: int, flags: int) -> bytes:
        """What a payload is bound to: where it lies, and how it is read."""
        return self.place(key.text.encode(), bytes((codec, flags & _BOUND)))

    def place(self, *parts: bytes) -> bytes:
        """What is bound to these and to the namespace; entries have two parts."""
        parts = (self._namespace, *parts)
        return b"".join([len(part).to_bytes(4, "big") + part for part in parts])

    async def _run(self, step: Callable[[bytes, bytes], bytes], data: bytes, place: bytes) -> bytes:
        if len(data) >= LARGE:
            return await asyncio.to_thread(step, data, place)
        self._done += len(data)
        if self._done >= LARGE:  # many at once: let others have a turn
            self._done = 0
            await asyncio.sleep(0)
        return step(data, place)

    # --- keys ---------------------------------------------------------------------------------

    async def _key_of(
        self, tenant: str, *, made: bool = False, older: DataKey | None = None
    ) -> DataKey | None:
        """The tenant's key; `made`: made if there is none. `older`: it does not open what it
        should, so that another is looked for."""
        now = self._now()
        known = self._known.get(tenant)
        if known is not None:
            data_key, until = known
            fresh = now < until if older is None else now < until - KNOWN_FOR + LOOK_AGAIN
            if fresh:
                return data_key
        try:
            return await self._look_up(tenant, made=made)
        except TierUnavailable:
            if known is None or older is not None:
                raise
            return known[0]  # the tier is away: what it has dropped meanwhile is not known

    async def has_key(self, tenant: str) -> None:
        """See that the tenant's key is at hand, for who is about to take what it opens;
        TierUnavailable: it cannot be had. A tenant without one has sealed nothing."""
        try:
            await self._key_of(tenant)
        except CorruptEntry as error:
            raise TierUnavailable(str(error)) from None

    async def _look_up(self, tenant: str, *, made: bool) -> DataKey | None:
        owner = self.owner(tenant)
        with Call(self._breaker, self._timeout):
            wrapped = await self._keys.get(tenant)
            if wrapped is None and made:
                fresh = self.ring.wrap(DataKey.new(), owner)
                wrapped = await self._keys.add(tenant, fresh)
        if wrapped is None:
            self._known.pop(tenant, None)
            return None
        try:
            data_key = self.ring.unwrap(wrapped, owner)
        except CorruptEntry as error:
            if self._said.due(str(error), self._now()):
                logger.error(  # noqa: TRY400 - it says all
                    "encryption: %s; until that is put right, what it has sealed is missed", error
                )
            if made:
                raise TierUnavailable(str(error)) from None
            raise
        known = self._known.get(tenant)
        if known is not None and known[0] == data_key:
            data_key = known[0]
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[tenant] = data_key, self._now() + KNOWN_FOR
        return data_key

    def owner(self, tenant: str) -> bytes:
        """What a wrapped key is bound to."""
        return owner_of(self._namespace, tenant)

    async def tenants(self) -> list[str]:
        """Those that have a key."""
        return await self._ask(self._keys.tenants())

    async def rewrap(self, tenant: str) -> bool:
        """Wrap a tenant's key by the ring's first one; whether it was wrapped by another. What is
        sealed stays as it is. CorruptEntry if it does not open."""
        wrapped = await self._ask(self._keys.get(tenant))
        if wrapped is None:
            return False
        owner = self.owner(tenant)
        # Whatever name it bears: another key may have been called as the first one is now.
        data_key = self.ring.unwrap(wrapped, owner)
        if wrapping_key(wrapped) == self.ring.current:
            return False
        newer = self.ring.wrap(data_key, owner)
        return await self._ask(self._keys.replace(tenant, wrapped, newer))

    async def drop(self, tenant: str) -> bool:
        """Drop a tenant's key for good: nothing that it has sealed is ever read again."""
        self.unlearn(tenant)
        try:
            return await self._ask(self._keys.drop(tenant))
        finally:
            self.unlearn(tenant)  # it may have been looked up in between

    def unlearn(self, tenant: str) -> None:
        """Look for the tenant's key again before it is used."""
        self._known.pop(tenant, None)

    async def _ask(self, question: Awaitable[T]) -> T:
        """For who cannot do without the answer."""
        with Call(self._breaker, max(self._timeout, PATIENCE)):
            return await question


def _with(entry: Entry, data: bytes, flags: int) -> Entry:
    """The same entry with another payload; the decoded value goes on its own way."""
    other = entry.lasting(entry.fresh_until, entry.expires)
    other.data, other.flags = data, flags
    return other


def owner_of(namespace: bytes, tenant: str) -> bytes:
    """A tenant of a namespace, as what is bound to it has it."""
    return len(namespace).to_bytes(4, "big") + namespace + tenant.encode()
