"""Rules 58 to 61 less one part at a time, where changes are written to an application's database.

`sync/test_less_one_rule` lets a test notice each; `synced` takes one by `--mutant`. Each is told
how to put something in the place of an attribute.
"""

from __future__ import annotations

import math
from typing import Any, Final

from msgspec.structs import replace

from cascada.model.door.arguments import MOST
from cascada.service.sync import conflicts, numbered, statements, tables, target
from cascada.service.sync.loop import SyncLoop
from cascada.service.sync.tables import Mapped
from cascada.service.sync.target import Target
from cascada.tiers.sqlite.tier import SqliteTier
from tests.chaos.mutants_journaled import Mutant, SetAttribute

mutants: Final[dict[str, Mutant]] = {}


def mutant(apply: Mutant) -> Mutant:
    mutants[apply.__name__.replace("_", "-")] = apply
    return apply


def _decided(put: SetAttribute, **otherwise: Any) -> None:
    original = conflicts.decide

    def decide(*what: Any, **how: Any) -> Any:
        return original(*what, **how | otherwise)

    put(tables, "decide", decide)


@mutant
def numbers_are_not_compared(put: SetAttribute) -> None:
    """58"""
    original, where = statements._upsert, " WHERE t.number < excluded.number"

    def upsert(*what: Any) -> str:
        text = original(*what)
        assert where in text
        return text.replace(where, "")

    put(statements, "_upsert", upsert)


@mutant
def numbers_are_taken_apart_from_the_row(put: SetAttribute) -> None:
    """58: in a transaction of their own, so that who is killed then has written no row."""
    original = Mapped._current

    async def current(self: Mapped, connection: Any, items: Any) -> Any:
        driver = (await connection.get_raw_connection()).driver_connection
        await connection.commit()
        if getattr(driver, "in_transaction", False):  # SQLAlchemy has not heard of it
            await driver.commit()
        return await original(self, connection, items)

    put(Mapped, "_current", current)


@mutant
def a_claim_is_good_for_ever(put: SetAttribute) -> None:
    """58"""
    put(target, "CLAIMED", math.inf)


@mutant
def what_was_removed_is_forgotten_at_once(put: SetAttribute) -> None:
    """58"""
    put(target, "KEPT", -10)


@mutant
def what_waits_is_not_asked_for(put: SetAttribute) -> None:
    """58"""
    original = Target.forget

    async def forget(self: Target, below: int) -> None:
        await original(self, MOST)

    put(Target, "forget", forget)


@mutant
def rows_are_not_locked(put: SetAttribute) -> None:
    """59"""
    from sqlalchemy import Select

    put(Select, "with_for_update", lambda query, **how: query)


@mutant
def whose_row_it_is_is_not_asked(put: SetAttribute) -> None:
    """59"""
    put(conflicts, "_followed", lambda *what: True)


@mutant
def a_break_is_not_seen(put: SetAttribute) -> None:
    """59: the row was written by the sync, but from a version that the value has not seen."""
    original = conflicts._followed

    def followed(base: int | None, row: Any, last: conflicts.Last) -> bool:
        return original(base, row, last._replace(since=0 if base is not None else None))

    put(conflicts, "_followed", followed)


@mutant
def what_the_sync_has_written_is_others(put: SetAttribute) -> None:
    """59"""
    put(conflicts, "_followed", lambda *what: False)


@mutant
def what_follows_a_miss_is_written_over_a_row(put: SetAttribute) -> None:
    """59"""
    _decided(put, after_miss=False)


@mutant
def what_has_lost_stays_in_the_cache(put: SetAttribute) -> None:
    """60"""

    async def nothing(*what: Any) -> None:
        return None

    put(SyncLoop, "let_go", nothing)


@mutant
def that_it_has_lost_is_forgotten(put: SetAttribute) -> None:
    """60: who comes after one that was killed does not hear of it."""

    async def unread(*what: Any) -> set[Any]:
        return set()

    put(Mapped, "_known", unread)


@mutant
def who_was_forgotten_is_written_again(put: SetAttribute) -> None:
    """61"""
    original, where = statements.forgotten, " AND key = ''"

    def forgotten(*what: Any) -> tuple[str, tuple[Any, ...]]:
        text, given = original(*what)
        assert where in text
        return text.replace(where, " AND key = '-'"), given

    put(numbered, "forgotten", forgotten)


@mutant
def its_number_is_asked_for_later(put: SetAttribute) -> None:
    """61: when others have set something since."""
    original = SqliteTier.invalidate

    async def invalidate(self: SqliteTier, names: Any) -> Any:
        told = await original(self, names)
        return replace(told, journaled=told.journaled and told.journaled + 10_000_000)

    put(SqliteTier, "invalidate", invalidate)


@mutant
def its_number_is_asked_for_earlier(put: SetAttribute) -> None:
    """61: before others have set what is void now."""
    original = SqliteTier.invalidate

    async def invalidate(self: SqliteTier, names: Any) -> Any:
        told = await original(self, names)
        return replace(told, journaled=told.journaled and 1)

    put(SqliteTier, "invalidate", invalidate)


@mutant
def who_writes_is_not_waited_for(put: SetAttribute) -> None:
    """61; in SQLite one writes at a time."""
    original = Target.transaction

    def transaction(self: Target, since: float | None = None, *, alone: bool = False) -> Any:
        return original(self, since)

    put(Target, "transaction", transaction)
