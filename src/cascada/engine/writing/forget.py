"""Letting go of what is void of a tenant or a user who is forgotten: this process's part.

Each process does so by itself, as it hears of it (`Whom.forgotten`). It must never drop what is
still valid, or what only somebody else has.
"""

from __future__ import annotations

import asyncio

from cascada.engine.stack import Stack
from cascada.model.forgotten import Whom
from cascada.tiers.deadline import AT_ONCE


async def drop_void(stack: Stack, whom: Whom) -> tuple[int, int]:
    """Let memory drop what it holds of him that is void; how many records, and their bytes."""
    records, count, size, looked_at = stack.memory.records, 0, 0, 0
    for partition in records.of_tenant(whom.tenant):
        for record in list(partition.records.values()):
            looked_at += 1
            if looked_at % AT_ONCE == 0:
                await asyncio.sleep(0)
            if not record.is_valid and partition.records.get(record.resource_id) is record:
                count, size = count + 1, size + record.weight
                records.drop(record)
    return count, size


def heard(stack: Stack, name: str) -> None:
    """Another process, or this one, forgets somebody: what is void goes at once."""
    whom = Whom.told_by(name)
    if whom.user is None:
        for tier in stack.lower:
            if tier.sealing is not None:
                tier.sealing.unlearn(whom.tenant)
        for forget in stack.on_forgotten:
            forget(whom.tenant)
    if whom not in stack.forgetting:  # else who forgets him drops it, and counts
        stack.background.run_aside(_drop(stack, whom), "drop what is forgotten")


async def _drop(stack: Stack, whom: Whom) -> None:
    await drop_void(stack, whom)
