"""The database tier's protocol less one rule at a time; see `mutants`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascada.model.entry import Entry
from cascada.model.names import static_names
from cascada.tiers.contract import Filled, Lease
from cascada.tiers.sqlite import maintenance as sqlite_upkeep
from cascada.tiers.sqlite import writes as sqlite_rules
from cascada.tiers.sqlite.reads import Reader
from cascada.tiers.sqlite.schema import KILLER
from cascada.tiers.sqlite.tier import SqliteTier
from cascada.tiers.sqlite.transaction import TenantState
from cascada.tiers.sqlite.writes import Write
from tests.chaos.mutations import mutant, swap


@mutant("database: the number is read at the write, not before the load", workload="contended")
def number_at_the_write() -> None:
    def fill(original: Any) -> Any:
        async def late(
            self: SqliteTier, leases: Sequence[Lease], entries: Sequence[Entry | None]
        ) -> list[Filled]:
            keys = [lease.key for lease in leases]
            for lease, fresh in zip(
                leases, await self.lease(keys, [None] * len(keys)), strict=True
            ):
                if not lease.forced:
                    assert isinstance(fresh, Lease)
                    lease.seq = fresh.seq
            filled: list[Filled] = await original(self, leases, entries)
            return filled

        return late

    swap(SqliteTier, "fill", fill)


@mutant("database: every fill is accepted, whatever came meanwhile", workload="contended")
def every_fill_is_accepted() -> None:
    _in_fills(lambda state, write: {"stands": lambda seq, names: True})


@mutant("database: a set leaves no tombstone", workload="sets")
def set_without_tombstone() -> None:
    def silent(state: TenantState, write: Write) -> dict[str, Any]:
        return {"bump": lambda *bumped: 0} if write.lease.forced else {}

    _in_fills(silent)


@mutant("database: a refused set leaves the old value", workload="sets")
def refused_set_leaves_the_old() -> None:
    def fill(original: Any) -> Any:
        def lazy(state: TenantState, write: Write, **how: Any) -> Filled:
            if write.lease.forced and not state.stands(write.lease.seq, write.names):
                return Filled(accepted=False, seq=state.seq)
            filled: Filled = original(state, write, **how)
            return filled

        return lazy

    swap(sqlite_rules, "fill_one", fill)


@mutant("database: versions are not compared", workload="sets")
def versions_ignored() -> None:
    swap(TenantState, "newest_version", lambda original: lambda self, key: None)


@mutant("database: late names (tags, sources) are not kept", workload="groups")
def rows_without_late_names() -> None:
    make = Write.of

    def of(cls: type[Write], namespace: str, lease: Lease, entry: Entry) -> Write:
        return make(namespace, lease, entry)._replace(names=tuple(static_names(lease.key)))

    Write.of = classmethod(of)  # type: ignore[assignment, method-assign]


@mutant("database: a read does not look for tombstones")
def tombstones_not_looked_for() -> None:
    def judge(original: Any) -> Any:
        return lambda self, row, *how, **named: original(self, (*row[:-1], None), *how, **named)

    swap(Reader, "_judge", judge)


@mutant("database: the sweep lifts rows without looking", config="sqlite-tight")
def sweep_does_not_look() -> None:
    looking = f"{KILLER} IS NOT NULL OR e.q < t.floor"
    assert looking in sqlite_upkeep._BELOW
    swap(sqlite_upkeep, "_BELOW", lambda original: original.replace(looking, "0"))


@mutant("database: the sweep drops tombstones and raises no floor", config="sqlite-tight")
def sweep_without_floor() -> None:
    def drop(original: Any) -> Any:
        def low(state: TenantState) -> None:
            original(state)
            state.floor = 0

        return low

    swap(sqlite_upkeep, "_drop_tombstones", drop)


def _in_fills(changed: Any) -> None:
    """Let `changed(state, write)` say what a state does differently while it fills."""

    def fill(original: Any) -> Any:
        def different(state: TenantState, write: Write, **how: Any) -> Filled:
            swapped = changed(state, write)
            vars(state).update(swapped)
            try:
                filled: Filled = original(state, write, **how)
                return filled
            finally:
                for name in swapped:
                    del vars(state)[name]

        return different

    swap(sqlite_rules, "fill_one", fill)
