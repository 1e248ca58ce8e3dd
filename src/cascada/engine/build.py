"""How an engine is put together of the tiers that it was given."""

from __future__ import annotations

from collections.abc import Sequence

from cascada.tiers.capabilities import LoadsByTurns
from cascada.tiers.datastore import DataStore, KeepsData
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.guarded_datastore import GuardedData
from cascada.tiers.memory.datastore import MemoryData


def data_of(lower: Sequence[GuardedTier]) -> DataStore:
    """Where lists and counters are kept: by the first shared tier that does, else here."""
    for guarded in lower:
        if isinstance(guarded.tier, KeepsData):
            return GuardedData(guarded, guarded.tier.data)
    return MemoryData()


def let_one_process_load(lower: Sequence[GuardedTier]) -> None:
    """By turns in the lowest tier, while no tier above it can say by a lease whose turn it is."""
    if lower and isinstance(base := lower[-1].tier, LoadsByTurns):
        base.somebody_above = lambda: any(tier.available for tier in lower[:-1])
