"""What the changes of a journal say, as records for a target.

`loop` calls it. The work is done in parts, between which others have a turn on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from cascada.engine.stack import Stack
from cascada.model.entry import Flag
from cascada.model.errors import CorruptEntry
from cascada.service.sync.records import Poison, Record
from cascada.tiers.capabilities import Change
from cascada.tiers.deadline import AT_ONCE
from cascada.tiers.sealing import Sealing

TURN_BYTES: Final = 256 * 1024
"""Of values that are decoded before others have a turn on the event loop."""

_ENCRYPTED: Final = int(Flag.ENCRYPTED)


async def records_of(stack: Stack, changes: Sequence[Change]) -> list[Record | Poison]:
    """Each as a record; one that cannot be read can never be written."""
    sealing = next((each.sealing for each in stack.lower if each.sealing), None)
    records: list[Record | Poison] = []
    size = count = 0
    if sealing is not None:
        keys = [each.key for each in changes if not each.fault]
        await sealing.certain({key.tenant for key in keys if sealing.is_sensitive(key.data_type)})
    for change in changes:
        record = _record(stack, change)
        if sealing is not None and isinstance(record, Record) and not record.removed:
            record = await _sealed(sealing, change, record)
        records.append(record)
        size, count = size + len(change.entry.data), count + 1
        if size > TURN_BYTES or count >= AT_ONCE:
            size = count = 0
            await asyncio.sleep(0)
    return records


def _record(stack: Stack, change: Change) -> Record | Poison:
    key, entry, removed = change.key, change.entry, change.removed
    if change.fault:
        return Poison("constraint", change.fault)
    value = None
    if not removed:
        try:
            value = stack.codec.decode(entry.data, entry.codec, entry.flags)
        except CorruptEntry as error:
            return Poison("constraint", str(error))
    return Record(change.number, key.tenant, key.resource_id, value, change.after_miss, removed)


async def _sealed(sealing: Sealing, change: Change, record: Record) -> Record:
    """What is sensitive lies in no table of cascada's in the clear; a mapped one is the
    application's, which has its own row there."""
    entry = await sealing.sealed(change.key, change.entry)
    if not int(entry.flags) & _ENCRYPTED:
        return record
    packed = msgspec.msgpack.encode([int(entry.codec), int(entry.flags), entry.data])
    return msgspec.structs.replace(record, sealed=packed)
