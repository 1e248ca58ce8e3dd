"""Rules 43 to 46 less one part at a time, where values are written behind; see `mutants`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascada.engine.write_behind import WriteBehind
from cascada.model.keys import Key
from cascada.tiers.redis_scripts import journal as redis_journal
from cascada.tiers.redis_scripts.prelude import Script
from cascada.tiers.sqlite import changes
from tests.chaos.mutations import mutant, swap

LOSING = ("killed redis", "short of room")
"""What makes the database be read, though nothing was invalidated."""


@mutant(
    "behind: the database is read though a change waits", config="redis-behind", workload="behind"
)
def database_read_while_a_change_waits() -> None:
    def waiting(original: Any) -> Any:
        async def unasked(self: WriteBehind, keys: Sequence[Key]) -> frozenset[Key]:
            return frozenset()

        return unasked

    swap(WriteBehind, "waiting", waiting)


@mutant(
    "behind: a change bears the number of its writing, not of its HOLD",
    config="redis-behind",
    workload="behind",
    faults=(),
)
def change_without_fence() -> None:
    def apply(original: Any) -> Any:
        def unfenced(state: Any, write: Any, latest: Any) -> Any:
            write.lease.seq = state.seq
            return original(state, write, latest)

        return unfenced

    swap(changes, "apply_one", apply)


@mutant(
    "behind: whichever change comes last is stored, whatever its number",
    config="redis-behind",
    workload="behind",
    faults=LOSING,
)
def change_without_number() -> None:
    swap(changes, "is_known", lambda original: lambda number, latest: False)


@mutant(
    "behind: a change is forgotten though a later one waits",
    config="redis-behind",
    workload="behind",
    faults=LOSING,
)
def changed_meanwhile_forgotten() -> None:
    text = redis_journal.DONE.text
    assert "numbered(ARGV[i]) == ARGV[i + 1]" in text
    redis_journal.DONE = Script(  # type: ignore[misc]
        text.replace("numbered(ARGV[i]) == ARGV[i + 1]", "numbered(ARGV[i])")
    )
