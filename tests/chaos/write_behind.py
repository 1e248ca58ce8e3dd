"""No acknowledged set is lost, and none is written twice, whoever is killed when (WRITE_BEHIND).

    python -m tests.chaos.write_behind [--sets 10000] [--kills 20] [--redis-kills 5] [--seed 0]

Two processes set values behind a durable Redis (`appendfsync always`). They are killed at random
moments, and at each fail-point: between the script and its answer's use, between claim and upsert,
between COMMIT and what is then taken from the journal. So is Redis (`killed` says what is held).
What was ever written to the database a trigger has noted there.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from cascada import Cache, Limits
from cascada.api.tenant.handle import Tenant
from cascada.engine import write_behind
from cascada.model.clock import SystemClock
from cascada.model.keys import Key
from cascada.testing.inside import inside
from cascada.tiers.contract import Found
from cascada.tiers.redis.journal import RedisJournal
from cascada.tiers.sqlite.tier import SqliteTier
from tests.chaos.__main__ import say
from tests.chaos.killed import Ground
from tests.chaos.killing import Campaign, Outcome, asked, tell

CLAIM: Final = 1.0
"""Seconds of a claim, so that what a dead process has claimed is soon written."""

_NOTES: Final = """
CREATE TABLE IF NOT EXISTS noted (key TEXT, number INTEGER);
CREATE TRIGGER IF NOT EXISTS first AFTER INSERT ON applied
 BEGIN INSERT INTO noted VALUES (new.key, new.number); END;
CREATE TRIGGER IF NOT EXISTS later AFTER UPDATE ON applied
 BEGIN INSERT INTO noted VALUES (new.key, new.number); END;
"""


def opened(folder: Path, redis: str) -> Cache:
    write_behind.CLAIM = CLAIM  # type: ignore[misc]
    return Cache(
        redis=redis,
        database=str(folder / "cache.db"),
        namespace="behind",
        write_strategy="WRITE_BEHIND",
        limits=Limits(op_timeout=10, invalidate_patience=0.1),
    )


class _Behind:
    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    async def set(self, key: str, number: int) -> bool:
        return await self._tenant.set("doc", key, number, ttl=86_400)

    async def look(self, key: str, number: int) -> str:
        return ""


class Behind(Ground):
    name = "tests.chaos.write_behind"

    def __init__(self) -> None:
        self.fail_points = {
            "script|ack": (RedisJournal, "put"),
            "claim|upsert": (RedisJournal, "claim"),
            "COMMIT|ack": (SqliteTier, "apply"),
        }

    @asynccontextmanager
    async def opened(self, folder: Path, redis: str) -> AsyncGenerator[_Behind]:
        async with opened(folder, redis) as cache:
            yield _Behind(cache.tenant("acme"))

    async def begin(self, folder: Path, redis: str) -> None:
        async with opened(folder, redis) as cache:
            await cache.tenant("acme").get("doc", "none")
            await cache.tenant("acme").invalidate("doc", "none")
        with sqlite3.connect(folder / "cache.db") as connection:
            connection.executescript(_NOTES)
        connection.close()

    async def finish(self, folder: Path, redis: str) -> str:
        async with opened(folder, redis) as cache:
            await cache.tenant("acme").get("doc", "none")
            behind = inside(cache).stack.behind
            assert behind is not None
            for _ in range(3000):
                if not (await behind.backlog()).changes:
                    return ""
                await asyncio.sleep(0.01)
            return f"the journal is not empty: {await behind.backlog()}"

    async def there(self, folder: Path, ids: Sequence[str]) -> dict[str, int | None]:
        database = SqliteTier(folder / "cache.db", namespace="behind", clock=SystemClock())
        keys = [Key("acme", "doc", None, None, None, each) for each in ids]
        answers = await database.read(keys)
        await database.aclose()
        async with Cache(database=str(folder / "cache.db"), namespace="behind") as cache:
            tenant = cache.tenant("acme")
            values = [await tenant.get("doc", each) for each in ids]
        found: dict[str, int | None] = {}
        for each, answer, hit in zip(ids, answers, values, strict=True):
            found[each] = int(hit.value) if hit and isinstance(answer, Found) else None
        return found

    def noted(self, folder: Path) -> list[tuple[str, int]]:
        with sqlite3.connect(folder / "cache.db") as connection:
            noted = connection.execute("SELECT key, number FROM noted ORDER BY rowid").fetchall()
        connection.close()
        return noted


def ground(argument: str) -> Ground:
    return Behind()


def campaign(
    sets: int,
    kills: int,
    redis_kills: int,
    *,
    fail_points: int = 1,
    processes: int = 2,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="behind-") as folder:
        return Campaign(Behind(), Path(folder), seed, processes, say).run(
            sets, kills, redis_kills, fail_points
        )


def main() -> int:
    given = asked(__doc__).parse_args()
    outcome = campaign(
        given.sets,
        given.kills,
        given.redis_kills,
        fail_points=given.fail_points,
        seed=given.seed,
        say=say,
    )
    return tell(outcome, say)


if __name__ == "__main__":
    sys.exit(main())
