"""The parts of a touch (`docs/protocol.md` rule 41) left out one by one: the contract notices."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascada.model.names import key_name
from cascada.tiers.memory import invalidations
from cascada.tiers.memory import tier as memory
from cascada.tiers.memory.invalidations import InvalidationLog
from cascada.tiers.redis import touching
from cascada.tiers.redis import writes as redis_writes
from cascada.tiers.redis.touching import TOUCH
from cascada.tiers.redis_scripts.prelude import Script
from cascada.tiers.sqlite import writes as sqlite_writes
from cascada.tiers.sqlite.transaction import TenantState
from tests.contracts.test_memory import TestMemory as OfMemory
from tests.contracts.test_redis import TestRedis as OfRedis
from tests.contracts.test_sqlite import TestSqlite as OfSqlite
from tests.servers.redis import RedisServer

Patch = pytest.MonkeyPatch

MADE = "test_what_was_made_of_a_touched_value_stays"
LOADS = "test_a_load_that_began_before_a_touch_is_not_stored"
SETS = "test_a_set_is_not_held_to_a_touch"
NUMBERED = "test_a_touch_is_numbered"
VERSIONS = "test_a_touched_value_keeps_its_version"


def script(old: str, new: str) -> Callable[[Patch], None]:
    assert old in TOUCH.text, old
    return lambda patch: patch.setattr(touching, "TOUCH", Script(TOUCH.text.replace(old, new)))


def own_name(*modules: Any) -> Callable[[Patch], None]:
    """What touches are told by is the key's own name."""

    def apply(patch: Patch) -> None:
        for module in modules:
            patch.setattr(module, "entry_name", key_name)

    return apply


def loads_are_let_in(patch: Patch) -> None:
    none_since = InvalidationLog.none_since

    def untouched(self: Any, *what: Any, touched: bool = True) -> bool:
        return none_since(self, *what, touched=False)

    patch.setattr(InvalidationLog, "none_since", untouched)


def sets_are_refused(patch: Patch) -> None:
    none_since = InvalidationLog.none_since

    def touched(self: Any, *what: Any, touched: bool = True) -> bool:
        return none_since(self, *what)

    patch.setattr(InvalidationLog, "none_since", touched)


def no_number(patch: Patch) -> None:
    touch = sqlite_writes.touch

    def unnumbered(*what: Any, **how: Any) -> Any:
        with patch.context() as inner:
            inner.setattr(TenantState, "next", lambda state: state.seq)
            return touch(*what, **how)

    patch.setattr(sqlite_writes, "touch", unnumbered)


def no_tombstone(patch: Patch) -> None:
    touch = sqlite_writes.touch

    def unmarked(*what: Any, **how: Any) -> Any:
        with patch.context() as inner:
            inner.setattr(TenantState, "bump", lambda *told, **when: 0)
            return touch(*what, **how)

    patch.setattr(sqlite_writes, "touch", unmarked)


def forgets_versions(patch: Patch) -> None:
    patch.setattr("cascada.tiers.sqlite.transaction.OF_ONE_KEY", ("k:",))


def all_tokens_alike(patch: Patch) -> None:
    patch.setattr(redis_writes, "OF_A_SET", redis_writes.OF_A_LOAD)


LESS: list[tuple[str, str, Callable[[Patch], None], str]] = [
    ("the key's own name", "memory", own_name(memory, invalidations), MADE),
    ("the key's own name", "sqlite", own_name(sqlite_writes), MADE),
    ("loads are let in", "memory", loads_are_let_in, LOADS),
    ("loads are let in", "sqlite", no_tombstone, LOADS),
    ("loads are let in", "redis", script("if held and #held > 16", "if false"), LOADS),
    ("sets are refused", "memory", sets_are_refused, SETS),
    ("sets are refused", "redis", all_tokens_alike, SETS),
    ("no number", "sqlite", no_number, NUMBERED),
    ("no number", "redis", script("q = q + 1\n", ""), NUMBERED),
    ("versions are forgotten", "sqlite", forgets_versions, VERSIONS),
]


@pytest.mark.parametrize(
    ("tier", "mutate", "notices"),
    [each[1:] for each in LESS],
    ids=[f"{tier}: {what}" for what, tier, *_ in LESS],
)
def test_a_part_that_is_left_out_is_missed(
    tier: str,
    mutate: Callable[[Patch], None],
    notices: str,
    tmp_path: Path,
    redis_server: RedisServer,
    monkeypatch: Patch,
) -> None:
    contract: Any = {"memory": OfMemory, "sqlite": OfSqlite, "redis": OfRedis}[tier]()
    contract.path, contract.url = tmp_path / "cache.db", redis_server.url
    redis_server.flush()
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        getattr(contract, notices)()
