"""What Redis holds: under a key, valid or not, and which of its stamps are still equal; which keys;
how much the server evicts."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from cascada.codecs.envelope import stamps_of, unpack
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key, text_before
from cascada.tiers.capabilities import NameState, Stored
from cascada.tiers.contract import NotPermitted
from cascada.tiers.redis.layout import NONCE, Epoch, Layout, generations_of
from cascada.tiers.walks import BEGINNING, STEP, keys_in

Command = Callable[..., Awaitable[Any]]


async def holding(command: Command, layout: Layout, key: Key, run_id: bytes) -> Stored | None:
    """Two reads, not one: between them anything may happen, so this is for people only."""
    # MGET, to which what is no string is nothing.
    (blob,) = await command(b"MGET", layout.entry(key))
    if blob is None:
        return None
    try:
        entry = unpack(blob, layout.home(key.text.encode()))
    except CorruptEntry:
        return None
    names = [*generations_of(key), *entry.names]
    stamps = stamps_of(blob)
    if len(stamps) != 1 + len(names):
        return None
    current, *nonces = await command(b"MGET", layout.epoch, *map(layout.generation, names))
    epoch = Epoch.parse(current)
    now = b"" if epoch is None else epoch.nonce
    same_server = epoch is not None and epoch.run_id == run_id
    marks = [_mark("the server and its epoch", stamps[0], now if same_server else b"")]
    for name, stamp, nonce in zip(names, stamps[1:], nonces, strict=True):
        marks.append(_mark(name, stamp, (nonce or b"")[:NONCE]))
    return Stored(entry, tuple(marks))


def _mark(name: str, stored: bytes, current: bytes) -> NameState:
    return NameState(name, stored.hex(), current.hex() or "gone", stored == current)


class WalksKeys:
    """A part of the tier: see `Walks`. All keys of the server's database are gone through."""

    _link: Any
    _layout: Layout

    async def keys_of(self, tenant: str, data_type: str, place: str) -> tuple[list[Key], str]:
        entries = self._layout.prefix + b"v:"
        before = entries + text_before(tenant, data_type, None, None, None).encode()
        pattern = re.sub(rb"([\\*?\[\]^])", rb"\\\1", before) + b"*"
        cursor, found = await self._link.ask(
            b"SCAN", place or "0", b"MATCH", pattern, b"COUNT", STEP
        )
        texts = (each[len(entries) :].decode(errors="replace") for each in found)
        next_place = BEGINNING if cursor == b"0" else cursor.decode()
        return keys_in(texts, tenant, data_type), next_place


async def evictions(command: Command) -> int:
    """How many keys the server has evicted since its start, whosever they were."""
    try:
        stats = await command(b"INFO", b"stats")
    except NotPermitted as error:
        raise NotPermitted(f"Redis does not tell how full it is: {error}") from error
    return _field(stats, b"evicted_keys")


def _field(info: bytes, name: bytes) -> int:
    found = re.search(rb"^" + name + rb":(\d{1,18})", info, re.MULTILINE)
    return int(found.group(1)) if found else 0
