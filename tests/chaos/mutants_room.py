"""Rule 52 less one part, where Redis has no room; see `mutants`.

Not here: what is moved by its own look, and not behind its lease (rule 13). A run moves too little
of what is invalidated at that moment; `tests/scenarios/test_moving.py` invalidates it on its way.
"""

from __future__ import annotations

from tests.chaos.mutants_redis import rewrite
from tests.chaos.mutations import mutant


@mutant("no room: what was there stays", config="redis-full", workload="sets", faults=())
def without_room_kept() -> None:
    there = "redis.call('UNLINK', v, made)"
    rewrite("FILL", there, f"if not full then {there} end")
