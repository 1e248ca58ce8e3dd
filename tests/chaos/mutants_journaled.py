"""Rules 53 to 57 less one part at a time, where changes are journaled by name.

`journal/test_less_one_rule` lets a scenario notice each; `journaled` takes one by `--mutant`. Each
is told how to put something in the place of an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cascada.engine.reading import read
from cascada.engine.writing import journaled
from cascada.tiers.capabilities import Put
from cascada.tiers.contract import Filled
from cascada.tiers.redis_scripts import journal as scripts
from cascada.tiers.redis_scripts.prelude import Script
from cascada.tiers.sqlite import journal as sqlite_journal
from cascada.tiers.sqlite import maintenance
from cascada.tiers.sqlite import writes as fills
from cascada.tiers.sqlite.journal import SqliteJournal

SetAttribute = Callable[[Any, str, Any], None]
Mutant = Callable[[SetAttribute], None]

mutants: Final[dict[str, Mutant]] = {}


def mutant(apply: Mutant) -> Mutant:
    mutants[apply.__name__.replace("_", "-")] = apply
    return apply


def _script(put: SetAttribute, name: str, old: str, new: str) -> None:
    text = getattr(scripts, name).text
    assert old in text, old
    put(scripts, name, Script(text.replace(old, new)))


def _statement(put: SetAttribute, module: Any, name: str, old: str, new: str) -> None:
    text = getattr(module, name)
    assert old in text, old
    put(module, name, text.replace(old, new))


@mutant
def stored_and_not_journaled(put: SetAttribute) -> None:
    """53: now and then the entry alone is stored."""
    _script(put, "PUT", "if put == '3' then return end", "if true then return end")
    original, count = SqliteJournal.put, 0

    async def lossy(self: SqliteJournal, *what: Any, puts: Sequence[Put], **how: Any) -> Any:
        nonlocal count
        count += 1
        if count % 10 == 0:
            puts = [Put.FETCHED] * len(puts)
        return await original(self, *what, puts=puts, **how)

    put(SqliteJournal, "put", lossy)


@mutant
def changes_are_fenced(put: SetAttribute) -> None:
    """53: of sets that cross, one is refused."""
    original = fills.fill_one

    def fenced(state: Any, write: Any, **how: Any) -> Filled:
        write.lease.seq = max(write.lease.seq, 0)
        return original(state, write)

    put(fills, "fill_one", fenced)
    _script(put, "PUT", "accepted = not undrawn", "accepted = held == lease and held ~= ''")


@mutant
def what_follows_a_miss_replaces_a_change(put: SetAttribute) -> None:
    """54"""
    _script(put, "PUT", "if put == '2' or put == '3' then", "if false then")
    original = sqlite_journal._There.__new__

    def as_if_after_a_miss(cls: Any, how: int, size: int) -> Any:
        return original(cls, int(Put.AFTER_MISS), size)

    put(sqlite_journal._There, "__new__", as_if_after_a_miss)


@mutant
def what_waits_is_not_read(put: SetAttribute) -> None:
    """55"""

    async def nothing(*what: Any) -> None:
        return None

    put(read, "from_journal", nothing)


@mutant
def what_waits_is_read_though_it_was_named(put: SetAttribute) -> None:
    """55"""
    _statement(put, sqlite_journal, "_STANDING", "IS NULL", "IS NOT 0")
    _script(put, "STANDING", "redis.call('EXISTS', v) == 1 and e", "e")


@mutant
def a_sweep_forgets_what_waits(put: SetAttribute) -> None:
    """56"""
    _statement(put, maintenance, "_CHANGES_BELOW", "LIMIT ?", "AND 0 LIMIT ?")


@mutant
def done_whatever_its_number(put: SetAttribute) -> None:
    """56"""
    _script(put, "DONE", "numbered(ARGV[i]) == ARGV[i + 1]", "numbered(ARGV[i])")
    _statement(put, sqlite_journal, "_DONE", "c.number = k", "c.number >= k")


@mutant
def the_tiers_above_keep_what_is_older(put: SetAttribute) -> None:
    """57"""

    async def nothing(*what: Any) -> None:
        return None

    put(journaled, "let_go_above", nothing)
